"""A third party's method and task: a package of its own, really installed, found by its entry points and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.models import load_model

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "{name}"
version = "0.1"
[project.entry-points."beyondrl.methods"]
{name} = "{name}.method"
[project.entry-points."beyondrl.tasks"]
{name} = "{name}.task"
[tool.setuptools]
packages = ["{name}"]
"""

METHOD = '''\
"""Imitation at one fixed speed."""

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.sft import demonstrations
from methods.objectives.task_reward import task_reward
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import BatchSize


@method("imitate", version=7, source="a plug-in")
def imitate(batch_size: BatchSize = 2) -> Pipeline:
    """Imitation at one fixed speed."""
    return Pipeline.of(Train(demonstrations(batch_size, 8), full(), adamw(1e-3)))


@method("crossed", version=1)
def crossed() -> Pipeline:
    """A reward without a gradient for an optimiser that wants one."""
    return Pipeline.of(Train(task_reward(2, 8), full(), adamw(1e-3)))
'''

TASK = '''\
"""Sums of two digits."""

from harness.contracts import Grade, Item
from harness.errors import unknown
from harness.registry import task

SPLITS = {"train": 0, "val": 1, "test": 2}


@task("sums", version=1)
class Sums:
    """Add two digits."""

    offers = frozenset({"demonstrations", "verifier"})
    max_new_tokens = 4
    stop = None

    def items(self, split, n=None):
        if split not in SPLITS:
            raise unknown("split of sums", split, SPLITS)
        pairs = [(a, b) for a in range(10) for b in range(10) if (a + b) % 3 == SPLITS[split]]
        return [Item(f"{a}+{b}", split, {"a": a, "b": b}) for a, b in pairs[:n]]

    def prompt(self, item):
        return f"{item.data['a']}+{item.data['b']}="

    def demonstration(self, item):
        return str(item.data["a"] + item.data["b"])

    def grade(self, item, completion):
        right = completion.strip() == self.demonstration(item)
        return Grade(right, float(right), completion.strip().isdigit(), "ok" if right else "wrong")
'''

Beyondrl = Callable[..., "subprocess.CompletedProcess[str]"]


def install(source: Path, site: Path, name: str, method: str = METHOD, task: str = TASK) -> None:
    """Write a distribution called `name` and install it into `site`, without a network."""
    package = source / name
    package.mkdir(parents=True)
    (source / "pyproject.toml").write_text(PROJECT.format(name=name))
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text(method)
    (package / "task.py").write_text(task)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run(
        [*pip, "--no-index", "--no-deps", "--no-build-isolation", "--target", str(site), str(source)],
        check=True,
        cwd=source,
        capture_output=True,
    )


def command_line(site: Path, folder: Path) -> Beyondrl:
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))

    def beyondrl(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return beyondrl


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the plug-in in it."""
    path = tmp_path_factory.mktemp("site")
    install(tmp_path_factory.mktemp("source"), path, "sums_plugin")
    return path


@pytest.fixture
def beyondrl(site: Path, tmp_path: Path) -> Beyondrl:
    return command_line(site, tmp_path)


def listed(answer: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert answer.returncode == 0, answer.stderr
    return list(json.loads(answer.stdout))


def test_an_installed_plug_in_is_listed(beyondrl: Beyondrl) -> None:
    methods = {row["method"]: row for row in listed(beyondrl("list", "methods", "--json"))}
    assert methods["imitate"]["version"] == 7 and methods["imitate"]["stages"] == "sft x full x adamw"
    assert methods["imitate"]["summary"] == "Imitation at one fixed speed." and "sft" in methods
    tasks = {row["task"] for row in listed(beyondrl("list", "tasks", "--json"))}
    assert {"sums", "countdown"} <= tasks
    assert [row["parameter"] for row in listed(beyondrl("list", "imitate", "--json"))] == ["batch_size"]


def test_nothing_of_it_is_there_without_it(tmp_path: Path) -> None:
    answer = command_line(tmp_path, tmp_path)("list", "methods", "--json")
    assert "imitate" not in {row["method"] for row in listed(answer)}


def test_it_is_paired_with_everything(beyondrl: Beyondrl) -> None:
    """Its method with the shipped task, the shipped methods with its task, and the illegal pair with its reason."""
    pairs = {(row["method"], row["task"]): row for row in listed(beyondrl("list", "pairs", "--json"))}
    for pair in [("imitate", "sums"), ("imitate", "countdown"), ("grpo", "sums"), ("es", "sums")]:
        assert pairs[pair]["legal"], pair
    assert not pairs["crossed", "sums"]["legal"]
    assert "'adamw' takes gradient, 'task-reward' gives fitness only" in str(pairs["crossed", "sums"]["why not"])


def test_it_runs_to_a_result(beyondrl: Beyondrl, tmp_path: Path) -> None:
    """The run's own process finds the plug-in too."""
    model = tmp_path / "model"
    shutil.copytree(load_model("lab").path, model)
    options = ["--model", str(model), "--steps", "2", "--items", "5", "--curve-points", "0", "--runs", "runs", "--json"]
    answer = beyondrl("run", "--method", "imitate", "--task", "sums", *options)
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    assert result["score"]["items"] == 5 and result["meters"]["steps"] == 2
    (spec,) = (tmp_path / "runs").glob("sums/imitate/*/spec.json")
    assert json.loads(spec.read_text())["method"] == {
        "name": "imitate",
        "version": 7,
        "parameters": {"batch_size": 2},
        "data": {},
    }


def test_a_misspelt_plug_in_method_gets_the_nearest(beyondrl: Beyondrl) -> None:
    answer = beyondrl("run", "--method", "imitat", "--task", "sums", "--steps", "1")
    assert answer.returncode == 2 and "Did you mean 'imitate'?" in answer.stderr and "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("name", "method", "words"),
    [
        ("broken_plugin", "import a_module_that_is_not_there\n", ["'broken_plugin'", "a_module_that_is_not_there"]),
        ("thief_plugin", METHOD.replace('"imitate"', '"sft"'), ["Two methods are called 'sft'", "methods.recipes.sft"]),
    ],
)
def test_a_bad_plug_in_is_named_in_one_sentence(tmp_path: Path, name: str, method: str, words: list[str]) -> None:
    install(tmp_path / "source", tmp_path / "site", name, method=method)
    answer = command_line(tmp_path / "site", tmp_path)("list", "methods")
    assert answer.returncode == 2 and "Traceback" not in answer.stderr and answer.stdout == ""
    assert len(answer.stderr.strip().split("\n")) == 1
    for word in words:
        assert word in answer.stderr
