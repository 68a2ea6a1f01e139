"""Sweep files: what is in them, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from sweeps.file import read_sweep
from sweeps.league import read_league
from sweeps.resolve import resolve
from tests.sweeps.conftest import sweep_text
from tests.sweeps.toys import MODEL

SHIPPED = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_sweep_parses(path: Path) -> None:
    for file, _ in read_league(path).members:
        assert file.budget.limits() and "base" in {choice.name for choice in file.methods}


def test_defaults_and_shorthands(tmp_path: Path) -> None:
    path = tmp_path / "Small-One.yaml"
    path.write_text(
        "model: toy\ntask: toy-task\nmethods: [toy-base, {name: toy-rate, rank: 8, as: wide}]\nbudget: {flops: 1e9}\n"
        "final: {seeds: 3, on: test}\n"
    )
    file, _ = read_sweep(path)
    assert file.name == "small-one" and file.final.seeds == [1, 2, 3] and file.budget.flops == 1e9
    assert [(one.name, one.label, one.parameters) for one in file.methods] == [
        ("toy-base", "toy-base", {}),
        ("toy-rate", "wide", {"rank": 8}),
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("tune: {trials", "tune: {trails", "line 6: No key of 'tune' is called 'trails'. Did you mean 'trials'?"),
        ("budget:", "budgte:", "line 5: No key of a sweep is called 'budgte'. Did you mean 'budget'?"),
        ("{flops: 1e12}", "{flop: 1e12}", "line 5: No key of 'budget' is called 'flop'. Did you mean 'flops'?"),
        ("{flops: 1e12}", "{flops: many}", "line 5: budget.flops='many' is not possible"),
        ("{flops: 1e12}", "{}", "the budget needs a limit"),
        ("model: toy\n", "", "'model' is missing"),
        ("trials: 3", "trials: -1", "tune.trials=-1 is not possible"),
        ("seeds: 2", "seeds: [1, 1]", "final.seeds has a seed twice"),
        ("seeds: 2", "seeds: [100]", "seed 100 is in tune.seeds and in final.seeds"),
        ("seeds: 2", "seeds: 0", "final.seeds=[] is not possible"),
        ("[toy-rate]", "[]", "methods=[] is not possible"),
        ("[toy-rate]", "[{name: toy-rate, training: {acumulation: 2}}]", "line 4: No key of 'methods.0.training' is"),
        ("[toy-rate]", "[{name: toy-rate, training: {accumulation: 0}}]", "training.accumulation=0 is not possible"),
        ("[toy-rate]", "[toy-rate, toy-rate]", "two methods go by the label 'toy-rate'"),
        ("[toy-rate]", "[{rank: 2}]", "a method is a name"),
        ("[toy-rate]", "[3]", "a method is a name"),
        ("[toy-rate]", "[toy-rote]", "line 4: No method is called 'toy-rote'. Did you mean 'toy-rate'?"),
        ("[toy-rate]", "[{name: toy-rate, rnk: 2}]", "line 4: No parameter of method 'toy-rate' is called 'rnk'"),
        ("[toy-rate]", "[{name: toy-rate, rank: low}]", "line 4: method 'toy-rate': rank='low' is not possible"),
        ("[toy-rate]", "[{name: toy-rate, search: {rank: {low: 1}}}]", "a search range is"),
        ("[toy-rate]", "[{name: toy-rate, search: {rank: {lo: 1}}}]", "is called 'lo'. Did you mean 'low'?"),
        ("[toy-rate]", "[{name: toy-rate, search: {rnk: {low: 1, high: 2}}}]", "is called 'rnk'. Did you mean 'rank'?"),
        ("[toy-rate]", "[{name: toy-rate, search: {rank: {low: 8, high: 9}}}]", "say where to begin with start"),
        (
            "[toy-rate]",
            "[{name: toy-rate, rank: 4, search: {rank: {low: 1, high: 9}}}]",
            "is fixed and has a search range",
        ),
        ("task: toy-task", "task: toy-tusk", "line 3: No task is called 'toy-tusk'. Did you mean 'toy-task'?"),
        ("task: toy-task", "task: {name: toy-task, lvl: x}", "line 3: No parameter of task 'toy-task' is called 'lvl'"),
        ("name: toy", "name: Not a name", "name='Not a name' is not possible"),
        ("[toy-rate]", "[toy-documents]", "no method of this sweep can run"),
        ("seeds: 2}", "seeds: 2}\nevaluation: {samples: 4}", "greedy decoding"),
        ("seeds: 2}", "seeds: 2}\nevaluation: {engine: hff}", "No evaluation engine is called 'hff'"),
        ("seeds: 2}", "seeds: 2, items: 2000}", "line 7: toy-task has 1000 test items, 2000 were asked for"),
        ("trials: 3", "trials: 3, items: 2000", "line 6: toy-task has 1000 val items, 2000 were asked for"),
    ],
)
def test_mistakes(tmp_path: Path, before: str, after: str, said: str) -> None:
    text = sweep_text("[toy-rate]")
    assert before in text
    path = tmp_path / "toy.yaml"
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(UserError) as caught:
        file, document = read_sweep(path)
        resolve(file, document, MODEL)
    assert said in str(caught.value) and "\n" not in str(caught.value)
