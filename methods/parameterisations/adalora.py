"""AdaLoRA: P diag(e) Q whose singular values e are pruned by importance while training (Zhang et al. 2023).

arXiv 2303.10512, section 3: importance is a smoothed |weight * gradient| with its uncertainty; the number of kept
values falls from `initial_rank` to `rank` a layer (cubic schedule, equation 12) and whole triplets are cut over all
layers at once. The paper counts steps; here the share of the stage's budget that is used takes their place: no pruning
in its first tenth, none in its last 30%. The stage keeps the cut triplets at zero, so that what is saved is what
was evaluated; which ones they are is written into the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from harness.parts import parameterisation
from methods.parameterisations.lora import TENFOLD
from methods.parameterisations.tuner import Tuner
from methods.settings import LoraAlpha, Rank, Targets

if TYPE_CHECKING:
    from harness.context import StageContext

InitialRank = Annotated[int, Field(ge=1), "rank of every layer before pruning"]
_TICKS, _WARM, _LAST = 1000, 100, 300
"""The budget in ticks; those before pruning; those after it."""
_ORTHOGONALITY = 0.5
"""PEFT's weight of the mean distance of a factor's Gram matrix from the identity."""


@dataclass(frozen=True)
class AdaLora(Tuner):
    """PEFT's AdaLoRA, its rank allocator driven by the budget."""

    def before_update(self, stage: StageContext) -> None:
        """Add the gradient of the pull to orthogonality (equation 4); trainers that take their loss from logits or
        fused heads never see the term that PEFT adds to a model's own loss."""
        import torch

        factors = [t for name, t in stage.policy.tensors().items() if "lora_A" in name or "lora_B" in name]
        for tensor in factors:
            if tensor.grad is None:
                continue
            leaf = tensor.detach().float().requires_grad_(True)
            gram = leaf @ leaf.T if leaf.shape[0] < leaf.shape[1] else leaf.T @ leaf
            away = torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=leaf.device))
            (gradient,) = torch.autograd.grad(away * (_ORTHOGONALITY / len(factors)), leaf)
            tensor.grad.add_(gradient.to(tensor.grad.dtype))

    def after_update(self, stage: StageContext) -> None:
        """Between an update and the clearing of its gradients: measure importance, prune to the schedule."""
        model = stage.policy.model.base_model
        allocator = model.rankallocator
        tick = min(_TICKS, int(stage.spent() * _TICKS))
        if getattr(allocator, "final", None) is not None:
            allocator.mask_using_rank_pattern(model.model, allocator.final)
        elif tick < _TICKS - _LAST:
            allocator.update_and_allocate(model.model, tick)
        else:
            _, allocator.final = allocator.update_and_allocate(model.model, _TICKS - _LAST, force_mask=True)
            kept = {name: sum(map(int, pattern)) for name, pattern in allocator.final.items()}
            stage.run.events.write("ranks", stage=stage.index, step=stage.step, kept=sum(kept.values()), ranks=kept)

    def save_state(self, stage: StageContext, folder: Path) -> None:
        """What the allocator remembers between updates."""
        import json

        from safetensors.torch import save_file

        allocator = stage.policy.model.base_model.rankallocator
        tensors = {
            f"{kind}|{name}": tensor.contiguous()
            for kind in ("ipt", "exp_avg_ipt", "exp_avg_unc")
            for name, tensor in getattr(allocator, kind).items()
        }
        save_file(tensors, folder / "ranks.safetensors")
        (folder / "ranks.json").write_text(json.dumps(getattr(allocator, "final", None)))

    def load_state(self, stage: StageContext, folder: Path) -> None:
        """Take up what `save_state` wrote."""
        import json

        from safetensors.torch import load_file

        allocator = stage.policy.model.base_model.rankallocator
        for key, tensor in load_file(folder / "ranks.safetensors").items():
            kind, _, name = key.partition("|")
            getattr(allocator, kind)[name] = tensor.to(stage.policy.model.device)
        allocator.final = json.loads((folder / "ranks.json").read_text())


@parameterisation("adalora", version=1, source="Zhang et al. 2023, arXiv 2303.10512, section 3", scales=TENFOLD)
def adalora(
    rank: Rank = 8, initial_rank: InitialRank = 12, alpha: LoraAlpha = 32.0, targets: Targets = "all-linear"
) -> Tuner:
    """Singular triplets that are pruned by importance while training."""
    from harness.errors import UserError

    if initial_rank < rank:
        raise UserError(f"adalora prunes down to rank={rank}: initial_rank={initial_rank} must not be lower.")
    return AdaLora(
        name="adalora",
        peft_type="ADALORA",
        fields={
            "init_r": initial_rank, "target_r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, "total_step": _TICKS,
            "tinit": _WARM, "tfinal": _LAST, "deltaT": 1,
            "orth_reg_weight": 0.0,
        },
        shown={"rank": rank, "initial_rank": initial_rank, "alpha": alpha, "targets": targets},
        needs_gradient="adalora reads gradients to rank its singular values, and nothing here has any: use lora",
        targets=targets,
        largest_rank=initial_rank,
        count=lambda outputs, inputs, hidden: initial_rank * (outputs + inputs + 1),
        rank_of=lambda outputs, inputs, hidden: min(initial_rank, outputs, inputs),
    )  # fmt: skip
