"""Learning-rate conventions of evolution strategies, each as the alpha of theta + (alpha / N) sum_n c_n eps_n.

Papers and codes differ in what they call the learning rate: 1/sigma absorbed or not, a division by N or by sqrt(N).
Numbers are only comparable after conversion; sigma is always the standard deviation of an entry's perturbation.
"""

from __future__ import annotations

import math


def alpha_of_textbook(rate: float, sigma: float) -> float:
    """theta + (rate / (N sigma)) sum f eps: the score-function estimator (Salimans et al. 2017), and MeZO's."""
    return rate / sigma


def textbook_of_alpha(alpha: float, sigma: float) -> float:
    """The inverse of `alpha_of_textbook`."""
    return alpha * sigma


def alpha_of_eggroll_code(rate: float, sigma: float, population: int) -> float:
    """EGGROLL's published code multiplies its gradient by sqrt(N): theta + (rate sigma / sqrt(N)) sum f E."""
    return rate * sigma * math.sqrt(population)


def eggroll_code_of_alpha(alpha: float, sigma: float, population: int) -> float:
    """The inverse of `alpha_of_eggroll_code`."""
    return alpha / (sigma * math.sqrt(population))


def alpha_of_step_ratio(ratio: float, sigma: float) -> float:
    """A step in units of the perturbation: the paper's pairing of sigma with alpha = sigma / 2 is a ratio of 1/2."""
    return ratio * sigma


def step_ratio_of_alpha(alpha: float, sigma: float) -> float:
    """The inverse of `alpha_of_step_ratio`."""
    return alpha / sigma
