"""Text that a small base model is pre-trained on: one module a family, generated, never downloaded.

A family offers `sample(rng)` (a passage to learn from) and `probes(n)` (held-out passages to measure with);
the two never share an instance. The loss is taken on the answer alone; a passage with an empty prompt is
plain text. `correct(probe, completion)` says whether a completion answers a probe. A family that is hard to begin with
offers `STAGES`: then `sample` and `probes` take a `stage` from 0 up to `STAGES` - 1, which is also their default.
"""

from __future__ import annotations

import hashlib
import random
from typing import NamedTuple, Protocol


class Passage(NamedTuple):
    """One training or probe text: `prompt` is read, `answer` is learnt (an end-of-text token follows the last one)."""

    prompt: str
    answer: str
    then: tuple[tuple[str, str], ...] = ()
    """Prompts and answers that follow in the same text."""

    @property
    def turns(self) -> tuple[tuple[str, str], ...]:
        """All prompts and answers in order."""
        return ((self.prompt, self.answer), *self.then)

    @property
    def text(self) -> str:
        return "".join(prompt + answer for prompt, answer in self.turns)


class Family(Protocol):
    """What a corpus module offers; the modules of this package and the tasks' own `corpus` modules follow it."""

    def sample(self, rng: random.Random) -> Passage: ...

    def probes(self, n: int) -> list[Passage]: ...

    def correct(self, probe: Passage, completion: str) -> bool: ...


def held_out(key: str, share: float = 0.1) -> bool:
    """Whether the instance called `key` belongs to the probes; stable over processes and machines."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share
