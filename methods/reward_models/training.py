"""What the two kinds of reward model share in training: pairs and held-out prompts, the backbone, the folder written.

A reward model starts as the policy's own backbone with a new scalar head, drawn under the run's seed. The policy is
left as it is. Held-out prompts are a share of the prompts that have right and wrong completions; nothing of theirs is
trained on. What is measured on them goes into the log (`held_out/...`) and the card.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from harness.contracts import Prompt
from harness.errors import UserError
from harness.gradient_loop import count_tokens
from harness.policy import Policy
from methods.reward_models.card import CARD, FOLDER, Card, Kind
from methods.reward_models.judge import scores_of
from methods.reward_models.text import Read, read_as, steps_of

if TYPE_CHECKING:
    from harness.context import StageContext

_PAIRS_A_PROMPT = 16
_SCALED_BY = 512


@dataclass(frozen=True)
class Answer:
    """A completion of a training prompt with its verdict."""

    prompt: Prompt
    text: str
    truncated: bool
    right: bool


@dataclass(frozen=True)
class Sets:
    """The answers of each prompt that has both right and wrong ones, by whether one trains on them."""

    trained: list[list[Answer]]
    held_out: list[list[Answer]]


def held_apart(stage: StageContext, groups: list[list[Answer]], share: float) -> Sets:
    """Set `share` of the prompts aside (one at least where there are two); only prompts with both outcomes count."""
    both = [group for group in groups if {answer.right for answer in group} == {True, False}]
    random.Random(stage.seed("held-out")).shuffle(both)
    count = max(1, round(share * len(both))) if share > 0 and len(both) > 1 else 0
    return Sets(both[count:], both[:count])


def pairs_of(group: list[Answer], limit: int) -> list[tuple[Answer, Answer]]:
    """At most `limit` pairs of a right and a wrong answer, no wrong one twice before the others were used."""
    right = [answer for answer in group if answer.right]
    wrong = [answer for answer in group if not answer.right]
    every = [
        (right[(place + turn) % len(right)], answer) for turn in range(len(right)) for place, answer in enumerate(wrong)
    ]
    return every[:limit]


def backbone(stage: StageContext, auto: Any, what: str) -> Any:
    """The start policy's backbone under a new head with one output, by transformers' class `auto`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage.seed("head") % 2**63)
        try:
            model = auto.from_pretrained(
                stage.policy.start, num_labels=1, dtype=stage.policy.model.dtype, trust_remote_code=False
            )
        except ValueError as error:
            if "Unrecognized configuration class" not in str(error):
                raise
            kind = stage.policy.model.config.model_type
            raise UserError(f"transformers has no model for {what} of the kind {kind!r}: take another model.") from None
    model.config.get_text_config().pad_token_id = stage.policy.tokenizer.pad_token_id
    return model.to(stage.policy.model.device)


def judge_stage(stage: StageContext, model: Any) -> StageContext:
    """The stage with the reward model in the policy's place: what its optimiser and its meters see."""
    return replace(stage, policy=Policy(model, stage.policy.tokenizer, stage.policy.start))


def finishing(trainer: type, stage: StageContext, finish: Callable[[Any], None]) -> type:
    """A subclass of `trainer` that counts its own model's tokens, and calls `finish(model)` when it has trained."""

    class Finishing(trainer):  # type: ignore[misc, valid-type]
        def train(self, *arguments: Any, **keywords: Any) -> Any:
            with count_tokens(judge_stage(stage, self.model), self):
                outcome = super().train(*arguments, **keywords)
            with stage.run.meters.clock("evaluate"):
                finish(self.model)
            return outcome

    Finishing.__name__ = Finishing.__qualname__ = trainer.__name__
    return Finishing


def finish(
    stage: StageContext, model: Any, sets: Sets, kind: Kind, further: dict[str, float] | None = None, **steps: Any
) -> None:
    """Measure `model` on the held-out prompts, write its folder with the card, and log both."""
    tokenizer = stage.policy.tokenizer
    delimiter, aggregate = steps.get("delimiter"), steps.get("aggregate")
    pairs = [pair for group in sets.held_out for pair in pairs_of(group, _PAIRS_A_PROMPT)]
    answers = [answer for group in (*sets.held_out, *sets.trained) for answer in group][:_SCALED_BY]

    def scores(which: list[Answer]) -> list[float]:
        reads = [read(tokenizer, answer, delimiter) for answer in which]
        return scores_of(model, reads, tokenizer.pad_token_id, aggregate)

    better, worse = scores([good for good, _ in pairs]), scores([bad for _, bad in pairs])
    wins = [1.0 if good > bad else 0.5 if good == bad else 0.0 for good, bad in zip(better, worse, strict=True)]
    spread = torch.tensor(scores(answers), dtype=torch.float64)
    std = float(spread.std(correction=0))
    spec = stage.run.spec
    card = Card(
        kind=kind,
        task=spec.task.name,
        task_version=spec.task.version,
        model=spec.model.name,
        revision=spec.model.revision,
        mean=float(spread.mean()),
        std=std if std > 0 else 1.0,
        pairs=len(pairs),
        pair_accuracy=sum(wins) / len(wins) if wins else None,
        **steps,
    )
    _write(stage, model, card)
    measured = {"held_out/pairs": float(len(pairs)), **(further or {})}
    if card.pair_accuracy is not None:
        measured["held_out/pair_accuracy"] = card.pair_accuracy
    stage.log(measured)
    stage.run.events.write("reward_model", stage=stage.index, card=card.model_dump())


def read(tokenizer: Any, answer: Answer, delimiter: str | None) -> Read:
    """An answer as a reward model reads it."""
    return read_as(tokenizer, answer.prompt, steps_of(answer.text, delimiter), answer.truncated)


def _write(stage: StageContext, model: Any, card: Card) -> None:
    """The whole folder or none: written beside its place and renamed."""
    target = stage.run.directory.path / FOLDER
    temporary = target.with_name(f".{FOLDER}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary)
        stage.policy.tokenizer.save_pretrained(temporary)
        (temporary / CARD).write_text(card.model_dump_json(indent=1))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
