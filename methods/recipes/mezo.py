"""MeZO: fine-tuning by two forward passes a step, no backward pass.

theta <- theta - eta (L(theta + eps z) - L(theta - eps z)) / (2 eps) z, z ~ N(0, I) (Malladi et al. 2023, arXiv
2305.17333, definition 1): an evolution strategy of one mirrored pair on minus the demonstrations' loss, with
alpha = eta / eps. Defaults: full fine-tuning of OPT-13B (their grid: eta 1e-6 and 1e-7, eps 1e-3, batch 16).
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.demonstration_likelihood import demonstration_likelihood
from methods.optimisers.conventions import alpha_of_textbook
from methods.optimisers.evolution import evolution
from methods.parameterisations.full import full
from methods.settings import BatchSize, Examples, SpsaEpsilon, SpsaLearningRate


@method("mezo", version=1, source="Malladi et al. 2023, arXiv 2305.17333, algorithm 1")
def mezo(
    learning_rate: SpsaLearningRate = 1e-6,
    epsilon: SpsaEpsilon = 1e-3,
    batch_size: BatchSize = 16,
    examples: Examples = 2000,
) -> Pipeline:
    """Two-point zeroth-order descent of the demonstrations' loss over all parameters, by forward passes alone."""
    alpha = alpha_of_textbook(learning_rate, epsilon)
    search = evolution(epsilon, alpha, population=2, mirrored=True, shaping="centred")
    return Pipeline.of(Train(demonstration_likelihood(batch_size, examples), full(), search))
