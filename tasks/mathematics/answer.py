"""A mathematical answer: where it stands in a completion, and whether it is the gold one.

The last `\\boxed{...}` (or `\\fbox{...}`, or `\\boxed 7`) with balanced braces counts, else what follows the last
"answer is" on its line; only what follows the last `</think>` is read. Equal texts and plain numbers are compared
here, exactly; only what is left is asked of math-verify, and nothing that it would reject is accepted on the way.
Powers of powers of numbers, powers with more than four digits above and factorials of more than three are not worked
out (`too_large`), unless the gold answer has such a part itself.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from tasks.mathematics.verifier import VERIFIER, Verdict

MOST_CHARACTERS = 300
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,20}|[0-9]{1,3}(?:,[0-9]{3}){1,6})(?:\.[0-9]{1,20})?")
_BARE = re.compile(r" ?([-+]?[0-9.,]{1,20}[0-9]|[0-9A-Za-z])(?![0-9A-Za-z])")
_TOWER = re.compile(
    r"\^ ?\{? ?[0-9]+ ?\^"  # 9^{9^
    r"|\^ ?\{? ?[0-9]{5,}"  # 2^{100000
    r"|[0-9]{4,} ?\)? ?!"  # 1000!
)
_IS = "answer is"


class Found(NamedTuple):
    """An answer as it stands, or None and why there is none."""

    text: str | None
    reason: str


def find_answer(completion: str) -> Found:
    """The answer of a completion; linear in its length."""
    if not completion.strip():
        return Found(None, "empty")
    region = completion
    if "</think>" in region:
        region = region.rpartition("</think>")[2]
    elif "<think>" in region:
        return Found(None, "unfinished_thought")
    start, box = max((region.rfind(box), box) for box in ("\\boxed", "\\fbox"))
    if start >= 0:
        return _boxed(region, start + len(box))
    place = region.lower().rfind(_IS)
    if place < 0 or len(region.lower()) != len(region):
        return Found(None, "no_answer")
    text = region[place + len(_IS) : place + len(_IS) + 2 * MOST_CHARACTERS].partition("\n")[0]
    text = text.strip(" :*").rstrip(".").strip().strip("$").strip()
    if not text:
        return Found(None, "no_answer")
    return Found(text, "ok") if len(text) <= MOST_CHARACTERS else Found(None, "too_long")


def same_answer(gold: str, answer: str) -> Verdict:
    """Whether `answer` is `gold`."""
    if _plain(gold) == _plain(answer):
        return Verdict(True, "same")
    one, other = _number(gold), _number(answer)
    if one is not None and other is not None:
        return Verdict(one == other, "same" if one == other else "different")
    if not answer.strip() or len(answer) > MOST_CHARACTERS or "\x00" in answer:
        return Verdict(False, "different")
    if _TOWER.search(answer) and not _TOWER.search(gold):
        return Verdict(False, "too_large")
    return VERIFIER.same(gold, answer)


def _boxed(region: str, start: int) -> Found:
    if not region.startswith("{", start):
        bare = _BARE.match(region, start)
        return Found(bare[1], "ok") if bare else Found(None, "no_answer")
    start, depth = start + 1, 1
    for place in range(start, min(len(region), start + MOST_CHARACTERS + 1)):
        depth += {"{": 1, "}": -1}.get(region[place], 0)
        if depth == 0:
            text = region[start:place].strip()
            return Found(text, "ok") if text else Found(None, "no_answer")
    return Found(None, "too_long" if len(region) - start > MOST_CHARACTERS else "unbalanced")


def _plain(text: str) -> str:
    """Without blanks at the ends and dollar signs around."""
    return text.strip().strip("$").strip()


def _number(text: str) -> Fraction | None:
    plain = _plain(text)
    return Fraction(plain.replace(",", "")) if _NUMBER.fullmatch(plain) else None
