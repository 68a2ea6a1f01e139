"""What a chat template says of a model's turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANSWER = "answer"


def turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that closes the assistant's turn, ChatML's `<|im_end|>` for one.

    None without a chat template, and where a turn is closed by ordinary text or by nothing.
    """
    if tokenizer.chat_template is None:
        return None
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _ANSWER}]
    after = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(_ANSWER)[2].lstrip()
    special = set(tokenizer.all_special_tokens) | {str(one) for one in tokenizer.added_tokens_decoder.values()}
    closing = max((token for token in special if token and after.startswith(token)), key=len, default=None)
    return None if closing is None else int(tokenizer.convert_tokens_to_ids(closing))
