"""TRL's online trainers over the harness's rollouts, resumable in the middle of a batch.

TRL keeps a batch of rollouts in memory for its further updates and loses it with the process. Here it is part of the
checkpoint, so that a run killed between two updates of one batch goes on with the very same rollouts. A group whose
rewards are all equal has an advantage of exactly zero, not of a rounding error that Adam would blow up to a full step.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from methods.online.sampler import Sampled

_FILE, _NAMES = "rollouts.safetensors", "rollouts.json"
Batch = dict[str, Any]


def keep_rollouts(trainer: type, sample: Callable[[list[int], int], Sampled], group_size: int, exact: bool) -> type:
    """A subclass of TRL's `trainer` whose rollouts are `sample(item indices, number of the update)`.

    `exact`: rewards alone make the advantages, so that equal rewards mean an advantage of zero.
    """

    class KeepsRollouts(trainer):  # type: ignore[misc, valid-type]
        sampled: Sampled

        def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
            self.sampled = sample([row["item_index"] for row in inputs], self.state.global_step)
            output = super()._generate_and_score_completions(inputs)
            if exact:
                equal = [
                    len(set(self.sampled.rewards[start : start + group_size])) == 1
                    for start in range(0, len(inputs), group_size)
                ]
                rows = torch.tensor(equal, device=output["advantages"].device).repeat_interleave(group_size)
                output["advantages"] = output["advantages"].masked_fill(rows, 0.0)
            return output

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            used_up = self._step % (self.args.steps_per_generation * self.num_iterations) == 0
            save_batches(folder, [] if used_up else self._buffered_inputs, {"step": self._step})

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            super()._load_optimizer_and_scheduler(checkpoint)
            if checkpoint is not None:
                batches, state = load_batches(Path(checkpoint), self.args.device)
                self._step, self._buffered_inputs = state["step"], batches or None

    KeepsRollouts.__name__ = KeepsRollouts.__qualname__ = trainer.__name__
    return KeepsRollouts


def save_batches(folder: Path, batches: list[Batch], state: dict[str, Any]) -> None:
    """Write batches of tensors (entries that are None are left out) and a small state beside them."""
    tensors = {
        f"{number}.{name}": value.detach().cpu().contiguous().clone()  # a part of a batch shares its storage
        for number, batch in enumerate(batches)
        for name, value in batch.items()
        if value is not None
    }
    if tensors:
        save_file(tensors, folder / _FILE)
    (folder / _NAMES).write_text(json.dumps({"batches": len(batches), "state": state}))


def load_batches(folder: Path, device: Any) -> tuple[list[Batch], dict[str, Any]]:
    """What `save_batches` wrote."""
    written = json.loads((folder / _NAMES).read_text())
    batches: list[Batch] = [{} for _ in range(written["batches"])]
    if batches:
        for key, value in load_file(folder / _FILE).items():
            number, name = key.split(".", 1)
            batches[int(number)][name] = value.to(device)
    return batches, written["state"]
