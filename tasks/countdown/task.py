"""The Countdown task: levels L0 to L6 (L5 is the papers'), three prompt styles, exact grading.

A completion is right if its answer is one expression in + - * / and brackets that uses every given number exactly
once and equals the target exactly (rationals, no tolerance). Items of a split are always in the same order; splits
share no set of numbers. `data` loads the original file of 'ES at Scale' instead of generating.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Annotated, Literal

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import UserError, unknown
from harness.parameters import DataPath
from harness.registry import task
from tasks.countdown.expression import ExpressionError, evaluate
from tasks.countdown.instances import SPLITS, Instance, draw, split_of
from tasks.countdown.levels import ALIASES, LEVELS, Level
from tasks.countdown.plan import reachable, solvable
from tasks.countdown.search import demonstrate
from tasks.countdown.style import Style, ask, find_answer, format_score, write_demonstration
from tasks.records import read_json

_ENUMERABLE = 20  # up to three numbers up to this value, every instance of a level is listed
_SIZES = {"train": 200, "val": 200, "test": 2000, "pretrain": 2000}
"""Items of a split when none are asked for, on levels too large to list: the papers' 200 train and 2000 test."""
_FILE_TRAIN = 200
Reward = Literal["correct", "tinyzero", "es-paper"]


@task(
    "countdown",
    version=1,
    source="Pan et al. 2025 (TinyZero); Qiu et al. 2025, arXiv 2509.24372, section 4.1",
    levels=(*LEVELS, *ALIASES),
    lab=("lab", "L2"),
)
class Countdown:
    """Combine all the given numbers, each once, with + - * / so that they make the target."""

    name: str
    version: int
    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier"})
    stop: str | None = None

    def __init__(
        self,
        level: Annotated[str, "difficulty L0 to L6, or 'paper' for L5"] = "L2",
        style: Annotated[Style | None, "form of the prompt; the level's own if not given"] = None,
        reward: Annotated[Reward, "what training sees; accuracy never depends on it"] = "correct",
        data: Annotated[
            str | None, DataPath(), "path of the original countdown.json, in place of generated items"
        ] = None,
    ) -> None:
        if level not in LEVELS and level not in ALIASES:
            raise unknown("level of countdown", level, [*LEVELS, *ALIASES])
        self.level: Level = LEVELS[ALIASES.get(level, level)]
        self.style: Style = style or self.level.style  # type: ignore[assignment]
        self.reward = reward
        self.max_new_tokens = self.level.max_new_tokens[self.style]
        self._file = _read_file(Path(data)) if data is not None else None
        self._made: dict[str, list[Item]] = {}

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items; raises UserError for an unknown split or more items than a finite split has."""
        known = [name for name, _ in SPLITS]
        if split not in known:
            raise unknown("split of countdown", split, known)
        if self._file is not None:
            found = self._file[split]
        elif max(self.level.counts) <= 3 and self.level.high <= _ENUMERABLE:
            found = self._listed(split)
        else:
            return self._drawn(split, _SIZES[split] if n is None else n)
        if split in ("val", "test") and n is not None and n > len(found):
            raise UserError(
                f"countdown {self.level.name} has {len(found)} {split} items, {n} were asked for: ask for fewer."
            )
        return found[:n]

    def prompt(self, item: Item) -> Prompt:
        """The question in this task's style."""
        return ask(self.style, tuple(item.data["numbers"]), item.data["target"])

    def grade(self, item: Item, completion: str) -> Grade:
        """Exact grading; `reason` is ok, wrong_value, wrong_numbers, or why there is no readable expression."""
        answer = find_answer(self.style, completion)
        if answer.text is None:
            return self._graded(completion, False, False, answer.reason, None)
        try:
            expression = evaluate(answer.text)
        except ExpressionError as error:
            return self._graded(completion, False, False, error.reason, answer.text[:200])
        parsed = answer.text.strip()
        if sorted(expression.literals) != sorted(item.data["numbers"]):
            return self._graded(completion, False, True, "wrong_numbers", parsed)
        if expression.value != Fraction(item.data["target"]):
            return self._graded(completion, False, True, "wrong_value", parsed)
        return self._graded(completion, True, True, "ok", parsed)

    def demonstration(self, item: Item) -> str:
        """A systematic search that ends in a right answer; always the same for an item."""
        rng = random.Random(f"countdown demonstration {item.id}")
        tries = demonstrate(tuple(item.data["numbers"]), int(item.data["target"]), rng)
        return write_demonstration(self.style, tries)

    def solvable(self, item: Item) -> bool:
        """The oracle: whether any expression over exact rationals solves the item, by enumeration."""
        return solvable(tuple(item.data["numbers"]), Fraction(item.data["target"]))

    def _graded(self, completion: str, correct: bool, well_formed: bool, reason: str, parsed: str | None) -> Grade:
        if self.reward == "tinyzero":
            reward = 1.0 if correct else 0.1 if reason not in ("empty", "no_answer", "several_answers") else 0.0
        elif self.reward == "es-paper":
            reward = float(correct) + 0.1 * format_score(completion)
        else:
            reward = float(correct)
        return Grade(correct, reward, well_formed, reason, parsed)

    def _listed(self, split: str) -> list[Item]:
        """Every instance of a small level's split, in the order of a hash."""
        if split not in self._made:
            keyed = []
            for count in self.level.counts:
                for numbers in combinations_with_replacement(range(1, self.level.high + 1), count):
                    if split_of(numbers) == split:
                        targets = reachable(numbers, self.level.target_low, self.level.target_high)
                        keyed += [
                            (self._key(split, Instance(numbers, target).key), numbers, target) for target in targets
                        ]
            self._made[split] = [
                self._item(split, _shuffled(numbers, key), target) for key, numbers, target in sorted(keyed)
            ]
        return self._made[split]

    def _drawn(self, split: str, n: int) -> list[Item]:
        """The first `n` different instances of a large level's split, each candidate from its own random numbers."""
        made = self._made.setdefault(split, [])
        seen = {item.id for item in made}
        candidate = self._made.setdefault(f"{split} candidates", [])
        while len(made) < n:
            rng = random.Random(self._key(split, str(len(candidate))))
            instance = draw(self.level, split, rng)
            item = self._item(split, instance.numbers, instance.target)
            candidate.append(item)
            if item.id not in seen:
                seen.add(item.id)
                made.append(item)
        return made[:n]

    def _key(self, split: str, content: str) -> str:
        text = f"countdown/{self.version}/{self.level.name}/{split}/{content}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _item(self, split: str, numbers: tuple[int, ...], target: int) -> Item:
        low, high = self.level.target_low, self.level.target_high
        needs_product = target not in reachable(tuple(sorted(numbers)), low, high, "+-") if len(numbers) <= 4 else None
        return Item(
            hashlib.sha256(Instance(numbers, target).key.encode()).hexdigest()[:16],
            split,
            {"numbers": list(numbers), "target": target, "needs_product": needs_product},
        )


