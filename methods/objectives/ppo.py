"""PPO for language models: a policy, a value head on its last hidden state, and several clipped updates a batch.

With r_t = pi(y_t) / pi_old(y_t) and A, G the advantages and returns of generalised advantage estimation over rewards
-beta log pi_old/pi_ref a token and the score at the last one, minimised is the mean over the tokens of an update of

-min(r A, clip(r, 1 - epsilon, 1 + epsilon) A) + c/2 max((V - G)^2, (clip(V, V_old - v, V_old + v) - G)^2)

(Schulman et al. 2017, arXiv 1707.06347, equation 7; the KL in the reward towards the start policy as in Ziegler et al.
2019, arXiv 1909.08593, equation 2; clipped values and whitened advantages as in Huang et al. 2024, arXiv 2403.17031).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal, Task
from methods.online.reward import VERIFIED, Reward

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext
    from harness.spec import ModelReference
    from methods.online.forward import Rows
    from methods.online.trainer import Totals


@dataclass(frozen=True)
class ProximalPolicy:
    """Reinforce what did better than the value function expected."""

    prompts_per_step: int
    samples: int
    beta: float
    temperature: float
    examples: int
    minibatches: int
    epochs: int
    epsilon: float
    value_learning_rate: float
    value_coefficient: float
    value_clip: float
    gamma: float
    lam: float
    reward: Reward = VERIFIED
    name = "ppo"
    gives: frozenset[Signal] = frozenset({"gradient"})

    @property
    def needs(self) -> frozenset[Offer]:
        return self.reward.needs

    @property
    def holds_reference(self) -> bool:
        """Whether KL is taken towards a frozen start policy."""
        return self.beta > 0

    @property
    def batch_size(self) -> int:
        """Completions an update."""
        return self.prompts_per_step * self.samples

    def split(self, inputs: Rows, parts: int, items: Any) -> list[tuple[Rows, float]]:
        """Rows; their losses are shares of the update's and just add up."""
        from harness.micro_batches import split_rows

        return split_rows(inputs, parts, True)

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """A reward that the task or the given reward model cannot give."""
        return self.reward.refuses(task, model)

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An OnlineTrainer whose objective holds the value head."""
        from methods.online.trainer import OnlineTrainer

        objective = _PPO(stage, self, optimiser.learning_rate)
        trainer = OnlineTrainer(
            stage, objective, self.batch_size, self.minibatches, self.epochs, optimiser.create(stage)
        )
        trainer.ref_model = objective.reference
        return trainer

    def describe(self) -> dict[str, Any]:
        return {
            "prompts_per_step": self.prompts_per_step,
            "samples": self.samples,
            "beta": self.beta,
            "temperature": self.temperature,
            "updates_per_batch": f"{self.minibatches} minibatches x {self.epochs} epochs",
            "clipped": f"{1 - self.epsilon:g} to {1 + self.epsilon:g}",
            "value": f"weight {self.value_coefficient:g}, clip {self.value_clip:g}, rate {self.value_learning_rate:g}",
            "gae": f"gamma {self.gamma:g}, lambda {self.lam:g}",
            **self.reward.describe(),
        }


class _PPO:
    """The running side of it."""

    def __init__(self, stage: StageContext, settings: ProximalPolicy, peak: float) -> None:
        from methods.online.sampler import Sampler
        from methods.online.value_head import ValueHead

        self.stage, self.settings, self.peak = stage, settings, peak
        items = list(stage.train_items(settings.examples))
        self.sampler = Sampler(stage, items, settings.reward.scorer(stage), settings.samples, settings.temperature)
        model = stage.policy.model
        self.value = ValueHead(model.config.get_text_config().hidden_size, model.device)
        apart = settings.beta > 0 and stage.policy.kind == "full"
        self.reference = stage.reference() if apart else None
        self.start = {} if apart else {name: one.detach().clone() for name, one in stage.policy.tensors().items()}
        """What an adapter begins with: not always nothing, as a prefix or a generated LoRA shows."""

    def collect(self, batch: int) -> tuple[Rows, dict[str, float]]:
        import torch

        from methods.online.advantage import generalised_advantages, token_rewards, whitened
        from methods.online.sampler import rows_of, walk

        count = self.settings.prompts_per_step * self.settings.minibatches
        sampled = self.sampler.sample(walk(self.sampler, count, batch), batch)
        rows, values = rows_of(self.stage, sampled, self.sampler.items)
        kept = rows["completion_mask"]
        with torch.no_grad():
            before = self._each_part(rows)
        log_ratio = (before["logprobs"] - before["reference"]) * kept
        scores = torch.tensor(sampled.rewards, device=kept.device)
        rewards = token_rewards(scores, log_ratio, kept, self.settings.beta)
        advantages, returns = generalised_advantages(
            rewards, before["values"], kept, self.settings.gamma, self.settings.lam
        )
        rows |= {"old_logprobs": before["logprobs"], "old_values": before["values"]}
        rows |= {"advantages": whitened(advantages, kept), "returns": returns}
        if self.settings.beta > 0:
            values["kl"] = float(log_ratio.sum() / kept.sum())
        return rows, values | {"value": float((before["values"] * kept).sum() / kept.sum())}

    def loss(self, rows: Rows, totals: Totals) -> tuple[torch.Tensor, dict[str, float]]:
        import torch

        from methods.online.forward import forward

        settings, kept = self.settings, rows["completion_mask"]
        out = forward(self.stage.policy.model, rows, settings.temperature, hidden=True)
        ratio = torch.exp((out.logprobs - rows["old_logprobs"]) * kept)
        low, high = 1 - settings.epsilon, 1 + settings.epsilon
        advantages = rows["advantages"]
        surrogate = torch.minimum(ratio * advantages, ratio.clamp(low, high) * advantages)
        value = self.value(out.hidden)
        near = rows["old_values"] + (value - rows["old_values"]).clamp(-settings.value_clip, settings.value_clip)
        errors = torch.maximum((value - rows["returns"]) ** 2, (near - rows["returns"]) ** 2)
        policy_loss = -(surrogate * kept).sum() / totals.tokens
        value_loss = 0.5 * (errors * kept).sum() / totals.tokens
        outside = ((ratio < low) & (advantages < 0)) | ((ratio > high) & (advantages > 0))
        return policy_loss + settings.value_coefficient * value_loss, {
            "policy_loss": float(policy_loss.detach()),
            "value_loss": float(value_loss.detach()),
            "clip_ratio": float((outside * kept).sum()) / totals.tokens,
            "entropy": float((out.entropy * kept).sum()) / totals.tokens,
        }

    def _each_part(self, rows: Rows) -> dict[str, torch.Tensor]:
        """Log-probabilities, values and the reference's log-probabilities of all rows, a micro-batch at a time."""
        import torch

        from methods.online.forward import chosen_rows, forward

        found = {
            name: torch.zeros(rows["completion_ids"].shape, device=rows["completion_ids"].device) for name in _KEPT
        }
        order = rows["completion_mask"].sum(-1).cpu().argsort(stable=True)
        for index in order.split(-(-self.settings.batch_size // self.stage.accumulation)):
            part = chosen_rows(rows, index)
            out = forward(self.stage.policy.model, part, self.settings.temperature, hidden=True)
            there = {"logprobs": out.logprobs, "values": self.value(out.hidden), "reference": out.logprobs}
            if self.settings.beta > 0:
                there["reference"] = self.reference_logprobs(part)
            for name, value in there.items():
                found[name][index, : value.shape[1]] = value
        return found

    def reference_logprobs(self, rows: Rows) -> torch.Tensor:
        """Log-probabilities [rows, completion tokens] under the start policy."""
        from methods.online.forward import forward
        from methods.online.start import put_in

        if self.reference is not None:
            return forward(self.reference, rows, self.settings.temperature).logprobs
        with put_in(self.stage.policy.tensors(), self.start):
            return forward(self.stage.policy.model, rows, self.settings.temperature).logprobs

    def remember(self) -> dict[str, float]:
        return {}

    def recall(self, state: dict[str, float]) -> None:
        """There is no state but the head's."""

    def save(self, folder: Path) -> None:
        self.value.save(folder)

    def load(self, folder: Path) -> None:
        self.value.load(folder)

    def beside(self) -> list[Any]:
        return list(self.value.linear.parameters())

    def begin(self) -> None:
        self.value.optimiser.zero_grad()

    def update(self, learning_rate: float) -> None:
        """The head's own update: its rate follows the schedule of the policy's."""
        self.value.step(self.settings.value_learning_rate * learning_rate / self.peak)


_KEPT = ("logprobs", "values", "reference")
