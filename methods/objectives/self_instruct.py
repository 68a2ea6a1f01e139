"""Self-Instruct: the model writes new questions with answers after a few of the task's own, and imitates what passes.

Minus the mean log-likelihood of the answers to `seeds` training items and to all accepted questions (Wang et al. 2022,
arXiv 2212.10560, section 2). Every request shows `shots` examples drawn from the pool of seeds and accepted ones. What
the model writes is accepted if, in this order: it is finished, not cut off; it has the task's form, and one question
and one answer in it (see `instruction_form`); question and answer are each at least half as long as the shortest seed's
and at most twice as long as the longest's; and no question of the pool is alike, ROUGE-L of the words below `novelty`.
Nothing checks whether an answer is right. Needs demonstrations, for the seeds. The paper: 175 seeds, 8 shots (6 of them
seeds), novelty 0.7, temperature 0.7. Sane learning rates as for sft: 1e-5 to 5e-5 full, 1e-4 to 5e-4 LoRA.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import (
    Completion,
    GradientOptimiser,
    LikelihoodTask,
    Offer,
    Prompt,
    Sampling,
    Signal,
    Task,
    TaskRefusal,
)
from harness.errors import UserError
from harness.spec import ModelReference
from methods.objectives.instruction_form import Form, form_of
from methods.objectives.replay import NO_REPLAY, Replay
from methods.objectives.sft import imitate

if TYPE_CHECKING:
    from harness.context import StageContext

Example = tuple[str, str]
"""A question's body and an answer."""
_REQUESTS = 64
_FRUITLESS = 8  # rounds of requests without a single new example before giving up
_SEEDS_AMONG_SHOTS = 0.75


@dataclass(frozen=True)
class SelfInstruct:
    """Write one's own exercises, and learn from them."""

    batch_size: int
    seeds: int
    examples: int
    shots: int
    novelty: float
    temperature: float
    sampling_share: float
    replay: Replay = NO_REPLAY
    name = "self-instruct"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"demonstrations"})

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """A task that is not answered in words, or replay without a source."""
        if isinstance(task, LikelihoodTask):
            return TaskRefusal(f"task {task.name!r} is scored by likelihoods, so there are no questions to write")
        return self.replay.refuses()

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An SFTTrainer over the seeds and what the model wrote."""
        from methods.objectives.dataset import completion_columns

        form, pool = self.grown(stage)
        rows = [completion_columns(form.prompt(body), answer) for body, answer in pool]
        return imitate(stage, optimiser, rows, self.batch_size, replay=self.replay)

    def grown(self, stage: StageContext) -> tuple[Form, list[Example]]:
        """The seeds and after them all that the model wrote; raises UserError if nothing it wrote was acceptable."""
        from methods.objectives.rollouts import sampled_once

        task, items = stage.task, stage.train_items(self.seeds)
        form = form_of([task.prompt(item) for item in items])
        seeds = [(form.body(task.prompt(item)), task.demonstration(item)) for item in items]
        decisive = {**self.describe(), "weights": stage.policy.digest(), "writes": self.name}
        rows = sampled_once(stage, decisive, lambda: self._write(stage, form, seeds))
        return form, seeds + [(row["body"], row["answer"]) for row in rows]

    def _write(self, stage: StageContext, form: Form, seeds: list[Example]) -> list[dict[str, str]]:
        written: list[Example] = []
        verdicts: Counter[str] = Counter()
        begun, rounds, fruitless = stage.spent(), 0, 0
        while len(written) < self.examples and fruitless < _FRUITLESS and stage.spent() - begun < self.sampling_share:
            before = len(written)
            for completion in self._ask(stage, form, seeds, written, rounds):
                if len(written) == self.examples:
                    break
                example, verdict = self.judged(form, completion, seeds, written)
                verdicts[verdict] += 1
                if example is not None:
                    written.append(example)
            rounds, fruitless = rounds + 1, 0 if len(written) > before else fruitless + 1
        stage.run.events.write("written", requests=rounds * _REQUESTS, kept=len(written), verdicts=dict(verdicts))
        if not written:
            raise UserError(
                f"The model wrote no acceptable example of {stage.task.name} in {rounds * _REQUESTS} requests "
                f"({', '.join(f'{count} {verdict}' for verdict, count in verdicts.most_common())}): it cannot "
                "instruct itself here, use sft, or a model that has read such questions (cpt first)."
            )
        return [{"body": body, "answer": answer} for body, answer in written]

    def _ask(
        self, stage: StageContext, form: Form, seeds: list[Example], written: list[Example], number: int
    ) -> list[Completion]:
        """What the model writes after each of a round's requests."""
        from harness.engines.hf import encode

        tokenizer = stage.policy.tokenizer
        longest = max(len(encode(tokenizer, form.prompt(body))) for body, _ in seeds)
        limit = longest + stage.sampling(self.temperature).max_new_tokens
        room = int(stage.policy.model.config.max_position_embeddings) - limit
        rng = random.Random(stage.seed("examples", number))
        prompts: list[Prompt] = []
        for _ in range(_REQUESTS):
            own = min(len(written), self.shots - round(self.shots * _SEEDS_AMONG_SHOTS))
            shown = rng.sample(seeds, min(self.shots - own, len(seeds))) + rng.sample(written, own)
            rng.shuffle(shown)
            prompt = form.show(shown, str(tokenizer.eos_token))
            while len(shown) > 1 and len(encode(tokenizer, prompt)) > room:
                shown = shown[1:]
                prompt = form.show(shown, str(tokenizer.eos_token))
            prompts.append(prompt)
        return stage.generate(prompts, Sampling(limit, self.temperature), stage.seed("rollouts", "written", number))

    def judged(
        self, form: Form, completion: Completion, seeds: list[Example], written: list[Example]
    ) -> tuple[Example | None, str]:
        """The example in a completion if it is acceptable, and the verdict in a word or two."""
        example = form.read(completion.text)
        if completion.truncated:
            return None, "cut off"
        if example is None:
            return None, "without the form"
        for place in (0, 1):
            lengths = [len(seed[place]) for seed in seeds]
            if not min(lengths) / 2 <= len(example[place]) <= 2 * max(lengths):
                return None, "too short or long"
        if any(rouge_l(example[0], body) >= self.novelty for body, _ in (*seeds, *written)):
            return None, "not new"
        return example, "accepted"

    def describe(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "written": f"at most {self.examples} examples and {self.sampling_share:.0%} of the stage's budget, from "
            f"{self.seeds} seeds, {self.shots} shown at a time",
            "filter": f"finished, in form, of a seed's length, ROUGE-L below {self.novelty:g}; answers unchecked",
            "temperature": self.temperature,
            **self.replay.describe(),
        }


def rouge_l(one: str, other: str) -> float:
    """ROUGE-L (Lin 2004): the F1 of the longest common subsequence of words, from 0 to 1."""
    first, second = _words(one), _words(other)
    row = [0] * (len(second) + 1)
    for word in first:
        above = row
        row = [0]
        for place, against in enumerate(second):
            row.append(above[place] + 1 if word == against else max(above[place + 1], row[place]))
    return 2 * row[-1] / (len(first) + len(second)) if first and second else 0.0


def _words(text: str) -> list[str]:
    """Words and numbers; every sign of a text that has none."""
    return re.findall(r"\w+", text.lower()) or text.split()
