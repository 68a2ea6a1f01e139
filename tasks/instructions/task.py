"""The instructions task: a description in words, an input, and what the described task makes of it.

Levels say what val and test hold out: `seen` nothing but the inputs, `phrasing` the wording of the description,
`combination` the task (a selection of letters composed with a mapping, both known from other tasks), `both`, `frame` a
kind of sentence that no training description has; `examples` gives three solved inputs instead of a description,
`combination-examples` those of tasks held out, and `arithmetic` is another family, on numbers, with operations and
wordings held out. What val and test hold out, the pre-training of the base models held out too
(`tasks.corpus.instructions`). `data` is a folder in the format of Super-NaturalInstructions. `context="none"` leaves
the description out of the prompt; `described` gives each underlying task with its descriptions and items; `only` asks
one of them alone, in every split, as a method that learns a single task needs it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import unknown
from harness.parameters import DataPath
from harness.registry import task
from tasks.corpus import instructions as corpus
from tasks.instructions import arithmetic
from tasks.instructions.described import Described
from tasks.instructions.natural import read_described, same_output
from tasks.instructions.rouge import rouge_l
from tasks.pool import Fixed, Pool, split_of

LEVELS = ("seen", "phrasing", "combination", "both", "frame", "examples", "combination-examples", "arithmetic")
_HELD_TASKS = ("combination", "both", "combination-examples")
SPLITS = ("train", "val", "test")
_SIZES = {"train": 2000, "val": 500, "test": 2000}
_HELD_SHARES = {"test": 0.7, "val": 0.3}
_ALONE_SHARES = {"test": 0.3, "val": 0.1, "train": 0.6}
_SHOTS = 3
Context = Literal["description", "none"]


@task(
    "instructions",
    version=1,
    source="after Text-to-LoRA (Charakorn et al. 2025, arXiv 2506.06105); Wang et al. 2022, arXiv 2204.07705",
    levels=LEVELS,
    lab=("lab-reader", "examples"),
)
class Instructions:
    """Do what a description says with an input."""

    name: str
    version: int
    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier", "descriptions"})
    stop: str | None = "\n"

    def __init__(
        self,
        level: Annotated[str, "what val and test hold out, or another way to say what to do"] = "both",
        context: Annotated[Context, "whether the description stands in the prompt"] = "description",
        data: Annotated[str | None, DataPath(), "folder in the format of Super-NaturalInstructions"] = None,
        only: Annotated[str | None, "one underlying task by its id (ends+mirror), in all splits"] = None,
    ) -> None:
        if level not in LEVELS:
            raise unknown("level of instructions", level, LEVELS)
        self.level, self.context, self.data, self.only = level, context, data, only
        self.max_new_tokens = 24 if data is None else 128
        draw = _numbers if level == "arithmetic" else _letters
        if only is not None and data is None:
            known = arithmetic.NAMES if level == "arithmetic" else tuple(map(str, corpus.TASKS))
            if only not in known:
                raise unknown("underlying task of instructions", only, known)
        setting = level if only is None else f"{level} {only}"
        self._pools = {
            split: Pool(self.name, self.version, setting, partial(draw, level, only, split), _split, _SIZES)
            for split in SPLITS
        }
        self._read: dict[str, list[Described]] | None = None

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items of a split, tasks mixed (those of a folder task by task)."""
        if split not in SPLITS:
            raise unknown("split of instructions", split, SPLITS)
        if self.data is not None:
            every = {name: [item for one in there for item in one.items] for name, there in self._folder().items()}
            return Fixed(self.name, every).items(split, n)
        return self._pools[split].items(split, n)

    def described(self, split: str, n: int | None = None) -> list[Described]:
        """Each underlying task among the first `n` items of a split, with its descriptions and items."""
        if self.data is not None:
            if split not in SPLITS:
                raise unknown("split of instructions", split, SPLITS)
            return self._folder()[split][:n]
        found: dict[str, list[Item]] = {}
        for item in self.items(split, n):
            found.setdefault(item.data["task_id"], []).append(item)
        return [
            Described(name, tuple(dict.fromkeys(item.data["description"] for item in items)), tuple(items))
            for name, items in found.items()
        ]

    def prompt(self, item: Item) -> Prompt:
        """The description (or the solved inputs) and the input."""
        described = self.context == "description" and not item.data["shots"]
        return self.prompt_with(item, item.data["description"] if described else "")

    def text(self, item: Item) -> str:
        """The description."""
        return str(item.data["description"])

    def subject(self, item: Item) -> Sequence[str]:
        """The parts of the task: selection and mapping of letters, or its one name."""
        parts = str(item.data["task_id"])
        return parts.split("+") if self.data is None else [parts]

    def prompt_with(self, item: Item, text: str) -> Prompt:
        """The description `text` (or none), solved inputs where the level has some, and the input."""
        shots = "".join(f"Input: {given}\nOutput: {made}\n" for given, made in item.data["shots"])
        head = f" {text.strip()}\n" if text else ""
        return f"{head}{shots}Input: {item.data['input']}\nOutput:"

    def grade(self, item: Item, completion: str) -> Grade:
        """The first line, stripped, must be the output; for folders after normalising, with ROUGE-L beside it."""
        answer = completion.lstrip().partition("\n")[0].strip()
        if not answer:
            return Grade(False, 0.0, False, "empty", None)
        golds = item.data["answers"]
        if self.data is None:
            right = answer == golds[0]
            return Grade(right, float(right), True, "ok" if right else "wrong", answer[:200])
        right = any(same_output(answer, gold) for gold in golds)
        measures = {"exact": float(right), "rouge_l": max(rouge_l(answer, gold) for gold in golds)}
        return Grade(right, float(right), True, "ok" if right else "wrong", answer[:200], measures)

    def demonstration(self, item: Item) -> str:
        """The output, on one line."""
        return f" {' '.join(item.data['answers'][0].split())}"

    def _folder(self) -> dict[str, list[Described]]:
        if self._read is None:
            self._read = read_described(Path(str(self.data)))
            if self.only is not None:
                self._read = _alone(self._read, self.only)
        return self._read


