"""Questions about documents with what a teacher that sees the document says to them, token by token.

The teacher is the stage's own untouched base with the document in its prompt: its greedy answer, and at each of its
tokens the `k` likeliest tokens with their log-probabilities. Made once and kept, charged like rollouts (see
`objectives.rollouts`). With `gold` answers the demonstrations take its place, one token of probability one at every
place, and nothing is computed or kept. A question whose document does not fit into the base's window has no teacher and
is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts import Item
from methods.objectives.rollouts import Row, sampled_once

if TYPE_CHECKING:
    from harness.context import StageContext

Answers = Literal["teacher", "gold"]
_AT_ONCE = 64
_DIGITS = 4  # of a stored log-probability


@dataclass(frozen=True)
class Question:
    """What the student is asked, token ids, and at every token of the answer the teacher's likeliest tokens."""

    prompt: list[int]
    answer: list[int]
    ids: list[list[int]]
    logprobs: list[list[float]]


@dataclass(frozen=True)
class Asked:
    """A document and its questions."""

    text: str
    questions: list[Question]


@dataclass(frozen=True)
class _Open:
    document: int
    item: Item
    text: str


def asked_about(stage: StageContext, documents: Sequence[Any], answers: Answers, k: int) -> list[Asked]:
    """Every document that has a question left, with its questions; `documents` have `text` and `items`."""
    from harness.policy import digest_of

    task: Any = stage.task
    asks = [_Open(place, item, one.text) for place, one in enumerate(documents) for item in one.items]
    if answers == "gold":
        rows = _gold(stage, asks)
    else:
        read = [hashlib.sha256(one.text.encode()).hexdigest() for one in documents]
        decisive = {
            "questions": [[ask.item.id, read[ask.document]] for ask in asks],
            "weights": digest_of(stage.policy.model.base.named_parameters()),
            "answers": answers,
            "k": k,
        }
        rows = sampled_once(stage, decisive, lambda: _taught(stage, asks, k))
    found: dict[int, list[Question]] = {}
    encoded = cache(lambda prompt: _encode(stage, prompt))  # documents are asked the same things
    for row in rows:
        ask = asks[row["ask"]]
        asked = task.prompt_with(ask.item, "")
        prompt = list(encoded(asked)) if isinstance(asked, str) else _encode(stage, asked)
        question = Question(prompt, row["answer"], row["ids"], row["logprobs"])
        found.setdefault(ask.document, []).append(question)
    stage.run.events.write("questions", documents=len(found), questions=len(rows), left_out=len(asks) - len(rows))
    return [Asked(documents[place].text, questions) for place, questions in found.items()]


def _gold(stage: StageContext, asks: list[_Open]) -> list[Row]:
    tokenizer, rows = stage.policy.tokenizer, []
    encoded = cache(lambda text: tokenizer(text, add_special_tokens=False).input_ids)
    for number, ask in enumerate(asks):
        answer = [*encoded(stage.task.demonstration(ask.item)), tokenizer.eos_token_id]
        rows.append(
            {"ask": number, "answer": answer, "ids": [[one] for one in answer], "logprobs": [[0.0]] * len(answer)}
        )
    return rows


def _taught(stage: StageContext, asks: list[_Open], k: int) -> list[Row]:
    """Greedy answers with the document in the prompt, charged as generated, and one forward pass over them."""
    task: Any = stage.task
    sampling, rows = stage.sampling(0.0), []
    window = stage.policy.model.base.config.get_text_config().max_position_embeddings
    fitting = []
    for number, ask in enumerate(asks):
        prompt = task.prompt_with(ask.item, ask.text)
        if len(_encode(stage, prompt)) + sampling.max_new_tokens <= window:
            fitting.append((number, prompt))
    fitting.sort(key=lambda pair: len(pair[1]))
    for start in range(0, len(fitting), _AT_ONCE):
        batch = fitting[start : start + _AT_ONCE]
        completions = stage.generate([prompt for _, prompt in batch], sampling, stage.seed("rollouts", start))
        answers = [completion.token_ids for completion in completions]
        prompts = [_encode(stage, prompt) for _, prompt in batch]
        stage.charge_forward(sum(len(one) + len(answer) for one, answer in zip(prompts, answers, strict=True)))
        with stage.run.meters.clock("train"):
            taught = likeliest(stage.policy.model.base, prompts, answers, k)
        for (number, _), answer, (ids, logprobs) in zip(batch, answers, taught, strict=True):
            rows.append({"ask": number, "answer": answer, "ids": ids, "logprobs": logprobs})
    return sorted(rows, key=lambda row: row["ask"])


def likeliest(
    base: Any, prompts: list[list[int]], answers: list[list[int]], k: int
) -> list[tuple[list[list[int]], list[list[float]]]]:
    """For every answer the `k` likeliest tokens at each of its places, and their log-probabilities."""
    import torch

    from methods.objectives.rows_of_answers import answer_rows
    from methods.objectives.top_k import top_k

    with torch.inference_mode():
        rows = answer_rows(prompts, answers, base.device)
        ids, logprobs = top_k(rows.logits(base), k)
    return [
        (some.tolist(), [[round(value, _DIGITS) for value in place] for place in values.tolist()])
        for some, values in zip(ids.split(rows.lengths), logprobs.split(rows.lengths), strict=True)
    ]


def _encode(stage: StageContext, prompt: Any) -> list[int]:
    from harness.engines.hf import encode

    return encode(stage.policy.tokenizer, prompt)
