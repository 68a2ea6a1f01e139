"""The lab's tokenizer: a Qwen2Tokenizer with words learnt from the corpus and every integer from 0 to 999 as one token.

Whole numbers (as in the Llama-3 family) let a small model learn arithmetic as facts about tokens. Transformers gives
any model of type qwen2 the pre-tokeniser of Qwen2Tokenizer, whatever its tokenizer.json says, and that one cuts
numbers into digits; so the numbers from 10 on are added tokens, which are matched before pre-tokenisation.
Longer numbers are cut into groups of three from the left.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

END, PAD, START_TURN, END_TURN = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_NUMBERS = [str(number) for number in range(10, 1000)]


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int) -> Qwen2Tokenizer:
    """A tokenizer of at most `vocab_size` entries learnt from `texts`; `max_length` is the model's window in tokens."""
    special = [END, PAD, START_TURN, END_TURN]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(_NUMBERS),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learnt = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],
        unk_token=END,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START_TURN, END_TURN],
        chat_template=CHAT_TEMPLATE,
        model_max_length=max_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens([AddedToken(number, normalized=False, special=False) for number in _NUMBERS])
    return tokenizer