def _alone(read: dict[str, list[Described]], only: str) -> dict[str, list[Described]]:
    """One task of a folder as a folder: its items by their hash, most of them for training."""
    known = {one.id: one for there in read.values() for one in there}
    if only not in known:
        raise unknown("task in the folder", only, known)
    parts: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for item in known[only].items:
        split = split_of("instructions alone", item.id, _ALONE_SHARES)
        parts[split].append(Item(item.id, split, item.data))
    return {split: [Described(only, known[only].descriptions, tuple(items))] for split, items in parts.items()}


def _letters(level: str, only: str | None, split: str, rng: random.Random) -> tuple[str, dict[str, Any]] | None:
    """An item on letters. In training nothing is held out; in val and test what the level says."""
    held = split != "train"
    chosen = rng.choice(corpus.HELD_OUT if held and level in _HELD_TASKS else corpus.TRAIN)
    if only is not None:
        chosen = corpus.Task(*only.split("+"))
    reworded = held and level in ("phrasing", "both")
    description = corpus.describe(rng, chosen, held=reworded, unseen_frame=held and level == "frame")
    letters = corpus.draw_input(rng, probe=held)
    shots = []
    if level.endswith("examples"):
        shown = [corpus.draw_input(rng) for _ in range(_SHOTS)]
        shots = [[" ".join(one), " ".join(chosen.solve(one))] for one in shown if one != letters]
    if held and split_of("instructions val or test", letters, _HELD_SHARES) != split:
        return None
    data = {
        "task_id": str(chosen),
        "description": description.strip(),
        "input": " ".join(letters),
        "answers": [" ".join(chosen.solve(letters))],
        "shots": shots,
        "split": split,
    }
    return f"{chosen}|{data['description']}|{letters}|{shots}", data


def _numbers(level: str, only: str | None, split: str, rng: random.Random) -> tuple[str, dict[str, Any]] | None:
    """An item on numbers: rows are split by their hash, in val and test operations and wordings are held out."""
    row = arithmetic.draw_row(rng)
    held = split != "train"
    chosen = rng.choice(arithmetic.NAMES if held else [n for n in arithmetic.NAMES if n not in arithmetic.HELD_OUT])
    chosen = chosen if only is None else only
    if split_of("instructions", str(row)) != split:
        return None
    description = rng.choice(arithmetic.descriptions(chosen, held))
    data = {
        "task_id": chosen,
        "description": description,
        "input": " ".join(map(str, row)),
        "answers": [arithmetic.solve(chosen, row)],
        "shots": [],
        "split": split,
    }
    return f"{chosen}|{description}|{row}", data


def _split(key: str, data: dict[str, Any]) -> str:
    return str(data["split"])
