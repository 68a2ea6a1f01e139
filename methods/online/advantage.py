"""Generalised advantage estimation (Schulman et al. 2015, arXiv 1506.02438, equation 16), and rewards a token.

delta_t = r_t + gamma V_{t+1} - V_t and A_t = sum_l (gamma lambda)^l delta_{t+l}, with V = 0 after the last token. All
tensors are [rows, tokens]; a mask of ones, then zeros, says where a completion's tokens are.
"""

from __future__ import annotations

import torch


def generalised_advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and the returns that values are fitted to (advantage + value); zero outside the mask."""
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    next_value = torch.zeros_like(values[:, 0])
    for place in reversed(range(values.shape[1])):
        here = mask[:, place].to(values.dtype)
        delta = rewards[:, place] + gamma * next_value - values[:, place]
        following = here * (delta + gamma * lam * following)
        next_value = here * values[:, place]
        advantages[:, place] = following
    return advantages, (advantages + values) * mask


def token_rewards(scores: torch.Tensor, log_ratio: torch.Tensor, mask: torch.Tensor, beta: float) -> torch.Tensor:
    """-beta log pi/pi_ref at every token, and the score [rows] of the whole completion at its last (Ziegler et al.
    2019, arXiv 1909.08593, equation 2)."""
    last = mask.sum(-1, keepdim=True) - 1
    rewards = -beta * log_ratio * mask
    return rewards.scatter_add(1, last, scores[:, None].to(rewards.dtype))


def whitened(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean 0 and standard deviation 1 over the tokens of a batch; zero outside the mask."""
    inside = values[mask.bool()]
    return (values - inside.mean()) / (inside.std(correction=0) + 1e-8) * mask
