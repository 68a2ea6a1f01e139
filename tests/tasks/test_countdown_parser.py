"""The expression reader against Python's own grammar, which is an independent parser of the same arithmetic."""

from __future__ import annotations

import ast
import time
from fractions import Fraction

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tasks.countdown.expression import MAX_CHARACTERS, MAX_DEPTH, ExpressionError, evaluate

REASONS = {
    "empty",
    "too_long",
    "equals_sign",
    "bad_character",
    "long_literal",
    "leading_zero",
    "too_deep",
    "syntax",
    "division_by_zero",
}
SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class Undefined(Exception):
    """Division by zero somewhere inside."""


def reference(node: ast.AST) -> tuple[Fraction, list[int], list[str]]:
    """Value, literals and operators in the order written. TypeError for anything that is not our arithmetic."""
    if isinstance(node, ast.Expression):
        return reference(node.body)
    if isinstance(node, ast.Constant) and type(node.value) is int and node.value <= 9999:
        return Fraction(node.value), [node.value], []
    if isinstance(node, ast.BinOp) and type(node.op) in SYMBOLS:
        (a, first, before), (b, second, after) = reference(node.left), reference(node.right)
        symbol = SYMBOLS[type(node.op)]
        if symbol == "/" and b == 0:
            raise Undefined
        value = {"+": a + b, "-": a - b, "*": a * b}[symbol] if symbol != "/" else a / b
        return value, first + second, [*before, symbol, *after]
    raise TypeError(type(node).__name__)


def read_by_python(text: str) -> tuple[Fraction, list[int], list[str]] | None:
    """None if Python's grammar, less all that is not ours, has no reading of `text`."""
    try:
        return reference(ast.parse(text.strip(" \n\t\r"), mode="eval"))
    except (SyntaxError, TypeError, ValueError):
        return None


def depth(text: str) -> int:
    deepest = now = 0
    for character in text:
        now += (character == "(") - (character == ")")
        deepest = max(deepest, now)
    return deepest


blanks = st.text(alphabet=" ", max_size=2)
literal = st.integers(0, 9999).map(str)


def _joined(part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operation = st.tuples(part, blanks, st.sampled_from("+-*/"), blanks, part).map("".join)
    bracket = st.tuples(st.just("("), blanks, part, blanks, st.just(")")).map("".join)
    return operation | bracket


expressions = st.recursive(literal, _joined, max_leaves=8)
"""Legal expressions with redundant brackets and blanks; precedence and associativity are left to the readers."""


@given(expressions)
@settings(max_examples=600, deadline=None)
@example("2-3-4")
@example("8/4/2")
@example("2+3*4-6/3")
@example("2*(3+4)*5")
@example("1/3*3")
@example("((((7))))")
def test_legal_expressions_have_pythons_value(text: str) -> None:
    assume(len(text) <= MAX_CHARACTERS and depth(text) <= MAX_DEPTH)
    try:
        expected = read_by_python(text)
    except Undefined:
        with pytest.raises(ExpressionError, match="division_by_zero"):
            evaluate(text)
        return
    assert expected is not None
    found = evaluate(text)
    assert (found.value, list(found.literals), list(found.operators)) == expected


@given(st.text(alphabet="0123456789+-*/() ", max_size=24))
@settings(max_examples=1500, deadline=None)
@example("1//2")
@example("2**3")
@example("-1")
@example("1--1")
@example("(1)(2)")
@example("1 2")
@example("007")
@example("00")
@example("()")
@example("1/(2-2)")
@example("12345")
def test_what_python_reads_is_read_and_nothing_else(text: str) -> None:
    """Accepted by both with one value, or by neither: no false answer and no false refusal."""
    try:
        expected = read_by_python(text)
    except Undefined:
        expected = None
    try:
        found = evaluate(text)
    except ExpressionError as error:
        assert error.reason in REASONS
        # Python reads a row of zeros as 0; here it is a leading zero.
        assert expected is None or error.reason == "leading_zero"
    else:
        assert (found.value, list(found.literals), list(found.operators)) == expected


@given(st.text(max_size=300) | st.text(alphabet="0123456789+-*/()=_.eE#xj<> \n\t\x00×÷−٣３", max_size=140))
@settings(max_examples=1000, deadline=None)
def test_any_text_is_read_or_refused_for_a_known_reason(text: str) -> None:
    try:
        found = evaluate(text)
    except ExpressionError as error:
        assert error.reason in REASONS
    else:
        assert isinstance(found.value, Fraction) and len(found.literals) == len(found.operators) + 1


@given(expressions, expressions)
@settings(max_examples=200, deadline=None)
def test_brackets_blanks_and_commuting_change_nothing(a: str, b: str) -> None:
    assume(len(a) + len(b) < 100 and depth(a + b) < MAX_DEPTH - 2)
    try:
        left, right = evaluate(a).value, evaluate(b).value
    except ExpressionError:
        return
    assert evaluate(f"({a})+({b})").value == evaluate(f" ( {b} ) + ( {a} ) ").value == left + right
    assert evaluate(f"({a})*({b})").value == evaluate(f"({b})*({a})").value == left * right
    assert evaluate(f"({a})-({b})").value == -evaluate(f"({b})-({a})").value


def test_division_is_exact() -> None:
    assert evaluate("1/3+1/3+1/3").value == 1
    assert evaluate("9999/9998").value == Fraction(9999, 9998)
    assert evaluate("1/3").value != Fraction(1 / 3)
    assert evaluate("8/(3-8/3)").value == 24


@pytest.mark.parametrize("symbol", ["/", "÷"])
@pytest.mark.parametrize("zero", ["0", "(1-1)", "0*5", "(2-4/2)", "(1/3-2/6)"])
def test_division_by_zero_is_refused_however_it_hides(symbol: str, zero: str) -> None:
    if zero == "0*5":
        assert read_by_python(f"(3+{zero})") is not None
        zero = f"({zero})"
    with pytest.raises(ExpressionError, match="division_by_zero"):
        evaluate(f"7{symbol}{zero}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH, None),
        ("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1), "too_deep"),
        ("(" * 20 + "1" + ")" * 20 + "+(1)" * 20, None),
        ("()" * 40, "syntax"),
        ("1" + "+1" * 63, None),
        ("1" + "+1" * 64, "too_long"),
        ("9999", None),
        ("10000", "long_literal"),
        ("0", None),
        ("0+1", None),
        ("00", "leading_zero"),
        ("1\n+2", "bad_character"),
        ("\n1+2\n", None),
        ("1\u00a0+2", "bad_character"),
        ("1\u200b+2", "bad_character"),
        ("²+1", "bad_character"),
        ("5٣+3", "bad_character"),
        ("5３+3", "bad_character"),
        ("+1", "syntax"),
        ("1+", "syntax"),
        (")1(", "syntax"),
        ("1,2", "bad_character"),
        ("True+1", "bad_character"),
        ("1#2", "bad_character"),
        ("1==1", "equals_sign"),
        ("12 34", "syntax"),
    ],
)
def test_the_edges(text: str, reason: str | None) -> None:
    if reason is None:
        assert evaluate(text).value == reference(ast.parse(text.strip(), mode="eval"))[0]
    else:
        with pytest.raises(ExpressionError) as error:
            evaluate(text)
        assert error.value.reason == reason


@pytest.mark.parametrize("text", ["9" * 10**6, "(" * 10**6, "99**" * 10**5, "1+" * 10**5, "\x00" * 10**6, " " * 10**6])
def test_long_text_costs_nothing(text: str) -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        with pytest.raises(ExpressionError, match="too_long"):
            evaluate(text)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.005
