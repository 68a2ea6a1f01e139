"""Ranks, ties and verdicts on matrices whose answer is known."""

from __future__ import annotations

import numpy as np

from reports.comparison import compare
from reports.contents import leaderboard
from reports.sweep_data import MethodData, SweepData
from reports.verdict import verdict

RUN = {name: 1 for name in ("device_seconds", "flops", "generated_tokens", "peak_memory_bytes", "trainable_parameters")}
RUN |= {"gpu": "of a kind", "processor_seconds": None}


def method(name: str, accuracy: float, seeds: int = 3, items: int = 300, seed: int = 0) -> MethodData:
    scores = (np.random.default_rng(seed).random((seeds, items)) < accuracy).astype(float)
    runs = [{"seed": s} for s in range(seeds)]
    return MethodData(name, None, runs, list(range(seeds)), scores, [], [], [], seeds)


def data(*methods: MethodData) -> SweepData:
    return SweepData({}, list(methods), [], [], [])


def test_clear_differences_are_ranked_and_close_ones_share_a_rank() -> None:
    found = compare(data(method("base", 0.1, seed=1), method("a", 0.5, seed=2), method("b", 0.505, seed=3)))
    ranks = {one.method.name: one.rank_text for one in found.standings}
    assert ranks == {"a": "1=", "b": "1=", "base": "3"}
    text = " ".join(verdict(found))
    assert "tied with" in text and "highest accuracy" in text and "Over the untuned base" in text


def test_one_leader_is_called_ahead() -> None:
    found = compare(data(method("base", 0.1, seed=1), method("a", 0.8, seed=2), method("b", 0.5, seed=3)))
    assert [one.rank_text for one in found.standings] == ["1", "2", "3"]
    assert verdict(found)[0].startswith("a has the highest accuracy") and "ahead of every other" in verdict(found)[0]


def of_seeds(one: MethodData, *seeds: int) -> MethodData:
    """The method with only these of its seeds finished."""
    rows = [one.seeds.index(seed) for seed in seeds]
    return MethodData(
        one.name, None, [one.runs[row] for row in rows], list(seeds), one.scores[rows], [], [], [], one.planned_finals
    )


def test_methods_are_ordered_on_the_seeds_that_all_have() -> None:
    """`many` had two lucky seeds more, which say nothing against `few`: there it was surely behind."""
    many, few = method("many", 0.5, seeds=5, seed=2), method("few", 0.5, seeds=5, seed=2)
    many.scores[3:, :] = 1
    few.scores[:, :30] = 1
    found = compare(data(method("base", 0.1, seeds=5, seed=1), many, of_seeds(few, 0, 1, 2)))
    assert [(one.method.name, one.rank) for one in found.standings] == [("few", 1), ("many", 2), ("base", 3)]
    assert found.standings[0].accuracy.mean < found.standings[1].accuracy.mean and found.common == [0, 1, 2]
    assert verdict(found)[0].startswith("On the 3 seeds that all have, few has the highest accuracy; on all of its own")
    for one in found.standings:
        one.method.runs[:] = [{**RUN, **run} for run in one.method.runs]
    assert "with a higher accuracy on the seeds that all of these have (0, 1, 2);" in leaderboard(found).note
    even = compare(data(*(of_seeds(one.method, 0, 1, 2) for one in found.standings)))
    assert "with a higher accuracy;" in leaderboard(even).note


def test_what_shares_fewer_than_three_seeds_is_not_compared() -> None:
    all_five = method("a", 0.5, seeds=5, seed=2), method("base", 0.1, seeds=5, seed=1)
    for seeds in ((4,), (4, 5), (5, 6, 7)):
        apart = method("apart", 0.9, seeds=8, seed=3)
        found = compare(data(*all_five, of_seeds(apart, *seeds)))
        assert [(one.method.name, one.rank) for one in found.standings] == [("a", 1), ("base", 2), ("apart", None)]
        assert found.contrast("a", "apart") is None


def test_what_would_be_found_counts_the_adjustment_for_all_pairs() -> None:
    """One pair is one test; among 36 pairs the same difference has to pass Holm's first step."""
    two = compare(data(*(method(str(n), 0.5, seed=n) for n in range(2))))
    nine = compare(data(*(method(str(n), 0.5, seed=n) for n in range(9))))
    assert two.detectable is not None and nine.detectable is not None
    assert (two.pairs, nine.pairs) == (1, 36) and nine.detectable > 1.5 * two.detectable
    assert "adjustment" not in verdict(two)[-1] and "the adjustment for 36 pairs included" in verdict(nine)[-1]


def test_a_contrast_turned_round_has_the_other_sign() -> None:
    found = compare(data(method("a", 0.8, seed=2), method("b", 0.5, seed=3)))
    one, other = found.contrast("a", "b"), found.contrast("b", "a")
    assert one is not None and other is not None
    assert one.difference.mean == -other.difference.mean and one.difference.low == -other.difference.high
    assert one.p == other.p


def test_fewer_than_three_seeds_have_a_row_and_no_rank() -> None:
    found = compare(data(method("base", 0.1, seed=1), method("a", 0.9, seeds=2), method("b", 0.5, seed=3)))
    assert {one.method.name: one.rank for one in found.standings} == {"a": None, "b": 1, "base": 2}
    lonely = compare(data(method("a", 0.9, seeds=1), method("b", 0.5, seeds=2)))
    assert verdict(lonely)[0].startswith("No ranking")


def test_figures_on_val_are_no_result() -> None:
    found = compare(data(method("base", 0.1, seed=1), method("a", 0.8, seed=2), method("b", 0.5, seed=3)))
    assert verdict(found, "val")[1] == "All this is on val, where settings are chosen: it is no result."
    assert not any("val" in sentence for sentence in verdict(found))


def test_worse_than_base_is_said() -> None:
    found = compare(data(method("base", 0.6, seed=1), method("a", 0.1, seed=2), method("b", 0.6, seed=3)))
    text = " ".join(verdict(found))
    assert "Worse than the untuned base: a" in text and "Not surely different from the untuned base: b" in text


def test_no_rank_is_better_than_a_higher_accuracys() -> None:
    """`loud` differs so much between seeds that nobody is surely better, yet its accuracy is the lowest."""
    leader, close = method("leader", 0.8, seed=2), method("close", 0.8, seed=2)
    close.scores[:, :60] = 0
    loud = method("loud", 0.5, seed=4)
    for row, accuracy in enumerate((0.1, 0.5, 0.95)):
        loud.scores[row] = np.random.default_rng(row).random(300) < accuracy
    found = compare(data(leader, close, loud))
    assert [(one.method.name, one.rank_text) for one in found.standings] == [
        ("leader", "1"), ("close", "2="), ("loud", "2=")
    ]  # fmt: skip


def test_items_are_paired() -> None:
    """The same small gain on every seed is seen through a large spread between questions."""
    rng = np.random.default_rng(0)
    hard = rng.random((1, 400)) < 0.5
    a = MethodData("a", None, [{}] * 3, [0, 1, 2], np.repeat(hard, 3, 0).astype(float), [], [], [], 3)
    better = hard | (rng.random((1, 400)) < 0.06)
    b = MethodData("b", None, [{}] * 3, [0, 1, 2], np.repeat(better, 3, 0).astype(float), [], [], [], 3)
    contrast = compare(data(a, b)).contrast("b", "a")
    assert contrast is not None and not contrast.tied and contrast.difference.mean < 0.06


def test_nothing_finished_is_said() -> None:
    assert "nothing to compare" in verdict(compare(data()))[0]
