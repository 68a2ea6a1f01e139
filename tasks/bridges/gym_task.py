"""Every safe set of reasoning-gym as a task: `reasoning-gym:chain_sum`, with any settings of that set.

Item k of a split comes from a set of one item whose seed is 63 bits of the hash of (set, settings, version, split, k),
never seed + index, by which sets with neighbouring seeds share nearly all items. The split is a hash of the question;
a question comes once. A candidate whose own right answer is refused by its grader, or that has none, is left out.
Accuracy is the full score alone, the set's partial score is the measure `score`. `gym_rules` says what is refused.
Source: Stojanovski et al. 2025, arXiv 2505.24760; reasoning-gym 0.1.25.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import UserError, unknown
from harness.registry import task_family
from tasks.bridges.gym_graders import GRADERS
from tasks.bridges.gym_rules import REFUSED, SLOW_TO_OPEN, SPLIT_BY
from tasks.bridges.packages import require
from tasks.pool import Pool, split_of

SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}
_SIZES = {"train": 2000, "val": 500, "test": 2000}
_NO_CONFIG: dict[str, Any] = {}
_LONGEST = 1000
"""Characters of an answer that is looked at, or twice the right answer's if these are more."""
_ASK = "Think about it first, then put the final answer alone inside <answer> </answer> tags."
Style = Literal["tags", "chat", "plain"]


@task_family("reasoning-gym", version=1, source="Stojanovski et al. 2025, arXiv 2505.24760")
class ReasoningGym:
    """A procedurally generated set of reasoning-gym by its name there, with disjoint splits and safe grading."""

    name: str
    version: int
    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier"})
    stop: str | None = None
    max_new_tokens = 1024

    def __init__(
        self,
        subject: str,
        config: Annotated[dict[str, Any], "settings of the set, for example {min_terms: 2}"] = _NO_CONFIG,
        sizes: Annotated[dict[str, int], "items of a split when none are asked for"] = _SIZES,
        style: Annotated[Style, "answer in tags, the same as a chat message, or the whole completion"] = "tags",
    ) -> None:
        require("reasoning-gym")
        from reasoning_gym.factory import DATASETS

        if subject in REFUSED:
            raise UserError(f"The set {subject!r} of reasoning-gym is not taken: {REFUSED[subject]}.")
        if subject not in DATASETS:
            raise unknown("set of reasoning-gym", subject, set(DATASETS) - set(REFUSED))
        self.subject, self.style = subject, style
        self.name = f"reasoning-gym:{subject}"
        self.config = _checked(subject, config, {field.name for field in dataclasses.fields(DATASETS[subject][1])})
        self._set = self._open(0)
        self._pool = self._make_pool(sizes)

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items; those of a split are always the same ones in the same order."""
        return self._pool.items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The set's question, with a word on where the answer belongs unless the whole completion is the answer."""
        question = str(item.data["question"]).strip()
        if self.style == "plain":
            return question + "\n"
        asked = f"{question}\n\n{_ASK}"
        return [{"role": "user", "content": asked}] if self.style == "chat" else f"{asked}\n"

    def grade(self, item: Item, completion: str) -> Grade:
        """Reasons: ok, wrong, no_answer, empty, too_long, or scorer_failed with what the set's scorer raised."""
        answer = completion if self.style == "plain" else _last_block(completion)
        if answer is None:
            return Grade(False, 0.0, False, "no_answer")
        answer = answer.strip()
        if not answer:
            return Grade(False, 0.0, False, "empty")
        if len(answer) > max(_LONGEST, 2 * len(item.data["answer"])):
            return Grade(False, 0.0, False, "too_long", answer[:200])
        return self._graded(item.data, answer)

    def demonstration(self, item: Item) -> str:
        """The set's own answer."""
        answer = str(item.data["answer"])
        return answer if self.style == "plain" else f"<answer>{answer}</answer>"

    def _graded(self, entry: Mapping[str, Any], answer: str) -> Grade:
        measures = {}
        if self.subject in GRADERS:
            correct = GRADERS[self.subject](answer, entry)
        else:
            try:
                score = float(self._set.score_answer(answer, copy.deepcopy(entry)))
            except Exception as error:  # noqa: BLE001 - other people's scorers; what one raises is the grade's reason
                return Grade(False, 0.0, True, f"scorer_failed: {type(error).__name__}", answer)
            correct = score >= 1.0
            if math.isfinite(score):
                measures["score"] = score
        return Grade(correct, float(correct), True, "ok" if correct else "wrong", answer, measures)

    def _make_pool(self, sizes: Mapping[str, int]) -> Pool:
        for split, size in sizes.items():
            if split not in SHARES:
                raise unknown(f"split of {self.name}", split, SHARES)
            if size < 1:
                raise UserError(f"{self.name}: the size of {split} is {size}, not 1 or more.")
        setting = json.dumps(self.config, sort_keys=True)
        return Pool(self.name, self.version, setting, self._draw, self._split, {**_SIZES, **sizes})

    def _draw(self, rng: random.Random) -> tuple[str, dict[str, Any]] | None:
        with contextlib.redirect_stdout(io.StringIO()):  # some generators print
            entry = dict(self._open(rng.getrandbits(63))[0])
        answer = entry["answer"]
        if entry["metadata"].get("possible_answer") is not None and answer is None:
            answer = json.dumps(entry["metadata"]["possible_answer"])
        if not isinstance(answer, str) or not answer.strip() or "answer>" in answer:
            return None
        entry["answer"] = answer.strip()
        if not self._graded(entry, entry["answer"]).correct:
            return None
        numbers = entry["metadata"].get("numbers") if self.subject in ("countdown", "puzzle24") else None
        return str(sorted(numbers)) if numbers else " ".join(entry["question"].split()), entry

    def _split(self, key: str, entry: Mapping[str, Any]) -> str:
        group = SPLIT_BY.get(self.subject)
        return split_of(self.name, key if group is None else str(entry["metadata"][group]), SHARES)

    def _open(self, seed: int) -> Any:
        """The set with one item."""
        from reasoning_gym.factory import create_dataset

        if seed and self.subject in SLOW_TO_OPEN:
            made = copy.copy(self._set)
            made.seed, made.config = seed, dataclasses.replace(self._set.config, seed=seed)
            return made
        try:
            return create_dataset(self.subject, **self.config, seed=seed, size=1)
        except (AssertionError, ValueError, TypeError, KeyError, LookupError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"The settings {self.config} are none of {self.subject}'s: {reason}.") from None


def _checked(subject: str, config: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    for key in config:
        if key in ("seed", "size"):
            raise UserError(f"The {key} of {subject} is decided by the split and the item: leave it out of config.")
        if key not in known:
            raise unknown(f"setting of {subject}", key, known - {"seed", "size"})
    return dict(config)


def _last_block(completion: str) -> str | None:
    end = completion.rfind("</answer>")
    start = completion.rfind("<answer>", 0, end) if end >= 0 else -1
    return None if start < 0 else completion[start + len("<answer>") : end]
