"""Exact arithmetic on text that a model wrote: a tokenizer and a recursive-descent evaluator over Fractions.

Nothing is ever executed. Accepted: integers of at most 4 digits without a leading zero, `+ - * /`, round brackets
and blanks; `×`, `÷` and `−` are read as their ASCII twins. Refused: everything else, among it unary signs, powers,
floor division, decimals, juxtaposition and names. Text is at most 128 characters and 32 brackets deep.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

MAX_CHARACTERS = 128
MAX_DEPTH = 32
_UNICODE_OPERATORS = str.maketrans({"×": "*", "÷": "/", "−": "-"})
_ALLOWED = re.compile(r"[0-9+\-*/() ]*")
_TOKEN = re.compile(r" *([0-9]+|[+\-*/()]) *")


class ExpressionError(ValueError):
    """The text is no expression; `reason` names the rule it breaks."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Expression(NamedTuple):
    """An evaluated expression: its exact `value`, the `literals` in the order written, its operators."""

    value: Fraction
    literals: tuple[int, ...]
    operators: tuple[str, ...]


def evaluate(text: str) -> Expression:
    """Evaluate `text` exactly. Raises ExpressionError with one of: empty, too_long, equals_sign,
    bad_character, long_literal, leading_zero, too_deep, syntax, division_by_zero."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError("too_long")
    text = text.translate(_UNICODE_OPERATORS).strip(" \n\t\r")
    if not text:
        raise ExpressionError("empty")
    if "=" in text:
        raise ExpressionError("equals_sign")
    if not _ALLOWED.fullmatch(text):
        raise ExpressionError("bad_character")
    return _Parser(_TOKEN.findall(text)).run()


class _Parser:
    """sum := term (('+' | '-') term)*; term := factor (('*' | '/') factor)*; factor := int | '(' sum ')'"""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.literals: list[int] = []
        self.operators: list[str] = []

    def run(self) -> Expression:
        value = self._sum()
        if self.position != len(self.tokens):
            raise ExpressionError("syntax")
        return Expression(value, tuple(self.literals), tuple(self.operators))

    def _peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def _sum(self) -> Fraction:
        value = self._product()
        while (operator := self._peek()) in ("+", "-"):
            self._take_operator(operator)
            right = self._product()
            value = value + right if operator == "+" else value - right
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while (operator := self._peek()) in ("*", "/"):
            self._take_operator(operator)
            right = self._factor()
            if operator == "/" and right == 0:
                raise ExpressionError("division_by_zero")
            value = value * right if operator == "*" else value / right
        return value

    def _take_operator(self, operator: str) -> None:
        self.operators.append(operator)
        self.position += 1

    def _factor(self) -> Fraction:
        token = self._peek()
        self.position += 1
        if token == "(":
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise ExpressionError("too_deep")
            value = self._sum()
            if self._peek() != ")":
                raise ExpressionError("syntax")
            self.position += 1
            self.depth -= 1
            return value
        if not token or token in "+-*/)":
            raise ExpressionError("syntax")
        if len(token) > 4:
            raise ExpressionError("long_literal")
        if len(token) > 1 and token[0] == "0":
            raise ExpressionError("leading_zero")
        self.literals.append(int(token))
        return Fraction(int(token))
