"""The untouched base model asked several times; the answer that the task's verifier likes best counts.

With a verifier that knows the answer this is the share of questions that any of n samples solves (pass@n): what a
policy could reach that always found its own best answer, and no fair rival where nobody can verify.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Repeated
from harness.registry import method
from methods.settings import Temperature, Tries


@method("best-of-n", version=1, source="Cobbe et al. 2021, arXiv 2110.14168, section 4, with the task's own verifier")
def best_of_n(samples: Tries = 16, temperature: Temperature = 1.0) -> Pipeline:
    """No update: `samples` answers a question, the one of the highest reward is given."""
    return Pipeline(repeated=Repeated(samples, temperature, "best"))
