"""The mixture: shares, identity, per-part scores, and mistakes in its parts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness import load_task
from harness.errors import UserError
from harness.registry import find_task
from tests.conftest import make_spec, run_to_end

PARTS = [
    {"name": "countdown", "level": "L0", "weight": 2},
    {"name": "countdown", "level": "L1", "as": "three numbers"},
]


def mixture(*parts: dict[str, Any]) -> Any:
    return load_task("mixture", parts=list(parts) or PARTS)


def labels(task: Any, split: str, n: int | None) -> list[str]:
    return [task.labels[item.data["part"]] for item in task.items(split, n)]


def test_every_beginning_has_the_shares() -> None:
    task = mixture()
    for n in (3, 6, 12, 30):
        assert Counter(labels(task, "train", n)) == {"countdown L0": 2 * n // 3, "three numbers": n // 3}
    assert labels(task, "train", 30)[:7] == labels(task, "train", 7)


def test_all_items_end_where_a_part_runs_out() -> None:
    task = mixture()
    sizes = [len(part.items("val")) for part in task.parts]
    counts = Counter(labels(task, "val", None))
    assert counts["countdown L0"] == sizes[0] or counts["three numbers"] == sizes[1]
    assert all(count <= size for count, size in zip(counts.values(), sizes, strict=True))
    with pytest.raises(UserError, match="ask for fewer"):
        task.items("val", sum(sizes))


def test_training_takes_what_there_is() -> None:
    task = mixture()
    counts = Counter(labels(task, "train", 100_000))
    assert counts["countdown L0"] == len(task.parts[0].items("train"))
    assert counts["three numbers"] == pytest.approx(counts["countdown L0"] / 2, abs=1)


def test_each_part_asks_and_grades_its_own_way() -> None:
    task = mixture()
    for item in task.items("train", 6):
        part = task.parts[item.data["part"]]
        label = task.labels[item.data["part"]]
        right, wrong = task.grade(item, task.demonstration(item)), task.grade(item, "#1")
        assert task.prompt(item) == part.prompt(task._of(item)[1])
        assert right.correct and right.measures == {label: 1.0}
        assert not wrong.correct and wrong.measures == {label: 0.0}


def test_a_run_is_scored_by_part(tmp_path: Path) -> None:
    spec = make_spec("base", task="mixture")
    spec = spec.model_copy(update={"task": find_task("mixture").resolve({"parts": PARTS})})
    score = run_to_end(spec, tmp_path).read_result().score
    assert set(score.measures) == {"countdown L0", "three numbers"}
    shares = Counter(labels(mixture(), spec.evaluation.split, score.items))
    mean = sum(score.measures[label] * count for label, count in shares.items()) / score.items
    assert score.accuracy == pytest.approx(mean)


def test_identity_is_that_of_the_parts_with_their_defaults() -> None:
    def identity(*parts: dict[str, Any]) -> dict[str, Any]:
        return find_task("mixture").resolve({"parts": list(parts)}).content()

    first = {"name": "countdown", "level": "L0"}
    second = {"name": "countdown", "level": "L1"}
    assert identity(first, second) == identity(first, {**second, "reward": "correct", "weight": 1.0})
    assert identity(first, second) != identity(first, {**second, "weight": 2})
    assert identity(first, second) != identity(first, {**second, "reward": "tinyzero"})
    assert identity(first, second) != identity(second, first)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([{"name": "countdown"}], "two parts"),
        ([{"name": "countdown"}, {"name": "countdown"}], "as: LABEL"),
        ([{"name": "cuntdown"}, {"name": "countdown"}], "'countdown'"),
        ([{"level": "L0"}, {"name": "countdown"}], "name: TASK"),
        ([{"name": "countdown", "weight": 0}, {"name": "countdown", "level": "L0"}], "above 0"),
        ([{"name": "countdown", "levl": "L0"}, {"name": "countdown"}], "'level'"),
        ([{"name": "mixture"}, {"name": "countdown"}], "list its parts"),
        ([{"name": "filler"}, {"name": "countdown"}], "likelihoods"),
    ],
)
def test_a_wrong_part_is_one_sentence(parts: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_task("mixture", parts=parts)
