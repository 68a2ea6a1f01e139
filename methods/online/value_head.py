"""The value function of PPO: a linear map from the policy's last hidden state to one number, beside the policy.

It lives outside the model, so that it is never exported with it; it starts at zero, is trained by its own Adam whose
learning rate follows the policy's schedule, and is saved and restored with its optimiser's state.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

_FILE = "value_head.safetensors"


class ValueHead:
    """V(state) of hidden states [..., width]."""

    def __init__(self, width: int, device: Any, max_norm: float = 1.0) -> None:
        self.linear = torch.nn.Linear(width, 1, device=device, dtype=torch.float32)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)
        self.optimiser = torch.optim.Adam(self.linear.parameters(), lr=0.0)
        self.max_norm = max_norm

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Values [...]."""
        return self.linear(hidden.float())[..., 0]  # type: ignore[no-any-return]

    def step(self, learning_rate: float) -> None:
        """One update from the gradients that have gathered."""
        torch.nn.utils.clip_grad_norm_(self.linear.parameters(), self.max_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        self.optimiser.zero_grad()

    def save(self, folder: Path) -> None:
        tensors = dict(self.linear.state_dict())
        for name, parameter in self.linear.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"{name}.{key}"] = value
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / _FILE)

    def load(self, folder: Path) -> None:
        tensors = load_file(folder / _FILE)
        for name, parameter in self.linear.named_parameters():
            parameter.data.copy_(tensors.pop(name))
            state = {key: tensors[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            self.optimiser.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in state.items()
            }
