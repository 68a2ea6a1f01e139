"""A whole model's update as a LoRA adapter of a given rank, with its stated error.

Every linear layer's difference from the start model is cut off after its largest `rank` singular values (the best
approximation there is, Eckart & Young 1936); what changed elsewhere (norms, embeddings, biases) cannot be said by the
adapter and counts as error. EGGROLL's accumulated update has a rank far above that of its perturbations.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from harness.errors import UserError
from harness.export import exportable
from harness.models import load_model


def export_low_rank(run_directory: Path, rank: int, out: Path) -> float:
    """Write the adapter to `out`; returns |update - adapter| / |update| (Frobenius, over all parameters)."""
    from peft import LoraConfig, TaskType, get_peft_model

    directory = exportable(run_directory, out)
    if (directory.model / "adapter_config.json").exists():
        raise UserError("This run trained an adapter already: export it without --rank.")
    handle = load_model(directory.read_spec().model.name)
    base, final = handle.model(), dict(load_model(str(directory.model)).model().named_parameters())
    moved = {name: final[name].detach().double() - start.detach().double() for name, start in base.named_parameters()}
    head = base.get_output_embeddings()
    layers = {
        name: moved.pop(f"{name}.weight")
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and f"{name}.weight" in moved
    }
    most = max(min(update.shape) for update in layers.values())
    if rank > most:
        raise UserError(f"--rank {rank} is more than any layer has: its update is exact at {most} or less.")
    total = sum(float(part.square().sum()) for part in [*moved.values(), *layers.values()])
    lost = sum(float(part.square().sum()) for part in moved.values())
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(layers), task_type=TaskType.CAUSAL_LM)
    model = get_peft_model(base, config)
    wrapped: dict[str, Any] = dict(model.base_model.model.named_modules())
    for name, update in layers.items():
        left, values, right = torch.linalg.svd(update, full_matrices=False)
        kept = min(rank, len(values))
        lost += float(values[kept:].square().sum())
        root = values[:kept].sqrt()
        with torch.no_grad():
            up, down = wrapped[name].lora_B["default"].weight, wrapped[name].lora_A["default"].weight
            up.zero_()
            down.zero_()
            up[:, :kept] = left[:, :kept] * root
            down[:kept] = root[:, None] * right[:kept]
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    handle.tokenizer().save_pretrained(temporary)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    return float((lost / total) ** 0.5) if total else 0.0
