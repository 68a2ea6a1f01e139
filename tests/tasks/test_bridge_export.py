"""Our tasks inside lm-evaluation-harness: the same model, the same questions, the same score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from harness import load_model, load_task
from harness.errors import UserError
from harness.policy import Policy
from tasks.bridges.lm_eval_export import export_tasks, graded, questions
from tests.tasks.test_bridge_lm_eval import ours, theirs

N = 30
COUNTDOWN = {"name": "countdown", "level": "L0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two exported tasks, in a folder that was moved after it was written."""
    datasets.disable_progress_bars()
    path = tmp_path_factory.mktemp("export")
    names = export_tasks([COUNTDOWN, {"name": "countdown", "level": "L5"}], path / "before", items=N)
    assert names == ["beyondrl_countdown_L0", "beyondrl_countdown_L5"]
    return (path / "before").rename(path / "after")


def test_scores_there_are_scores_here(folder: Path) -> None:
    handle = load_model("lab")
    policy = Policy(handle.model(), handle.tokenizer(), handle.path)
    there = theirs(folder, "beyondrl_countdown_L0", policy)
    _, score, rows = ours("countdown", policy, N, level="L0")
    metrics = there["results"]["beyondrl_countdown_L0"]
    assert 0 < score.accuracy < 1
    assert metrics["acc,none"] == score.accuracy
    assert metrics["reward,none"] == pytest.approx(score.reward)
    assert metrics["well_formed,none"] == score.well_formed
    samples = sorted(there["samples"]["beyondrl_countdown_L0"], key=lambda sample: sample["doc_id"])
    assert [sample["arguments"][0][0] for sample in samples] == [row["prompt"] for row in rows]
    assert [sample["resps"][0][0] for sample in samples] == [row["completion"] for row in rows]
    assert [bool(sample["acc"]) for sample in samples] == [row["correct"] for row in rows]


def test_the_gold_answer_is_right_there(folder: Path) -> None:
    for name in ("beyondrl_countdown_L0", "beyondrl_countdown_L5"):
        documents = list(questions(folder / f"{name}.jsonl")["test"])
        assert len(documents) == N
        for document, other in zip(documents, documents[1:] + documents[:1], strict=True):
            assert graded(document, document["target"]) == {"acc": 1.0, "reward": 1.0, "well_formed": 1.0}
            assert graded(document, other["target"])["acc"] == 0.0
            assert graded(document, "")["acc"] == 0.0


def test_a_task_of_another_version_is_refused(folder: Path) -> None:
    document: dict[str, Any] = next(iter(questions(folder / "beyondrl_countdown_L0.jsonl")["test"]))
    named = json.loads(document["task"]) | {"version": 999}
    with pytest.raises(UserError, match="exported in version 999"):
        graded(document | {"task": json.dumps(named)}, "")


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="chat messages"):
        export_tasks([COUNTDOWN | {"style": "chat"}], tmp_path / "a", 2)
    with pytest.raises(UserError, match="scored by likelihoods"):
        export_tasks(["filler"], tmp_path / "a", 2)
    with pytest.raises(UserError, match="Two tasks would be called"):
        export_tasks([COUNTDOWN, COUNTDOWN | {"style": "paper"}], tmp_path / "a", 2)
    with pytest.raises(UserError, match="Did you mean 'countdown'"):
        export_tasks(["cuntdown"], tmp_path / "a", 2)
    assert not (tmp_path / "a").exists()


def test_the_generated_program_is_small(folder: Path) -> None:
    assert len((folder / "beyondrl_bridge.py").read_text().splitlines()) < 25
    assert (
        load_task("countdown", level="L0").items("test", 1)[0].id
        in (folder / "beyondrl_countdown_L0.jsonl").read_text()
    )
