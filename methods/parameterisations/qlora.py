"""QLoRA: LoRA on a base whose linear layers are held in 4-bit NF4, double-quantised (Dettmers et al. 2023).

arXiv 2305.14314, section 3: NF4 storage, bfloat16 computation, LoRA on all linear layers, a paged optimiser. Needs
bitsandbytes and a GPU. Merging rounds to 4 bits again, so stages that start from merged weights are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.parts import parameterisation
from methods.parameterisations.lora import TENFOLD, low_rank
from methods.parameterisations.tuner import Tuner
from methods.settings import LoraAlpha, Rank, Targets

if TYPE_CHECKING:
    from harness.policy import Policy


def why_not() -> str | None:
    """Why bitsandbytes cannot be used here, or None."""
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        return "bitsandbytes is not installed (pip install 'beyondrl[gpu]', on a machine with a GPU)"
    import torch

    return None if torch.cuda.is_available() else "bitsandbytes needs a GPU for this, and there is none"


@dataclass(frozen=True)
class QLora(Tuner):
    """LoRA on a base that is quantised when it is attached."""

    def refuses(self, task: Any, model: Any) -> str | None:
        reason = why_not()
        return f"{reason}: use lora" if reason else super().refuses(task, model)

    def plain(self) -> Tuner:
        """The same without the quantisation: what is trained has these shapes."""
        return Tuner(**vars(self))

    def attach(self, policy: Policy, seed: int) -> Policy:
        """Quantise every linear layer but the head, then put LoRA around them."""
        quantise(policy.model)
        return super().attach(policy, seed)


def quantise(model: Any) -> None:
    """Put 4-bit NF4 layers in the place of every linear layer but the head, in place."""
    import bitsandbytes as bnb
    import torch

    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear) or module is head:
            continue
        device = module.weight.device
        packed = bnb.nn.Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=torch.bfloat16,
            compress_statistics=True,
            quant_type="nf4",
        )
        packed.weight = bnb.nn.Params4bit(
            module.weight.data.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True
        )
        if module.bias is not None:
            packed.bias = module.bias
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], packed.to(device))
    model.is_loaded_in_4bit = True


@parameterisation(
    "qlora",
    version=1,
    source="Dettmers et al. 2023, arXiv 2305.14314, section 3",
    scales=TENFOLD,
    companion="paged-adamw",
)
def qlora(rank: Rank = 16, alpha: LoraAlpha = 32.0, targets: Targets = "all-linear") -> Tuner:
    """LoRA on a base held in 4-bit NF4, with a paged optimiser."""
    plain = low_rank("lora", rank, alpha, targets)
    return QLora(**(vars(plain) | {"name": "qlora", "mergeable": False}))
