"""Virtual tokens (prompt and prefix tuning) behind a forward pass that looks like any other model's.

PEFT returns logits for the virtual tokens too, ignores given positions and replaces a given cache, so neither TRL's
losses nor a decoding loop with its own cache can use it. `align` replaces the forward pass of such a PEFT model:
[virtual tokens][padding][text], logits for the text alone, positions counted on, the caller's cache filled.
"""

from __future__ import annotations

from typing import Any

import torch


class _VirtualTable(torch.nn.Embedding):
    """An embedding of virtual tokens. It is looked up once a batch and not once a row, so a population, which knows
    plain embeddings by rows, must not batch its members through it: another type, so that it takes them in turn."""


_UNSCORED = -100
"""The label of a token that no loss counts."""


def align(model: Any) -> None:
    """Replace the forward pass of a prompt-learning PEFT model; `disable_adapter` still gives the base."""

    def forward(
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: Any = 0,
        num_items_in_batch: Any = None,
        **others: Any,
    ) -> Any:
        assert input_ids is not None, "virtual tokens go before token ids"
        virtual = model.active_peft_config.num_virtual_tokens
        rows, width = input_ids.shape
        first = past_key_values is None or past_key_values.get_seq_length() == 0
        if position_ids is None and attention_mask is not None and first:
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        if position_ids is None:
            position_ids = torch.arange(width, device=input_ids.device)[None].expand(rows, -1)
        if attention_mask is not None:
            attention_mask = torch.cat([attention_mask.new_ones(rows, virtual), attention_mask], -1)
        position_ids = position_ids + virtual
        given: dict[str, Any] = {"input_ids": input_ids}
        in_front = 0
        if first and model.active_peft_config.peft_type.value == "PREFIX_TUNING":
            past_key_values = _filled(model.get_prompt(rows), past_key_values, model.config)
        elif first:
            text = model.word_embeddings(input_ids)
            prompt = model.get_prompt(rows).to(text.dtype)
            given = {"inputs_embeds": torch.cat([prompt, text], 1)}
            in_front = virtual
            ahead = torch.arange(virtual, device=input_ids.device)[None].expand(rows, -1)
            position_ids = torch.cat([ahead, position_ids], -1)
        if others.get("fused_lm_head"):
            for name, given_labels in (("labels", labels), ("shift_labels", others.pop("shift_labels", None))):
                if given_labels is not None:
                    others[name] = torch.nn.functional.pad(given_labels, (in_front, 0), value=_UNSCORED)
            output = model.base_model(
                **given,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                num_items_in_batch=num_items_in_batch,
                **others,
            )
            return _without(output, in_front)
        output = model.base_model(
            **given,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            logits_to_keep=logits_to_keep,
            **others,
        )
        if isinstance(logits_to_keep, int) and logits_to_keep == 0:
            output.logits = output.logits[:, in_front:]
        if labels is not None:
            counted = {} if num_items_in_batch is None else {"num_items_in_batch": num_items_in_batch}
            output.loss = model.base_model.loss_function(
                logits=output.logits, labels=labels, vocab_size=model.config.vocab_size, **counted
            )
        return output

    model.forward = forward
    for encoder in model.prompt_encoder.values():
        table = getattr(encoder, "embedding", None)
        if type(table) is torch.nn.Embedding:
            table.__class__ = _VirtualTable


def _without(output: Any, in_front: int) -> Any:
    """TRL's per-token figures without the columns of virtual tokens."""
    for name in ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1", "label_mask"):
        value = getattr(output, name)
        if value is not None:
            setattr(output, name, value[:, in_front:])
    return output


def _filled(prefix: Any, cache: Any, config: Any) -> Any:
    """The caller's cache with the prefix's keys and values in it, or a new one."""
    from transformers import DynamicCache

    cache = DynamicCache(config=config) if cache is None else cache
    layers = prefix.layers if hasattr(prefix, "layers") else prefix
    for index, layer in enumerate(layers):
        keys, values = (layer.keys, layer.values) if hasattr(layer, "keys") else (layer[0], layer[1])
        cache.update(keys, values, index)
    return cache
