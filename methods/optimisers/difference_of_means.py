"""Difference of means: v = mean activation on chosen completions - mean activation on rejected ones.

Rimsky et al. 2024, arXiv 2312.06681, section 3, equation 1, over all tokens of a completion instead of an answer's
letter alone. No gradient: one forward pass a completion; the means run on, so that every batch of pairs is one update,
until the budget or the pairs are used up. Activations are read with the vector switched off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import Signal

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext

_KINDS = ("chosen", "rejected")
Sums = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class DifferenceOfMeans:
    """Sets steering vectors from activations."""

    name = "difference-of-means"
    takes: Signal = "activations"

    def fit(self, stage: StageContext, objective: Any) -> None:
        """Read pairs batch by batch; the vectors are the difference of the means so far."""
        import torch

        rows = objective.pairs(stage)
        layers = _layers(stage.policy.model)
        sums = _load(stage.resume_from) if stage.resume_from is not None else {}
        while not stage.exhausted():
            batch = rows[stage.step * objective.batch_size : (stage.step + 1) * objective.batch_size]
            if not batch:
                return
            with stage.run.meters.clock("train"), torch.no_grad():
                for row in batch:
                    for kind in _KINDS:
                        _add(stage, layers, row, kind, sums)
                norms = [_set(layer, name, sums) for name, layer in layers.items()]
                done = stage.after_step({"vector_norm": sum(norms) / len(norms), "pairs": float(len(batch))})
            if done:
                return
            if stage.checkpoint_due():
                with stage.run.meters.clock("overhead"):
                    _save(stage, sums)

    def describe(self) -> dict[str, Any]:
        return {}


def _layers(model: Any) -> dict[str, Any]:
    """The steered blocks by name."""
    return {name: layer for name, layer in model.named_modules() if hasattr(type(layer), "steering_layer")}


def _add(stage: StageContext, layers: dict[str, Any], row: dict[str, Any], kind: str, sums: Sums) -> None:
    """Add the activations of a completion's tokens after every steered block to the sums."""
    import torch

    from harness.engines.hf import encode

    tokenizer, model = stage.policy.tokenizer, stage.policy.model
    prompt, answer = row["prompt"], row[kind]
    before = encode(tokenizer, prompt)
    text = answer if isinstance(answer, str) else answer[-1]["content"]
    after = tokenizer(text, add_special_tokens=False).input_ids
    if not after:
        return
    seen: dict[str, Any] = {}

    def reader(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            seen[name] = output[0] if isinstance(output, tuple) else output

        return hook

    hooks = [layer.base_layer.register_forward_hook(reader(name)) for name, layer in layers.items()]
    try:
        with model.disable_adapter():
            model(torch.tensor([[*before, *after]], device=model.device))
    finally:
        for hook in hooks:
            hook.remove()
    stage.charge_forward(len(before) + len(after))
    for name, hidden in seen.items():
        total = hidden[0, len(before) :].double().sum(0).cpu()
        sums[f"{kind}|{name}"] = sums.get(f"{kind}|{name}", torch.zeros_like(total)) + total
    count = f"{kind}|tokens"
    sums[count] = sums.get(count, torch.zeros(1, dtype=torch.float64)) + len(after)


def _set(layer: Any, name: str, sums: Sums) -> float:
    """Write the difference of the means into a layer's vector; returns its norm."""
    if any(f"{kind}|{name}" not in sums for kind in _KINDS):
        return 0.0
    chosen, rejected = (sums[f"{kind}|{name}"] / sums[f"{kind}|tokens"] for kind in _KINDS)
    difference = chosen - rejected
    for vector in layer.steering_vector.values():
        vector.copy_(difference)
    return float(difference.norm())


def _save(stage: StageContext, sums: Sums) -> None:
    from safetensors.torch import save_file

    folder = stage.folder / f"checkpoint-{stage.step}"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(sums, folder / "means.safetensors")
    stage.mark(folder)


def _load(folder: Path) -> Sums:
    from safetensors.torch import load_file

    return dict(load_file(folder / "means.safetensors"))


def difference_of_means() -> DifferenceOfMeans:
    """Steering vectors from the means of two kinds of activations."""
    return DifferenceOfMeans()
