"""`export-task`: a folder for lm-eval, and its mistakes in one sentence."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Say


def test_a_task_is_written(say: Say) -> None:
    answer = say("export-task", "countdown", "-t", "level=L0", "--out", "there", "--items", "3")
    assert answer.code == 0 and "--include_path there --tasks beyondrl_countdown_L0" in answer.out
    assert len(Path("there/beyondrl_countdown_L0.jsonl").read_text().splitlines()) == 3
    assert say("export-task", "words", "--out", "there", "--items", "2").code == 0
    assert len(list(Path("there").glob("*.yaml"))) == 2


def test_mistakes(say: Say) -> None:
    for arguments, words in [
        (("conntdown",), "Did you mean 'countdown'"),
        (("countdown", "-t", "style=chat"), "asks in chat messages"),
        (("filler",), "scored by likelihoods"),
        (("countdown", "--items", "0"), "--items"),
        (("countdown", "--split", "tset"), "tset"),
        (("gsm8k", "--data", "nowhere"), "nowhere"),
    ]:
        answer = say("export-task", *arguments, "--out", "there")
        assert answer.code == 2 and words in answer.err and "Traceback" not in answer.err
        assert not Path("there").exists()
