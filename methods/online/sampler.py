"""Rollouts of the policy as it is now: groups of completions, scored, and if asked only groups that can teach.

With `rounds` above 0 the sampling is dynamic (Yu et al. 2025, DAPO, arXiv 2503.14476, section 3.2): a group whose
rewards are all equal has no advantage and is dropped, and further prompts are sampled in its place, until the batch is
full, `rounds` rounds were sampled, or the budget is spent. Everything that was sampled is charged. Places that are
still empty then are filled with dropped groups that are marked as unused.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.contracts import Completion, Item

if TYPE_CHECKING:
    from harness.context import StageContext
    from methods.online.forward import Rows
    from methods.online.reward import Scorer


@dataclass(frozen=True)
class Sampled:
    """One batch: row i is an answer to item `indices[i]`; the rows of a group stand together."""

    indices: list[int]
    answers: list[Completion]
    rewards: list[float]
    used: list[bool]
    """False where a row may not move the policy: its group was dropped and could not be replaced."""
    values: dict[str, float] = field(default_factory=dict)
    """What to log of the sampling."""


@dataclass(frozen=True)
class Sampler:
    """Asks the policy `items` by their index; what is sampled follows from the batch's number."""

    stage: StageContext
    items: Sequence[Item]
    scorer: Scorer
    group_size: int
    temperature: float
    rounds: int = 0
    """Rounds of sampling at most; 0 takes every group as it comes."""

    def sample(self, asked: list[int], batch: int) -> Sampled:
        """Answer `asked`, `group_size` equal indices beside each other, as batch number `batch`."""
        first = self._answer(asked, batch, 0)
        return first if self.rounds == 0 else self._refill(first, batch)

    def _answer(self, indices: list[int], batch: int, round_number: int) -> Sampled:
        items = [self.items[index] for index in indices]
        # The first round's stream has the name it has always had: a run's samples follow from it.
        name = ("rollouts", batch, round_number) if round_number else ("rollouts", batch)
        answers = self.stage.generate(
            [self.stage.task.prompt(item) for item in items],
            self.stage.sampling(self.temperature),
            self.stage.seed(*name),
        )
        rewards = self.scorer(items, answers)
        return Sampled(indices, answers, rewards, [True] * len(answers))

    def _refill(self, first: Sampled, batch: int) -> Sampled:
        wanted = len(first.indices) // self.group_size
        kept, dropped = self._sorted(first)
        order = self._further(first.indices, batch)
        for round_number in range(1, self.rounds):
            missing = wanted - len(kept)
            if missing == 0 or not order or self.stage.exhausted():
                break
            chosen, order = order[:missing], order[missing:]
            more = self._answer([index for index in chosen for _ in range(self.group_size)], batch, round_number)
            good, bad = self._sorted(more)
            kept += good
            dropped += bad
        sampled = len(kept) + len(dropped)
        filling = dropped[: wanted - len(kept)]
        values = {
            "groups_sampled": float(sampled),
            "groups_dropped": len(dropped) / sampled,
            "groups_used": len(kept) / wanted,
        }
        rows = [(row, True) for group in kept for row in group] + [(row, False) for group in filling for row in group]
        return Sampled(
            [row[0] for row, _ in rows],
            [row[1] for row, _ in rows],
            [row[2] for row, _ in rows],
            [used for _, used in rows],
            values,
        )

    def _sorted(self, sampled: Sampled) -> tuple[list[list[Row]], list[list[Row]]]:
        """Groups whose rewards differ, and groups whose rewards are all equal."""
        rows = list(zip(sampled.indices, sampled.answers, sampled.rewards, strict=True))
        groups = [rows[start : start + self.group_size] for start in range(0, len(rows), self.group_size)]
        differ = [len({reward for _, _, reward in group}) > 1 for group in groups]
        return (
            [group for group, good in zip(groups, differ, strict=True) if good],
            [group for group, good in zip(groups, differ, strict=True) if not good],
        )

    def _further(self, asked: list[int], batch: int) -> list[int]:
        """Every other prompt once, in this batch's own order."""
        others = sorted(set(range(len(self.items))) - set(asked))
        random.Random(self.stage.seed("refill", batch)).shuffle(others)
        return others


Row = tuple[int, Completion, float]


def walk(sampler: Sampler, prompts: int, batch: int) -> list[int]:
    """Indices of batch number `batch`: a walk through the items, shuffled anew every pass, each one `group_size` times.

    Where there are fewer items than `prompts`, they come round again in the same batch.
    """
    count = len(sampler.items)
    chosen: list[int] = []
    order: list[int] = []
    for position in range(batch * prompts, (batch + 1) * prompts):
        pass_number, place = divmod(position, count)
        if place == 0 or not order:
            order = random.Random(sampler.stage.seed("data", pass_number)).sample(range(count), count)
        chosen.append(order[place])
    return [index for index in chosen for _ in range(sampler.group_size)]


def rows_of(stage: StageContext, sampled: Sampled, items: Sequence[Item]) -> tuple[Rows, dict[str, float]]:
    """A batch as padded tensors (see `methods.online.forward`), and what to log of it."""
    from harness.engines.hf import encode
    from methods.online.forward import padded

    tokenizer = stage.policy.tokenizer
    prompts = [encode(tokenizer, stage.task.prompt(items[index])) for index in sampled.indices]
    completions = [answer.token_ids for answer in sampled.answers]
    rows = padded(prompts, completions, tokenizer.pad_token_id, stage.policy.model.device)
    count = len(completions)
    mean = sum(sampled.rewards) / count
    values = {
        "reward": mean,
        "reward_std": (sum((reward - mean) ** 2 for reward in sampled.rewards) / count) ** 0.5,
        "completions/mean_length": sum(map(len, completions)) / count,
        "completions/clipped_ratio": sum(answer.truncated for answer in sampled.answers) / count,
    }
    return rows, values | sampled.values
