"""One pass of a policy over its own completions: log-probabilities, entropies and last hidden states of their tokens.

Rows hold prompts padded on the left and completions padded on the right, all [rows, tokens] with masks of ones where
there is a token; everything that comes out is [rows, completion tokens] and means nothing under a zero of the mask.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

Rows = dict[str, torch.Tensor]


class Forward(NamedTuple):
    """`logprobs` of the tokens at the sampling temperature, `entropy` of the distributions they were drawn from, and
    the `hidden` states [rows, completion tokens, width] that saw everything before each token (if asked for)."""

    logprobs: torch.Tensor
    entropy: torch.Tensor
    hidden: torch.Tensor | None


def forward(model: Any, rows: Rows, temperature: float, hidden: bool = False) -> Forward:
    """Run `model` over prompts and completions."""
    ids = torch.cat([rows["prompt_ids"], rows["completion_ids"]], 1)
    mask = torch.cat([rows["prompt_mask"], rows["completion_mask"]], 1)
    width = rows["completion_ids"].shape[1]
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        logits_to_keep=width + 1,
        output_hidden_states=hidden,
        use_cache=False,
    )
    logits = output.logits[:, -width - 1 : -1].float() / temperature
    every = torch.log_softmax(logits, -1)
    chosen = every.gather(-1, rows["completion_ids"][..., None])[..., 0]
    with torch.no_grad():
        entropy = -(every.exp() * every).sum(-1)
    return Forward(chosen, entropy, output.hidden_states[-1][:, -width - 1 : -1] if hidden else None)


def padded(prompts: list[list[int]], completions: list[list[int]], pad: int, device: Any) -> Rows:
    """Token ids as rows."""
    left, right = max(map(len, prompts)), max(map(len, completions))
    rows = {
        "prompt_ids": [[pad] * (left - len(ids)) + ids for ids in prompts],
        "prompt_mask": [[0] * (left - len(ids)) + [1] * len(ids) for ids in prompts],
        "completion_ids": [ids + [pad] * (right - len(ids)) for ids in completions],
        "completion_mask": [[1] * len(ids) + [0] * (right - len(ids)) for ids in completions],
    }
    return {name: torch.tensor(value, device=device) for name, value in rows.items()}


def chosen_rows(rows: Rows, index: torch.Tensor) -> Rows:
    """Some of the rows, without the columns that are padding in all of them."""
    some = {name: value[index.to(value.device)] for name, value in rows.items()}
    left = int(some["prompt_mask"].sum(-1).max())
    right = int(some["completion_mask"].sum(-1).max())
    width = rows["completion_mask"].shape[1]
    trimmed = {name: value[:, -left:] for name, value in some.items() if name.startswith("prompt_")}
    for name, value in some.items():
        if name not in trimmed:
            trimmed[name] = value[:, :right] if value.ndim == 2 and value.shape[1] == width else value
    return trimmed
