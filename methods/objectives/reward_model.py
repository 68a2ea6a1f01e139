"""A reward model of whole completions, by the Bradley-Terry model: P(w above l) = sigmoid(s(x, w) - s(x, l)).

-mean log sigmoid(s_w - s_l) over pairs of a right and a wrong completion of the same prompt (Ouyang et al. 2022, arXiv
2203.02155, equation 1; Christiano et al. 2017, arXiv 1706.03741), s the scalar head of the policy's own backbone at the
last token; TRL's RewardTrainer. Pairs are the task's own where its data hold some, else samples of the start policy
graded by the verifier (malformed and truncated ones too: a reward must know them), which are charged to this method.
The policy is left as it is; the model is written into the run's directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.context import StageContext
    from methods.reward_models.training import Answer


@dataclass(frozen=True)
class BradleyTerry:
    """Score right completions above wrong ones."""

    batch_size: int
    prompts: int
    samples: int
    pairs_per_prompt: int
    temperature: float
    sampling_share: float
    held_out: float
    name = "reward-model"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"preferences"})

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A RewardTrainer over the start policy's backbone, which writes the reward model when it is done."""
        from datasets import Dataset
        from transformers import AutoModelForSequenceClassification
        from trl import RewardConfig, RewardTrainer

        from harness.gradient_loop import trainer_arguments
        from methods.reward_models import training

        sets = training.held_apart(stage, answers(stage, self), self.held_out)
        rows = [pair for group in sets.trained for pair in training.pairs_of(group, self.pairs_per_prompt)]
        stage.run.events.write("pairs", prompts=len(sets.trained), held_out_prompts=len(sets.held_out), pairs=len(rows))
        if not rows:
            raise UserError(
                f"reward-model found no pair: no prompt had both a right and a wrong answer in {self.samples} samples. "
                "Use more samples, an easier level, or sft first."
            )
        tokenizer = stage.policy.tokenizer
        model = training.backbone(stage, AutoModelForSequenceClassification, "sequence classification")

        def done(trained: Any) -> None:
            training.finish(stage, trained, sets, "reward-model")

        return training.finishing(RewardTrainer, stage, done)(
            model=model,
            args=RewardConfig(**trainer_arguments(stage, min(self.batch_size, len(rows))), max_length=None),
            train_dataset=Dataset.from_list(
                [
                    {
                        "chosen_ids": training.read(tokenizer, chosen, None).ids,
                        "rejected_ids": training.read(tokenizer, rejected, None).ids,
                    }
                    for chosen, rejected in rows
                ]
            ),
            processing_class=tokenizer,
            optimizers=optimiser.create(training.judge_stage(stage, model)),
        )

    def split(self, inputs: dict[str, Any], parts: int, items: Any) -> list[tuple[dict[str, Any], float]]:
        """Pairs stay together: a batch is all chosen answers, then all rejected ones."""
        from harness.micro_batches import split_rows

        return split_rows(inputs, parts, items, blocks=2)

    def describe(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "pairs": f"{self.samples} samples a prompt, at most {self.prompts} prompts and "
            f"{self.sampling_share:.0%} of the stage's budget, at most {self.pairs_per_prompt} pairs a prompt",
            "temperature": self.temperature,
            "held_out": f"{self.held_out:.0%} of the prompts",
        }


def answers(stage: StageContext, settings: BradleyTerry) -> list[list[Answer]]:
    """Different answers of each prompt with their verdicts: the task's own preferences, or graded samples."""
    from methods.objectives.dataset import given_pairs
    from methods.objectives.rollouts import start_rollouts
    from methods.reward_models.training import Answer

    given = given_pairs(stage, settings.prompts)
    if given is not None:
        return [[Answer(r["prompt"], _text(r[key]), False, key == "chosen") for key in _SIDES] for r in given]
    sampled = start_rollouts(stage, settings.prompts, settings.samples, settings.temperature, settings.sampling_share)
    groups: dict[str, dict[str, Answer]] = {}
    for one in sampled:
        answer = Answer(stage.task.prompt(one.item), one.text, one.truncated, one.correct)
        if not (one.correct and one.truncated):  # right but unended: neither a model nor a bad example
            groups.setdefault(one.item.id, {})[one.text] = answer
    return [list(group.values()) for group in groups.values()]


_SIDES = ("chosen", "rejected")


def _text(answer: Any) -> str:
    """An answer of a preference row as text."""
    return answer if isinstance(answer, str) else str(answer[-1]["content"])