def _shuffled(numbers: tuple[int, ...], key: str) -> tuple[int, ...]:
    return tuple(random.Random(key).sample(numbers, len(numbers)))


def _read_file(path: Path) -> dict[str, list[Item]]:
    """The original file: its first 200 records are train, the rest test; val is the train items' second half.

    Targets are read exactly, decimals and negative ones too; unsolvable records stay, `solvable` tells them apart. An
    instance that comes twice is refused.
    """
    records = read_json(path)
    what = "is no Countdown file (a JSON list of records with numbers and target)"
    if not isinstance(records, list) or not records:
        raise UserError(f"{path} {what}: it holds no list of records.")
    splits: dict[str, list[Item]] = {name: [] for name, _ in SPLITS}
    seen: dict[str, int] = {}
    for place, record in enumerate(records):
        try:
            numbers, target = _numbers(record["numbers"]), _target(record["target"])
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            problem = f"no {error}" if isinstance(error, KeyError) else error
            raise UserError(f"{path} {what}: record [{place}]: {problem}.") from None
        split = "train" if place < _FILE_TRAIN // 2 else "val" if place < _FILE_TRAIN else "test"
        identity = hashlib.sha256(f"{sorted(numbers)}={Fraction(target)}".encode()).hexdigest()[:16]
        if identity in seen:
            raise UserError(f"{path}: record [{place}] is the same instance as record [{seen[identity]}].")
        seen[identity] = place
        splits[split].append(Item(identity, split, {"numbers": list(numbers), "target": target}))
    return splits


def _numbers(given: object) -> tuple[int, ...]:
    if not isinstance(given, list) or not given or any(type(number) is not int for number in given):
        raise ValueError(f"{given!r} is no list of whole numbers")
    return tuple(given)


def _target(given: object) -> str:
    """The target as the prompt shows it; `Fraction` reads it exactly."""
    exact = Fraction(str(given))
    return str(exact) if exact.denominator == 1 else str(given)
