"""(IA)^3: learned vectors that rescale keys, values and the inner activations of the feed-forward block.

Liu et al. 2022 (T-Few), arXiv 2205.05638, section 3.3: all vectors start at one. Here every linear layer of the
attention block is rescaled at its output and the last one of the feed-forward block at its input. The paper trains with
a learning rate of 3e-3 (section 3.3), about 100 times what full fine-tuning takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.errors import UserError
from harness.parts import Factor, parameterisation
from methods.parameterisations.tuner import Tuner, in_attention

_SCALES = {
    "learning-rate": Factor(100.0, "Liu et al. 2022, section 3.3: 3e-3"),
    "perturbation": Factor(100.0, "as LoRA's factors; not measured in a paper"),
}


@dataclass(frozen=True)
class Rescaling(Tuner):
    """PEFT's IA3 with the layers found by their place, so that any causal model will do."""

    def configuration(self, model: Any) -> Any:
        """Attention's linear layers, and those that lead back to the hidden size outside it."""
        import torch
        from peft import IA3Config, TaskType
        from transformers.pytorch_utils import Conv1D

        hidden, head = model.config.hidden_size, model.get_output_embeddings()
        linear = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
        }
        attention = {_ending(name) for name in linear if in_attention(name)}
        down = {
            _ending(name) for name, module in linear.items() if not in_attention(name) and _outputs(module) == hidden
        }
        if not attention or not down:
            raise UserError(
                "ia3 finds no attention or feed-forward block in this model: use peft:ia3 with target_modules."
            )
        return IA3Config(
            task_type=TaskType.CAUSAL_LM, target_modules=sorted(attention | down), feedforward_modules=sorted(down)
        )


def _ending(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _outputs(module: Any) -> int:
    return int(module.out_features if hasattr(module, "out_features") else module.weight.shape[1])


@parameterisation("ia3", version=1, source="Liu et al. 2022, arXiv 2205.05638, section 3.3", scales=_SCALES)
def ia3() -> Tuner:
    """Vectors that rescale attention outputs and inner feed-forward activations."""
    return Rescaling(name="ia3", peft_type="IA3", fields={}, shown={}, targets=None)
