"""Graders of ours for sets of reasoning-gym whose own scorer is unsafe or wrong (`gym_rules.REGRADED` says why).

Each takes the answer (blanks around it removed, of limited length) and the item, and says whether it is right. Nothing
is executed, numbers are exact, every pattern is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tasks.countdown.expression import ExpressionError, evaluate

Entry = Mapping[str, Any]
"""An item of reasoning-gym: question, answer, metadata."""

_DIGITS = "[0-9]{1,30}"
_NUMBER = re.compile(rf"[+-]?{_DIGITS}(?:\.{_DIGITS})?")
_RATIO = re.compile(rf"({_DIGITS}) ?/ ?({_DIGITS})")
_SCIENTIFIC = re.compile(rf"{_DIGITS}(?:\.{_DIGITS})?(?:[eE]-[0-9]{{1,2}})?")
_HEXADECIMAL = re.compile(r"-?0x[0-9a-fA-F]{1,200}")
_COMPLEX = re.compile(rf"([+-]? ?{_DIGITS}(?:\.{_DIGITS})?(?![0-9.ij]))? ?([+-]? ?(?:{_DIGITS}(?:\.{_DIGITS})?)?[ij])?")
_PRECISION = 200
"""A probability may be off by this part of itself, or of its distance to 1: half a unit of three digits."""


def same_lines(answer: str, entry: Entry) -> bool:
    """The same text, blanks at the ends of lines aside."""
    return _lines(answer) == _lines(entry["answer"])


def same_words(answer: str, entry: Entry) -> bool:
    """The same text but for case and the width of blanks."""
    return answer.casefold().split() == entry["answer"].casefold().split()


def same_letters(answer: str, entry: Entry) -> bool:
    """The same text but for case and blanks."""
    return "".join(answer.casefold().split()) == "".join(entry["answer"].casefold().split())


def all_numbers(answer: str, entry: Entry) -> bool:
    """Countdown: an expression that uses every given number once and equals the target."""
    return _makes(answer, entry["metadata"]["numbers"], entry["metadata"]["target"])


def twenty_four(answer: str, entry: Entry) -> bool:
    """An expression that uses every given number once and equals 24."""
    return _makes(answer, entry["metadata"]["numbers"], 24)


def queens(answer: str, entry: Entry) -> bool:
    """One of the boards that complete the given one."""
    return _lines(answer) in [_lines(board) for board in entry["metadata"]["valid_answers"]]


def hexadecimal(answer: str, entry: Entry) -> bool:
    """The same number, written in base 16."""
    return _HEXADECIMAL.fullmatch(answer) is not None and int(answer, 16) == int(entry["answer"], 16)


def number_or_word(answer: str, entry: Entry) -> bool:
    """The same number, or the same word but for case."""
    right = _number(entry["answer"])
    return same_words(answer, entry) if right is None else _number(answer) == right


def plain_number(answer: str, entry: Entry) -> bool:
    """The same number; a dollar sign before it and commas between thousands are allowed."""
    found = _number(re.sub(r",(?=[0-9]{3})", "", answer.removeprefix("$")))
    return found is not None and found == _number(entry["answer"])


def sorted_numbers(answer: str, entry: Entry) -> bool:
    """The same numbers in the same order, as a list with or without quotes."""
    return _list(answer) is not None and _list(answer) == _list(entry["answer"])


def ratio(answer: str, entry: Entry) -> bool:
    """The same fraction, reduced or not."""
    found = _ratio(answer)
    return found is not None and found == _ratio(entry["answer"])


def probability(answer: str, entry: Entry) -> bool:
    """The right probability to three digits, as a number or a fraction."""
    known = entry["metadata"]["rational"]
    right = Fraction(known["numerator"], known["denominator"])
    found = _ratio(answer)
    if found is None and _SCIENTIFIC.fullmatch(answer):
        found = Fraction(answer)
    return found is not None and abs(found - right) <= min(right, 1 - right) / _PRECISION


def complex_number(answer: str, entry: Entry) -> bool:
    """The same complex number, its parts exact."""
    found = _complex(answer)
    return found is not None and found == _complex(entry["answer"])


GRADERS: dict[str, Callable[[str, Entry], bool]] = {
    "binary_matrix": same_lines,
    "bitwise_arithmetic": hexadecimal,
    "calendar_arithmetic": number_or_word,
    "coin_flip": probability,
    "complex_arithmetic": complex_number,
    "countdown": all_numbers,
    "dice": ratio,
    "figlet_font": same_letters,
    "game_of_life_halting": same_words,
    "gsm_symbolic": plain_number,
    "letter_jumble": same_words,
    "n_queens": queens,
    "number_sorting": sorted_numbers,
    "puzzle24": twenty_four,
    "spell_backward": same_words,
    "spiral_matrix": same_lines,
    "string_insertion": same_lines,
}


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().split("\n")]


def _makes(answer: str, numbers: list[int], target: int) -> bool:
    try:
        found = evaluate(answer)
    except ExpressionError:
        return False
    return sorted(found.literals) == sorted(numbers) and found.value == target


def _number(text: str) -> Decimal | None:
    return Decimal(text.strip()) if _NUMBER.fullmatch(text.strip()) else None


def _ratio(text: str) -> Fraction | None:
    match = _RATIO.fullmatch(text)
    return Fraction(int(match[1]), int(match[2])) if match and int(match[2]) else None


def _list(text: str) -> list[Decimal | None] | None:
    inner = text.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return None
    found = [_number(part.strip().strip("'\"")) for part in inner[1:-1].split(",")]
    return None if None in found else found


def _complex(text: str) -> tuple[Decimal, Decimal] | None:
    match = _COMPLEX.fullmatch(text)
    if match is None or not text:
        return None
    imaginary = (match[2] or "0i").replace(" ", "")[:-1]
    if imaginary in ("", "+", "-"):
        imaginary += "1"
    return Decimal((match[1] or "0").replace(" ", "")), Decimal(imaginary)
