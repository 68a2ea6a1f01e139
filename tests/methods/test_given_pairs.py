"""Where a task's data hold preferences, every preference method learns from those and samples none of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.events import read_events
from harness.registry import find_task
from tests.conftest import make_spec, run_to_end


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Sums with the chosen answer in the order of the question, the rejected one turned round."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split, first in (("train", 10), ("val", 40), ("test", 70)):
        rows = (
            {"prompt": f"{a},{a + 1}>", "chosen": f"{a}+{a + 1}", "rejected": f"{a + 1}+{a}"}
            for a in range(first, first + 24)
        )
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


@pytest.mark.parametrize("method", ["dpo", "kto", "orpo", "iterative-dpo"])
def test_given_pairs_are_learnt(method: str, data: str, tmp_path: Path) -> None:
    spec = make_spec(method, steps=8, learning_rate=3e-4)
    task = find_task("jsonl").resolve({"data": data, "template": "plain"})
    evaluation = spec.evaluation.model_copy(update={"items": 24, "curve_points": 0})
    done = run_to_end(spec.model_copy(update={"task": task, "evaluation": evaluation}), tmp_path / "runs")
    result = done.read_result()
    assert result.meters.generated_tokens == 0 and not (tmp_path / "runs" / "rollouts").exists()
    noted = [event for event in read_events(done.events) if event["kind"] == "pairs"]
    assert len(noted) == len(result.stages) and all(event["given"] and event["pairs"] == 24 for event in noted)
    before = run_to_end(
        make_spec("base").model_copy(update={"task": task, "evaluation": evaluation}), tmp_path / "runs"
    ).read_result()
    assert result.score.measures["margin"] > before.score.measures["margin"] + 1
