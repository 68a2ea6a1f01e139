"""Numeric answers: where the number of a completion stands, how it is read and when two numbers are the same.

`strict` wants a marked number: after `####`, else in `\\boxed{}`, else in `<answer>`; of each kind the last mark that a
number follows at once counts. `flexible` is the same and, without a marked number, the last number of all. Only what
follows the last `</think>` and precedes the first stop string is read. Digits are 0 to 9, thousands commas stand in
groups of three, one fraction bar is read; a number glued to an operator or an exponent is none. Comparing is exact.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal, NamedTuple

Rule = Literal["strict", "flexible"]

_LONGEST = 40  # characters of a number
_MARKS_TRIED = 16  # of a kind, from the end
_CURRENCY = r"(?:\\?[$€£] ?)"
# A number right after a mark: emphasis, currency and sign before it, no operator with another operand after it.
_MARKED = re.compile(
    rf"[\s*_]{{0,8}}{_CURRENCY}?(?P<text>(?:[-+−]{_CURRENCY}?)?(?P<digits>\.?[0-9](?:[0-9.,/]|\{{,\}})*+))"
    r"(?![eE_:][0-9]|[ \t]{0,3}[-+*/=^×÷·x][ \t]{0,3}[$(]?[0-9])"
)
_HEADING = re.compile(r"[):]?[ \t]+[*_(\"]{0,3}[A-Za-z]")  # of `#### 3. Compute`, after its number
_BOX_END = re.compile(r"\s{0,8}(?:\}|\\?%|\\(?:text|mathrm|mbox|[ ,;!])|[A-Za-z])")
_NUMBER = re.compile(
    rf"{_CURRENCY}?(?P<sign>[-+−]?){_CURRENCY}?"
    r"(?P<whole>(?:0|[1-9][0-9]*|[1-9][0-9]{0,2}(?:,[0-9]{3})+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:/(?P<below>[1-9][0-9]*))?%?"
)
_SIGN = re.compile(rf"[-+−]{_CURRENCY}?$")
_SIGN_MAY_FOLLOW = " \t\r\n([{=:,;*_\"'$€£"
_GLUE = ("e", "E", "x", "X", "_", "^")  # after a digit
_DECIMAL = tuple("0123456789")


class Found(NamedTuple):
    """The number of a completion as it stands there, or None and the reason there is none."""

    text: str | None
    mark: Literal["####", "boxed", "answer", "last", "none"]
    reason: Literal["ok", "empty", "unfinished_thought", "no_answer", "not_a_number"]


def numeric_answer(text: str, rule: Rule = "strict", stop: str | None = None) -> Found:
    """The number that `text` gives as its answer. Never raises; its time is linear in the length of `text`."""
    if not text.strip():
        return Found(None, "none", "empty")
    region = text
    if "</think>" in region:
        region = region.rpartition("</think>")[2]
    elif "<think>" in region:
        return Found(None, "none", "unfinished_thought")
    if stop is not None:
        region = region.partition(stop)[0]
    marked = False
    for mark, word in (("####", "####"), ("boxed", "\\boxed{"), ("answer", "<answer>")):
        if word in region:
            marked = True
            number = _after_mark(region, word)
            if number is not None:
                return Found(number, mark, "ok")  # type: ignore[arg-type]
    if rule == "strict":
        return Found(None, "none", "not_a_number" if marked else "no_answer")
    end = max(map(region.rfind, _DECIMAL))
    if end < 0:
        return Found(None, "none", "not_a_number" if marked else "no_answer")
    number = _ending_at(region, end + 1)
    return Found(number, "last", "ok") if number is not None else Found(None, "none", "not_a_number")


def read_number(text: str) -> Fraction | None:
    """The exact value of a text that is one number (sign, currency and percent sign allowed), or None."""
    if len(text) > _LONGEST:
        return None
    match = _NUMBER.fullmatch(text.strip().replace("{,}", ","))
    if match is None:
        return None
    whole = match["whole"].replace(",", "")
    value = Fraction(int(whole)) if whole.isdigit() else Fraction(whole)
    if match["below"]:
        value /= int(match["below"])
    return -value if match["sign"] in ("-", "−") else value


def same_number(one: str | None, other: str | None) -> bool:
    """Whether both texts are numbers of the same value; what is no number equals nothing."""
    if one is None or other is None:
        return False
    value = read_number(one)
    return value is not None and value == read_number(other)


def _after_mark(region: str, word: str) -> str | None:
    """The number after the last `word` that a number follows."""
    place = len(region)
    for _ in range(_MARKS_TRIED):
        place = region.rfind(word, 0, place)
        if place < 0:
            return None
        match = _MARKED.match(region, place + len(word), place + len(word) + 2 * _LONGEST)
        if match is None:
            continue
        if word == "####" and _heads_a_line(region, match):
            continue
        if word == "\\boxed{" and not _BOX_END.match(region, match.end()):
            continue
        number = match["text"].rstrip(".,/")
        if read_number(number) is not None:
            return number
    return None


def _heads_a_line(region: str, match: re.Match[str]) -> bool:
    """Whether the number of a `####` only counts a heading, as in `#### 3. Compute the total`."""
    counted = match["digits"][-1] == "." or region[match.end() : match.end() + 1] in (")", ":")
    return counted and _HEADING.match(region, match.end()) is not None


def _ending_at(region: str, end: int) -> str | None:
    """The number whose last digit stands before `end`, with its sign if it has one."""
    start = end
    while start > 0 and region[start - 1] in "0123456789.,/" and end - start <= _LONGEST:
        start -= 1
    while region[start] in ".,":
        ahead = region[start - 1 : start] if start else ""
        if region[start] == "." and region[start + 1].isdigit() and not (ahead.isalnum() or ahead in (".", ")")):
            break  # a decimal such as .5
        start += 1
    before = region[max(0, start - 4) : start]
    if before[-1:] in _GLUE and before[-2:-1] in _DECIMAL:
        return None
    sign = _SIGN.search(before)
    if sign is not None and (sign.start() == 0 or before[sign.start() - 1] in _SIGN_MAY_FOLLOW):
        start -= len(sign[0])
    number = region[start:end]
    return number if read_number(number) is not None else None
