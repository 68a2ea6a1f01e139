"""The table of human preference: what people said who saw two answers and not whose they were.

One row a pair of methods with votes for their final runs. Equally good and both bad decide nothing: of the others,
the share that the first method won has Wilson's (1927) interval, and an exact two-sided sign test asks whether it is a
half, its p adjusted over the pairs (Holm).
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from scipy import stats

from reports.numbers import MISSING, interval, p_value
from reports.statistics import LEVEL, Estimate, holm
from reports.sweep_data import SweepData
from reports.tables import Table


def preference(data: SweepData) -> Table:
    """`method` against `other`, in the order of the sweep; no rows where nobody has voted."""
    said: dict[tuple[str, str], Counter[str]] = {}
    order = [method.name for method in data.methods]
    for vote in data.votes:
        said.setdefault((vote["method_a"], vote["method_b"]), Counter())[vote["choice"]] += vote["votes"]
    pairs: list[tuple[str, str]] = []
    counts: list[tuple[int, int, int, int]] = []
    for method, other in combinations(order, 2):
        there, back = said.get((method, other), Counter()), said.get((other, method), Counter())
        both = there + back
        if both:
            pairs.append((method, other))
            counts.append((there["a"] + back["b"], there["b"] + back["a"], both["tie"], both["neither"]))
    shares = [won_share(wins, losses) for wins, losses, *_ in counts]
    adjusted = iter(holm([one.p for one in shares if one is not None]))
    rows = []
    for pair, counted, share in zip(pairs, counts, shares, strict=True):
        decided = [MISSING, MISSING] if share is None else [interval(share), p_value(next(adjusted))]
        rows.append([*pair, str(sum(counted)), *map(str, counted), *decided])
    columns = ["method", "other", "votes", "method better", "other better", "equally good", "both bad", "won %", "p"]
    note = (
        "Blind votes of people on answers of the final runs to the same question with the same settings, names hidden "
        "and order drawn. Won is the method's share of the votes that prefer one of the two, in per cent with Wilson's "
        "95% interval; p is that of an exact sign test, adjusted over the pairs (Holm). Votes are counted as "
        "independent, though one person may have cast many; they decide no rank."
    )
    return Table("Human preference", columns, rows, note, frozenset({"method", "other"}))


def won_share(wins: int, losses: int) -> Estimate | None:
    """The share of decided votes that were won, with Wilson's interval and the exact p against a half; None for none.

    What such a test can detect is not asked here.
    """
    if not wins + losses:
        return None
    test = stats.binomtest(wins, wins + losses, 0.5)
    bounds = test.proportion_ci(LEVEL, "wilson")
    return Estimate(wins / (wins + losses), float(bounds.low), float(bounds.high), float(test.pvalue), float("nan"))
