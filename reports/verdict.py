"""The sentences at the top of a report: who leads, by how much, who is tied with whom, and what could not be seen."""

from __future__ import annotations

from reports.comparison import BASELINE, SEEDS_TO_RANK, Comparison, Standing
from reports.numbers import interval, points

_NAMED = 4
"""Methods that the first sentence names among those tied with the best."""


def verdict(comparison: Comparison, split: str = "test") -> list[str]:
    """One to five sentences; the first is the answer. `split` is what the final runs are scored on."""
    ranked = [one for one in comparison.standings if one.rank is not None]
    if not comparison.standings:
        return ["No final run has finished, so there is nothing to compare yet."]
    if len(ranked) < 2:
        return [
            f"No ranking: it takes {SEEDS_TO_RANK} finished seeds of two methods or more, and "
            f"{_listed([f'{one.method.name} has {len(one.method.seeds)}' for one in comparison.standings])}."
        ]
    sentences = [_leader(ranked, comparison)]
    if split != "test":
        sentences.append(f"All this is on {split}, where settings are chosen: it is no result.")
    sentences += _base(ranked)
    if comparison.detectable is not None:
        sentences.append(
            f"With these seeds and questions a true difference of {points(comparison.detectable)} points between two "
            f"methods would be found in 4 of 5 such comparisons{_adjusted(comparison.pairs)}; smaller ones mostly "
            "would not."
        )
    return sentences


def _leader(ranked: list[Standing], comparison: Comparison) -> str:
    first, *rest = ranked
    name = first.method.name
    head = f"{name} has the highest accuracy, {interval(first.accuracy)}"
    if any(one.accuracy.mean > first.accuracy.mean for one in rest):
        seeds = len(comparison.common)
        head = f"On the {seeds} seeds that all have, {name} has the highest accuracy; on all of its own it has "
        head += interval(first.accuracy)
    contrasts = [c for one in rest if (c := comparison.contrast(name, one.method.name)) is not None]
    behind = [c for c in contrasts if not c.tied and c.difference.mean < 0]
    if behind:
        more = [f"{c.second} ({interval(c.difference)} points)" for c in behind]
        return f"{head}; on the seeds that both have it is behind {_listed(more)}."
    ties = [f"{c.second} (difference {interval(c.difference)} points)" for c in contrasts if c.tied]
    if ties:
        more = [f"{len(ties) - _NAMED} others"] if len(ties) > _NAMED + 1 else []
        shown = ties[:_NAMED] if more else ties
        return f"{head}; adjusted for several comparisons, it is tied with {_listed(shown + more)}."
    return (
        f"{head}, ahead of every other method; the next is {contrasts[0].second}, "
        f"{interval(contrasts[0].difference)} points behind."
    )


def _adjusted(pairs: int) -> str:
    return f", the adjustment for {pairs} pairs included" if pairs > 1 else ""


def _base(ranked: list[Standing]) -> list[str]:
    """Which methods moved the base model, and which way."""
    versus = [one for one in ranked if one.versus_base is not None]
    if not versus:
        return [f"There is no untuned row ({BASELINE}) to compare with."]
    better: list[str] = []
    worse: list[str] = []
    same: list[str] = []
    for one in versus:
        assert one.versus_base is not None
        text = f"{one.method.name} {interval(one.versus_base.difference, signed=True)}"
        place = same if one.versus_base.tied else (better if one.versus_base.difference.mean > 0 else worse)
        place.append(text)
    sentences = [f"Over the untuned base, in points: {_listed(better)}."] if better else []
    sentences += [f"Worse than the untuned base: {_listed(worse)}."] if worse else []
    adjusted = f" (adjusted for {len(versus)} comparisons; the intervals are not)" if len(versus) > 1 else ""
    sentences += [f"Not surely different from the untuned base: {_listed(same)}{adjusted}."] if same else []
    return sentences


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
