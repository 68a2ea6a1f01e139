"""A score is the mean over items, whatever the batches they are answered in (oracle 25 of evolution strategies)."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import harness.evaluate
from harness.contracts import Grade
from harness.engines.hf import HFEngine
from harness.policy import Policy
from harness.ranks import Ranks
from harness.record import RunDirectory
from tasks.countdown.task import Countdown
from tests.conftest import make_spec, run_to_end

ITEMS = 13
"""No multiple of any batch below, so that a mean of batch means would be another number."""


def run(runs: Path) -> RunDirectory:
    spec = make_spec("base")
    protocol = spec.evaluation.model_copy(update={"items": ITEMS})
    return run_to_end(spec.model_copy(update={"evaluation": protocol}), runs)


@pytest.mark.parametrize("rows", [1, 4, 8])
def test_every_item_counts_once_however_they_are_batched(
    rows: int, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(runs)

    def engine_of(name: str, policy: Policy, ranks: Ranks) -> HFEngine:
        return HFEngine(policy.model, policy.tokenizer, batch_rows=rows)

    monkeypatch.setattr(harness.evaluate, "engine_of", engine_of)
    score = run(tmp_path).read_result().score
    assert score == whole.read_result().score and score.items == ITEMS
    graded = pq.read_table(whole.samples).to_pylist()
    assert score.reward == pytest.approx(sum(row["reward"] for row in graded) / ITEMS, abs=1e-12)
    assert len({row["reward"] for row in graded}) > 1, "all items alike: this test would prove nothing"


def test_an_answer_that_cannot_be_graded_in_time_is_wrong_and_alone(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pq.read_table(run(runs).samples).to_pylist()
    late = max(rows, key=lambda row: row["reward"])
    grade = Countdown.grade

    def slow(self: Countdown, item: object, completion: str) -> Grade:
        if item.id == late["item_id"]:  # type: ignore[attr-defined]
            return Grade(False, 0.0, False, "timeout")
        return grade(self, item, completion)  # type: ignore[arg-type]

    monkeypatch.setattr(Countdown, "grade", slow)
    directory = run(tmp_path)
    again = pq.read_table(directory.samples).to_pylist()
    changed = [new["item_id"] for old, new in zip(rows, again, strict=True) if old["reward"] != new["reward"]]
    assert late["reward"] > 0 and changed == [late["item_id"]]
    score = directory.read_result().score
    assert score.reward == pytest.approx((sum(row["reward"] for row in rows) - late["reward"]) / ITEMS, abs=1e-12)
