"""Preference losses without a reference model: CPO, SimPO and ORPO, on the pairs of `dpo`.

With L = log pi summed over a completion and M its mean over tokens:
cpo    -log sigmoid(beta (L_w - L_l)) - alpha M_w           (Xu et al. 2024, arXiv 2401.08417, equations 3 to 6)
simpo  -log sigmoid(beta (M_w - M_l) - gamma)               (Meng et al. 2024, arXiv 2405.14734, equation 6)
orpo   -M_w - lambda log sigmoid(odds_w - odds_l), odds = M - log(1 - exp M)  (Hong et al. 2024, arXiv 2403.07691, 6, 7)
TRL's experimental trainers. Two of their traits are kept and named here: M_w of cpo's and orpo's likelihood term is the
mean over all tokens of a batch (with accumulation, of each micro-batch), and orpo's runs over prompt and answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.contracts import GradientOptimiser, Offer, Signal
from methods.objectives.dpo import pairs

if TYPE_CHECKING:
    from harness.context import StageContext

Variant = Literal["cpo", "simpo", "orpo"]


@dataclass(frozen=True)
class ReferenceFree:
    """Prefer right completions to wrong ones, with no reference to pull back to."""

    name: Variant
    beta: float
    """ORPO's lambda in the variant `orpo`."""
    batch_size: int
    prompts: int
    samples: int
    pairs_per_prompt: int
    temperature: float
    sampling_share: float
    alpha: float = 1.0
    gamma: float = 0.5
    names: ClassVar[tuple[str, ...]] = ("cpo", "simpo", "orpo")
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"preferences"})

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A CPOTrainer or ORPOTrainer over pairs sampled from the start policy."""
        from datasets import Dataset
        from trl.experimental.cpo import CPOConfig, CPOTrainer
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        from harness.gradient_loop import trainer_arguments

        rows = pairs(stage, self)
        shared = {
            **trainer_arguments(stage, min(self.batch_size, len(rows))),
            "beta": self.beta,
            "max_length": stage.policy.model.config.max_position_embeddings,
        }
        if self.name == "orpo":
            build, args = ORPOTrainer, ORPOConfig(**shared)
        elif self.name == "simpo":
            build, args = CPOTrainer, CPOConfig(**shared, loss_type="simpo", cpo_alpha=0.0, simpo_gamma=self.gamma)
        else:
            build, args = CPOTrainer, CPOConfig(**shared, loss_type="sigmoid", cpo_alpha=self.alpha)
        return build(
            model=stage.policy.model,
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=stage.policy.tokenizer,
            optimizers=optimiser.create(stage),
        )

    def describe(self) -> dict[str, Any]:
        own = {"cpo": {"alpha": self.alpha}, "simpo": {"gamma": self.gamma}, "orpo": {}}[self.name]
        return {
            "beta": self.beta,
            **own,
            "batch_size": self.batch_size,
            "pairs": f"{self.samples} samples a prompt, at most {self.prompts} prompts and "
            f"{self.sampling_share:.0%} of the stage's budget, at most {self.pairs_per_prompt} pairs a prompt",
            "temperature": self.temperature,
        }
