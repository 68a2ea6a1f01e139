"""The untouched base model asked several times; the commonest answer counts (self-consistency)."""

from __future__ import annotations

from harness.contracts import Pipeline, Repeated
from harness.registry import method
from methods.settings import Temperature, Tries


@method("majority-vote", version=1, source="Wang et al. 2022, arXiv 2203.11171, section 2")
def majority_vote(samples: Tries = 16, temperature: Temperature = 0.7) -> Pipeline:
    """No update: `samples` answers a question, the commonest parsed one is given."""
    return Pipeline(repeated=Repeated(samples, temperature, "majority"))
