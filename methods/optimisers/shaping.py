"""From scores to coefficients: what member n's noise counts in the update, sum_n c_n eps_n / N.

z (Qiu et al. 2025, arXiv 2509.24372, section 3): fitness minus its mean, over the population's own standard deviation.
centred: fitness minus its mean (MeZO's two points, raw-reward ES). centred-rank (Salimans et al. 2017, arXiv
1703.03864, section 2): ranks, ties averaged, from -1/2 to 1/2. pair-sign (Sarkar et al. 2025, arXiv 2511.16652, the
integer models): the sign of each mirrored pair's difference. per-prompt (the same, LLM fine-tuning): every prompt's
mean over the members is taken off, all is divided by one global standard deviation of what is left, and averaged.
Float64 throughout; a population whose members all score the same gets exact zeros from each of them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Shaping = Literal["z", "centred", "centred-rank", "pair-sign", "per-prompt"]
_ROUNDING = 1e-12  # relative to the largest fitness; float64 sums of a thousand rewards err by less


def coefficients(scores: np.ndarray, shaping: Shaping) -> np.ndarray:
    """c [members] of scores [members, prompts]."""
    if shaping == "per-prompt":
        return _per_prompt(scores)
    fitness = scores.mean(axis=1)
    if _equal(fitness):
        return np.zeros_like(fitness)
    if shaping == "z":
        return shaped(fitness)
    if shaping == "centred":
        return np.asarray(fitness - fitness.mean())
    return _centred_ranks(fitness) if shaping == "centred-rank" else _pair_signs(fitness)


def shaped(fitness: np.ndarray) -> np.ndarray:
    """z-scores with the population's own standard deviation; all zero when every member scored the same.

    Equal rewards summed in another order differ by a rounding error, which must not be blown up to a z-score of 1.
    """
    if _equal(fitness):
        return np.zeros_like(fitness)
    return np.asarray((fitness - fitness.mean()) / fitness.std())


def _equal(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def _centred_ranks(fitness: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    rounded = np.round(fitness / np.abs(fitness).max(), 12)  # so that equal rewards in another order are ties
    return np.asarray((rankdata(rounded) - 1.0) / (len(fitness) - 1) - 0.5)


def _pair_signs(fitness: np.ndarray) -> np.ndarray:
    """Members 2k and 2k + 1 are a mirrored pair."""
    difference = fitness[0::2] - fitness[1::2]
    sign = np.where(np.abs(difference) <= _ROUNDING * np.abs(fitness).max(), 0.0, np.sign(difference))
    return np.stack([sign, -sign], axis=1).flatten()


def _per_prompt(scores: np.ndarray) -> np.ndarray:
    centred = scores - scores.mean(axis=0)
    if np.abs(centred).max() <= _ROUNDING * np.abs(scores).max():
        return np.zeros(len(scores))
    return np.asarray((centred / centred.std()).mean(axis=1))
