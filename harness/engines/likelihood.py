"""The likelihood of given texts: one forward pass over context and continuation, rows of equal length together.

A batch is bounded as a generated one (`harness.engines.batches`), and in the logits of what counts, all that are made.

Conventions are lm-evaluation-harness's: blanks at the end of a context belong to the continuation, which is what
tokenising both as one text adds to the context's own tokens. An empty context is the tokenizer's first token, or its
end-of-text token if it has none. What is too long loses its beginning; a text without a context that is longer than
the model's window is read in windows that follow one another with one token of overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.contracts import Likelihood
from harness.engines.batches import BATCH_TOKENS, batches
from harness.errors import UserError

_ROWS = 64
_LOGITS = 2**13  # tokens with logits in a batch: 5 GB in float32 for a vocabulary of 152,000
_Piece = tuple[tuple[int, ...], int]
"""Token ids, and how many of the last ones count."""


def likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    tokens: int = BATCH_TOKENS,
) -> list[Likelihood]:
    """The likelihood of each pair's continuation after its context, in order; a batch holds at most `tokens` tokens."""
    window = int(model.config.max_position_embeddings)
    pieces = [pieces_of(tokenizer, context, continuation, window) for context, continuation in pairs]
    scored = _score(model, {piece for of_pair in pieces for piece in of_pair}, 1, tokens)
    return [together([scored[0, piece] for piece in of_pair]) for of_pair in pieces]


def token_likelihoods(model: PreTrainedModel, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood]:
    """The likelihood of given tokens after given tokens (prompt ids, completion ids), in order."""
    return member_likelihoods(model, texts, 1)[0]


def member_likelihoods(
    model: PreTrainedModel,
    texts: Sequence[tuple[Sequence[int], Sequence[int]]],
    members: int,
    tokens: int = BATCH_TOKENS,
) -> list[list[Likelihood]]:
    """The same for a model in which row r of a batch is computed by member r // (rows / members): one list a member."""
    pieces = [((*prompt, *completion), len(completion)) for prompt, completion in texts]
    scored = _score(model, set(pieces), members, tokens)
    return [[scored[member, piece] for piece in pieces] for member in range(members)]


def pieces_of(tokenizer: PreTrainedTokenizerBase, context: str, continuation: str, window: int) -> list[_Piece]:
    """What is scored for a pair: token ids, and how many of the last ones count; `window` tokens are read at most."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    blanks = len(context) - len(context.rstrip())
    if blanks:
        context, continuation = context[:-blanks], context[-blanks:] + continuation
    if not context:
        ids = list(tokenizer(continuation, add_special_tokens=False).input_ids)
        return _windows(ids if ids[:1] == [first] else [first, *ids], window)
    special = not context.startswith(tokenizer.decode([first]))
    before = list(tokenizer(context, add_special_tokens=special).input_ids)
    whole = list(tokenizer(context + continuation, add_special_tokens=special).input_ids)
    counted = len(whole) - len(before)
    if not 0 < counted <= window:
        shown = f"{continuation[:40]!r} after {context[-40:]!r}"
        problem = "adds no token of its own" if counted <= 0 else f"is {counted} tokens long, the window {window}"
        raise UserError(f"The likelihood of {shown} cannot be had: it {problem}.")
    return [(tuple((before + whole[len(before) :])[-(window + 1) :]), counted)]


def _windows(ids: list[int], window: int) -> list[_Piece]:
    """`ids` but for the first, in windows that each begin with the token before them."""
    found: list[_Piece] = []
    for start in range(1, len(ids), window):
        end = min(start + window, len(ids))
        found.append((tuple(ids[max(0, end - window - 1) : end]), end - start))
    return found


@torch.inference_mode()
def _score(
    model: PreTrainedModel, pieces: set[_Piece], members: int, tokens: int
) -> dict[tuple[int, _Piece], Likelihood]:
    """Each piece scored once by every member."""
    scored: dict[tuple[int, _Piece], Likelihood] = {}
    training = model.training
    model.eval()
    for length, group in groupby(sorted(pieces, key=lambda piece: (len(piece[0]), piece)), lambda piece: len(piece[0])):
        equal = list(group)
        logits = max(1, *(counted for _, counted in equal))
        most = max(1, min(_ROWS, _LOGITS // logits) // members)
        for batch in batches([length] * len(equal), most, tokens // members, 0):
            _score_batch(model, [equal[place] for place in batch], members, scored)
    model.train(training)
    return scored


def _score_batch(
    model: PreTrainedModel, rows: list[_Piece], members: int, scored: dict[tuple[int, _Piece], Likelihood]
) -> None:
    """Add the likelihoods of `rows`, all of one length."""
    kept = max(1, *(counted for _, counted in rows))
    ids = torch.tensor([piece[0] for piece in rows], device=model.device).repeat(members, 1)
    logprobs = torch.log_softmax(model(input_ids=ids[:, :-1], logits_to_keep=kept).logits.float(), -1)
    chosen = logprobs.gather(-1, ids[:, -kept:, None])[..., 0]
    likeliest = logprobs.argmax(-1) == ids[:, -kept:]
    for row in range(len(ids)):
        member, piece = row // len(rows), rows[row % len(rows)]
        first = kept - piece[1]
        total = float(chosen[row, first:].sum()) if piece[1] else 0.0
        scored[member, piece] = Likelihood(total, piece[1], bool(likeliest[row, first:].all()))


def together(parts: list[Likelihood]) -> Likelihood:
    """The likelihood of a text that was read in parts."""
    return Likelihood(
        sum(part.logprob for part in parts), sum(part.tokens for part in parts), all(part.greedy for part in parts)
    )
