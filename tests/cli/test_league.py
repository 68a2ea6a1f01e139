"""Files of several tasks: what each entry changes, how mistakes are said, and the runs of a whole one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from results.database import query
from sweeps.league import read_league
from tests.cli.conftest import Say

HEAD = """name: small
model: lab
methods:
  - base
  - {name: sft, examples: 16, batch_size: 4}
  - {name: sft, as: hot, examples: 16, batch_size: 4, learning_rate: 1.0e-3}
budget: {steps: 2}
final: {seeds: 3, items: 6, on: test}
evaluation: {max_new_tokens: 12, curve_points: 0}
tasks:
"""
TWO = HEAD + "  - {task: {name: countdown, level: L0}}\n  - {task: words, as: stories, budget: {steps: 1}}\n"


def league(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "league.yaml"
    path.write_text(text)
    return path


def test_each_task_is_a_sweep_and_changes_what_it_says(tmp_path: Path) -> None:
    read = read_league(league(tmp_path, TWO))
    first, second = (member for member, _ in read.members)
    assert read.across == "small" and (first.name, second.name) == ("small-countdown", "small-stories")
    assert (first.task.name, first.task.parameters) == ("countdown", {"level": "L0"}) and second.task.name == "words"
    assert (first.budget.steps, second.budget.steps) == (2, 1)
    assert first.methods == second.methods and first.final == second.final
    assert read.members[1][1].where(("budget",)).endswith("line 12") and second.task != first.task
    assert read.members[0][1].where(("budget",)).endswith("line 7")
    other = read_league(league(tmp_path, TWO.replace("budget: {steps: 1}", "final: {seeds: 4}"))).members[1][1]
    assert other.where(("final", "on")).endswith("line 12") and other.where(("budget", "steps")).endswith("line 7")


def test_a_file_of_one_task_is_one_sweep(tmp_path: Path) -> None:
    read = read_league(league(tmp_path, HEAD.replace("tasks:\n", "task: words\n")))
    assert read.across is None and [member.name for member, _ in read.members] == ["small"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "  - {task: words}\n", "line 10: tasks is a list of two or more"),
        (
            TWO.replace("  - {name: sft, as: hot, examples: 16, batch_size: 4, learning_rate: 1.0e-3}\n", ""),
            "takes base and two methods",
        ),
        (TWO + "task: words\n", "line 13: a file has either task or tasks"),
        (HEAD + "  - {task: words}\n  - {task: {name: words, level: W1}}\n", "the sweep 'small-words'"),
        (HEAD + "  - {task: words}\n  - countdown\n", "line 12: an entry of tasks is"),
        (TWO.replace("budget: {steps: 1}", "budgets: {steps: 1}"), "line 12.*budgets.*budget"),
        (TWO.replace("as: stories", "as: 'no name'"), "name='small-no name' is not possible"),
    ],
)
def test_mistakes_are_sentences_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_league(league(tmp_path, text))


def test_a_league_runs_to_its_reports_and_then_has_nothing_left_to_do(tmp_path: Path, say: Say) -> None:
    file = str(league(tmp_path, TWO))
    planned = say("plan", file)
    assert planned.code == 0 and "small-countdown: 9 runs" in planned.out and "small-stories: 9 runs" in planned.out
    done = say("sweep", file)
    assert done.code == 0, done.err
    for name in ("small-countdown", "small-stories", "small"):
        assert (tmp_path / f"reports/out/{name}.html").exists()
    assert "Across 2 tasks" in (tmp_path / "reports/out/small.html").read_text()
    _, before = query(tmp_path / "results/data/beyondrl.duckdb", "SELECT run_id, finished_at FROM runs ORDER BY ALL")
    assert len(before) == 18
    page = (tmp_path / "reports/out/small.html").read_bytes()
    again = say("sweep", file)
    assert again.code == 0 and "small-countdown: 9 runs, 9 done, 0 to do" in again.out
    assert (
        query(tmp_path / "results/data/beyondrl.duckdb", "SELECT run_id, finished_at FROM runs ORDER BY ALL")[1]
        == before
    )
    assert (tmp_path / "reports/out/small.html").read_bytes() == page
