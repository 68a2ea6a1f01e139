"""Why a stage's numbers stopped being finite: the likely cause, read off what the run has recorded, in one sentence.

The rules are ordinary experience: a gradient norm or loss that grew tenfold means too high a learning rate, numbers
that are wrong in the first update come from the model or the data, and log-probabilities that break before anything
grew mean logits out of the range of their type. Where no rule fits, it says what was seen.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

Values = Mapping[str, float | None]
"""What a step logged; None stands for a number that was not finite."""
_GROWTH = 10.0
_HIGH_RATE = 1e-2  # ten times the largest that any recipe here searches for AdamW on all parameters
_PROBABILITIES = ("logp", "logit", "entropy", "kl", "ratio", "sampling/")


def likely_cause(before: Sequence[Values], now: Values) -> str:
    """The likely cause of the numbers in `now`, after the steps `before` (oldest first)."""
    rate = now.get("learning_rate") or _last(before, "learning_rate")
    lower = f"lower the learning rate ({rate:.3g})" if rate is not None else "take smaller steps"
    if _reward_is_broken(now):
        return "the task's reward is not a finite number for some answer"
    for name, what in (("grad_norm", "the norm of the gradient"), ("update_norm", "the norm of the update")):
        grown = _growth(before, name)
        if grown is not None:
            return f"{what} had grown from {grown[0]:.3g} to {grown[1]:.3g}: {lower}, or clip at a lower max_grad_norm"
    grown = _growth(before, "loss")
    if grown is not None:
        return f"the loss had grown from {grown[0]:.3g} to {grown[1]:.3g}: {lower}"
    if rate is not None and rate > _HIGH_RATE:
        return f"a learning rate of {rate:.3g} moves weights further in one update than they are large: lower it"
    if not before:
        return (
            "it is the first update, so the start model or the data give it already: see that the model is read in a "
            "type wide enough (bfloat16 or float32) and that no training text is empty"
        )
    broken = [name for name in now if name.startswith(_PROBABILITIES) and not _finite(now[name])]
    if broken:
        return (
            f"{broken[0]} is not finite although nothing had grown before: logits have left the range of their type; "
            f"read the model in a wider one (float32), or {lower}"
        )
    norms = [value for one in before if (value := one.get("grad_norm")) is not None]
    seen = f"the gradient's norm lay between {min(norms):.3g} and {max(norms):.3g}" if norms else "nothing stood out"
    return f"not to be seen in what was recorded ({seen}): look at the batch of this step, or {lower}"


def _growth(before: Sequence[Values], name: str) -> tuple[float, float] | None:
    """What the values were like in the first half, and the last one, if that is far more."""
    found = [abs(value) for one in before if (value := one.get(name)) is not None]
    if len(found) < 2:
        return None
    usual = statistics.median(found[: (len(found) + 1) // 2])
    return (usual, found[-1]) if found[-1] > _GROWTH * usual > 0 else None


def _reward_is_broken(now: Values) -> bool:
    return any(name.startswith("reward") and "/" not in name and not _finite(value) for name, value in now.items())


def _last(before: Sequence[Values], name: str) -> float | None:
    return next((value for one in reversed(before) if (value := one.get(name)) is not None), None)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
