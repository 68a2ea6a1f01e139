"""REINFORCE: the log-likelihood of whole completions, weighted by how far their reward is above a baseline.

-1/N sum_i (R_i - b) sum_t log pi(y_t | x, y_<t): one on-policy update a batch, no clipping, no critic (Williams 1992,
Machine Learning 8, equation 11). b is the running mean of the rewards of earlier batches, b <- b + (1 - decay) (mean R
- b), which begins at the first batch's mean ("reinforcement comparison", section 5), or the mean of the batch itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts import GradientOptimiser, Offer, Signal, Task
from methods.online.reward import VERIFIED, Reward

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext
    from harness.spec import ModelReference
    from methods.online.forward import Rows
    from methods.online.trainer import Totals


@dataclass(frozen=True)
class ScoreFunction:
    """Reinforce what did better than usual."""

    group_size: int
    prompts_per_step: int
    temperature: float
    examples: int
    baseline: Literal["running", "batch"] = "running"
    decay: float = 0.9
    reward: Reward = VERIFIED
    name = "reinforce"
    gives: frozenset[Signal] = frozenset({"gradient"})

    @property
    def needs(self) -> frozenset[Offer]:
        return self.reward.needs

    @property
    def batch_size(self) -> int:
        """Completions an update."""
        return self.group_size * self.prompts_per_step

    def split(self, inputs: Rows, parts: int, items: Any) -> list[tuple[Rows, float]]:
        """Rows; their losses are shares of the update's and just add up."""
        from harness.micro_batches import split_rows

        return split_rows(inputs, parts, True)

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """A reward that the task or the given reward model cannot give."""
        return self.reward.refuses(task, model)

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An OnlineTrainer with one update a batch."""
        from methods.online.trainer import OnlineTrainer

        return OnlineTrainer(stage, _Reinforce(stage, self), self.batch_size, 1, 1, optimiser.create(stage))

    def describe(self) -> dict[str, Any]:
        baseline = f"running mean, decay {self.decay:g}" if self.baseline == "running" else "mean of the batch"
        return {
            "group_size": self.group_size,
            "prompts_per_step": self.prompts_per_step,
            "temperature": self.temperature,
            "baseline": baseline,
            **self.reward.describe(),
        }


class _Reinforce:
    """The running side of it."""

    def __init__(self, stage: StageContext, settings: ScoreFunction) -> None:
        from methods.online.sampler import Sampler

        self.stage, self.settings = stage, settings
        items = list(stage.train_items(settings.examples))
        self.sampler = Sampler(stage, items, settings.reward.scorer(stage), settings.group_size, settings.temperature)
        self.expected: float | None = None
        """The running mean of rewards; None before the first batch."""

    def collect(self, batch: int) -> tuple[Rows, dict[str, float]]:
        import torch

        from methods.online.sampler import rows_of, walk

        sampled = self.sampler.sample(walk(self.sampler, self.settings.prompts_per_step, batch), batch)
        lowest = min(sampled.rewards)  # differences to it are exactly 0 where all rewards are equal
        mean = lowest + sum(reward - lowest for reward in sampled.rewards) / len(sampled.rewards)
        before = mean if self.expected is None or self.settings.baseline == "batch" else self.expected
        self.expected = before + (1 - self.settings.decay) * (mean - before)
        rows, values = rows_of(self.stage, sampled, self.sampler.items)
        advantages = [reward - before for reward in sampled.rewards]
        rows["advantages"] = torch.tensor(advantages, device=rows["prompt_ids"].device)
        return rows, values | {"baseline": before}

    def loss(self, rows: Rows, totals: Totals) -> tuple[torch.Tensor, dict[str, float]]:
        from methods.online.forward import forward

        out = forward(self.stage.policy.model, rows, self.settings.temperature)
        kept = rows["completion_mask"]
        loss = -(rows["advantages"] * (out.logprobs * kept).sum(-1)).sum() / totals.rows
        return loss, {"entropy": float((out.entropy * kept).sum()) / totals.tokens}

    def remember(self) -> dict[str, float]:
        return {} if self.expected is None else {"expected": self.expected}

    def recall(self, state: dict[str, float]) -> None:
        self.expected = state.get("expected")

    def save(self, folder: Path) -> None:
        """Nothing but the policy is trained."""

    def load(self, folder: Path) -> None:
        """Nothing but the policy is trained."""

    def beside(self) -> list[Any]:
        """Nothing but the policy is trained."""
        return []

    def begin(self) -> None:
        """Nothing but the policy is trained."""

    def update(self, learning_rate: float) -> None:
        """Nothing but the policy is trained."""
