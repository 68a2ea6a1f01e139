"""Tasks from a folder in the format of Super-NaturalInstructions: one JSON file a task.

`{"Definition": ["..."], "Positive Examples": [...], "Instances": [{"id", "input", "output": ["..."]}]}` (Wang et al.
2022, arXiv 2204.07705), in the folder itself or in its `tasks/`. Which tasks are for testing stands in
`splits/default/test_tasks.txt` where there is one, else a fifth is by the hash of its name; val is a tenth of the other
tasks. An answer is right if it equals an accepted one after normalising; ROUGE-L stands beside it. Normalising drops
case, ASCII punctuation and blanks, but no articles: `A` is an answer there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.contracts import Item
from harness.errors import UserError
from tasks.facts.squad import without_punctuation
from tasks.instructions.described import Described
from tasks.pool import content_id, split_of
from tasks.records import read_json

_SHARES = {"test": 0.2, "val": 0.1, "train": 0.7}
_REST = {"val": 0.1, "train": 0.9}


def read_described(place: Path) -> dict[str, list[Described]]:
    """Tasks by split; UserError with the file and the place in it for what is wrong."""
    folder = place / "tasks" if (place / "tasks").is_dir() else place
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UserError(f"{place} holds no task files (tasks/*.json in the format of Super-NaturalInstructions).")
    listed = place / "splits" / "default" / "test_tasks.txt"
    tested = set(listed.read_text(encoding="utf-8").split()) if listed.exists() else None
    found: dict[str, list[Described]] = {"train": [], "val": [], "test": []}
    for file in files:
        if tested is None:
            split = split_of("natural-instructions", file.stem, _SHARES)
        else:
            split = "test" if file.stem in tested else split_of("natural-instructions", file.stem, _REST)
        found[split].append(_task(file, split))
    return found


def same_output(answer: str, gold: str) -> bool:
    """Whether two outputs are equal after normalising; one of punctuation alone is compared as it stands."""
    plain = without_punctuation(gold)
    return without_punctuation(answer) == plain if plain else answer.split() == gold.split()


def _task(file: Path, split: str) -> Described:
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: a {type(content).__name__} where a JSON object is needed.")
    definitions = content.get("Definition")
    definitions = [definitions] if isinstance(definitions, str) else definitions
    if not isinstance(definitions, list) or not definitions or not all(isinstance(d, str) and d for d in definitions):
        raise UserError(f'{file}: no text under "Definition".')
    instances = content.get("Instances")
    if not isinstance(instances, list) or not instances:
        raise UserError(f'{file}: no list under "Instances".')
    items = tuple(_item(file, index, one, split, definitions[0]) for index, one in enumerate(instances))
    for key in ("id", "input"):
        seen: dict[str, int] = {}
        for index, one in enumerate(instances):
            first = index if one.get(key) is None else seen.setdefault(str(one[key]), index)
            if first != index:
                raise UserError(f"{file}, Instances[{index}]: it has the same {key} as Instances[{first}].")
    return Described(file.stem, tuple(definitions), items)


def _item(file: Path, index: int, instance: Any, split: str, definition: str) -> Item:
    where = f"{file}, Instances[{index}]"
    if not isinstance(instance, dict) or not isinstance(instance.get("input"), str):
        raise UserError(f'{where}: no text under "input".')
    outputs = instance.get("output")
    outputs = [outputs] if isinstance(outputs, str) else outputs
    if not isinstance(outputs, list) or not outputs or not all(isinstance(o, str) and o.strip() for o in outputs):
        raise UserError(f'{where}: no text under "output".')
    data = {
        "task_id": file.stem,
        "description": definition,
        "input": instance["input"],
        "answers": outputs,
        "shots": [],
    }
    return Item(content_id("natural-instructions", file.stem, instance["input"]), split, data | {"shots": []})
