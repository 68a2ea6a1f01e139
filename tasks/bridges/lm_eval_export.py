"""Our tasks as tasks of lm-evaluation-harness: a folder for `lm_eval --include_path`, graded by our own graders.

`export_tasks` writes one YAML and one JSONL file a task (its questions, gold answers and what the grader needs) and a
small Python file that leads back here; beyondrl must be installed where lm-eval runs. Metrics are acc, reward and
well_formed. The folder can be moved. Tasks that ask in chat messages or are scored by likelihoods are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from harness.contracts import Item, LikelihoodTask, Task
from harness.errors import UserError
from harness.registry import find_task

METRICS = ("acc", "reward", "well_formed")
_BRIDGE = "beyondrl_bridge"
_PROGRAM = '''"""Leads lm-evaluation-harness to Beyond RL's questions and graders; written by `export_tasks`."""

from pathlib import Path

from tasks.bridges.lm_eval_export import graded, questions

HERE = Path(__file__).parent


def dataset(file, **_):
    return questions(HERE / file)


def process_results(doc, results):
    return graded(doc, results[0])
'''


def export_tasks(
    names: Sequence[str | Mapping[str, Any]], directory: Path, items: int = 500, split: str = "test"
) -> list[str]:
    """Write the first `items` questions of each task's `split` below `directory`; their names in lm-eval.

    A task is named as in a sweep: "countdown", or {"name": "countdown", "level": "L0"} with its parameters.
    """
    given = [{"name": one} if isinstance(one, str) else dict(one) for one in names]
    exported = [_exported_name(one) for one in given]
    double = next((name for name in exported if exported.count(name) > 1), None)
    if double is not None:
        raise UserError(f"Two tasks would be called {double!r} in lm-eval: export them into two folders.")
    written = [_documents(one, items, split) for one in given]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{_BRIDGE}.py").write_text(_PROGRAM)
    for name, (task, documents) in zip(exported, written, strict=True):
        lines = "".join(json.dumps(document) + "\n" for document in documents)
        (directory / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        (directory / f"{name}.yaml").write_text(_configuration(name, task), encoding="utf-8")
    return exported


def questions(file: Path) -> dict[str, Any]:
    """What lm-eval takes for a dataset: the exported questions of one file, as split `test`."""
    from datasets import Dataset

    with file.open(encoding="utf-8") as lines:
        return {"test": Dataset.from_list([json.loads(line) for line in lines])}


def graded(document: Mapping[str, str], completion: str) -> dict[str, float]:
    """lm-eval's metrics of one completion, by the grader of the task that the question is from."""
    task = _task(document["task"])
    grade = task.grade(Item(document["id"], document["split"], json.loads(document["data"])), completion)
    return {"acc": float(grade.correct), "reward": grade.reward, "well_formed": float(grade.well_formed)}


@cache
def _task(given: str) -> Task:
    """The task of an exported question, refused if its code is not the one that it was exported with."""
    wanted = json.loads(given)
    entry = find_task(wanted["name"])
    if entry.version != wanted["version"]:
        raise UserError(
            f"The task {wanted['name']!r} was exported in version {wanted['version']}, version {entry.version} is "
            "installed: export it again."
        )
    return entry.create(**wanted["parameters"])


def _documents(given: Mapping[str, Any], items: int, split: str) -> tuple[Task, list[dict[str, str]]]:
    parameters = {key: value for key, value in given.items() if key != "name"}
    entry = find_task(given["name"])
    resolved = entry.resolve(parameters)
    task = entry.create(**parameters)
    if isinstance(task, LikelihoodTask):
        raise UserError(
            f"The task {given['name']!r} is scored by likelihoods: only tasks with written answers go there."
        )
    named = json.dumps({"name": resolved.name, "version": resolved.version, "parameters": resolved.parameters})
    documents = []
    for item in task.items(split, items):
        prompt = task.prompt(item)
        if not isinstance(prompt, str):
            raise UserError(
                f"The task {given['name']!r} asks in chat messages: export a style that asks in plain text."
            )
        target = task.demonstration(item) if "demonstrations" in task.offers else ""
        document = {"task": named, "id": item.id, "split": item.split, "prompt": prompt, "target": target}
        documents.append(document | {"data": _as_json(task, item, target)})
    return task, documents


def _as_json(task: Task, item: Item, target: str) -> str:
    """The item's data as JSON; UserError if the gold answer is graded differently from what comes back of it."""
    try:
        data = json.dumps(item.data)
        same = task.grade(Item(item.id, item.split, json.loads(data)), target) == task.grade(item, target)
    except (TypeError, ValueError, KeyError):
        same = False
    if not same:
        raise UserError(f"The items of {task.name!r} cannot be written as JSON, so they cannot be exported.")
    return data


def _exported_name(given: Mapping[str, Any]) -> str:
    words = ["beyondrl", str(given["name"]), *([str(given["level"])] if "level" in given else [])]
    return re.sub(r"[^0-9A-Za-z]+", "_", "_".join(words))


def _configuration(name: str, task: Task) -> str:
    import yaml

    generation = {
        "until": [task.stop] if task.stop else [],
        "max_gen_toks": task.max_new_tokens,
        "do_sample": False,
        "temperature": 0.0,
    }
    metrics = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in METRICS]
    document = {
        "task": name,
        "output_type": "generate_until",
        "test_split": "test",
        "dataset_kwargs": {"file": f"{name}.jsonl"},
        "doc_to_text": "prompt",
        "doc_to_target": "target",
        "target_delimiter": "",
        "generation_kwargs": generation,
        "metric_list": metrics,
        "metadata": {"version": task.version},
    }
    functions = "".join(
        f"{key}: !function {_BRIDGE}.{function}\n"
        for key, function in (("custom_dataset", "dataset"), ("process_results", "process_results"))
    )
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True) + functions
