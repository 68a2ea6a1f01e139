"""Graders that look for the gold answer itself: exact, numeric, math and regex.

exact: the completion is a gold answer, blanks at both ends aside. numeric: its number equals the gold one, a marked
number before the last of all (`tasks.gsm8k.answer`). math: what stands in \\boxed{} equals the gold answer for
math-verify (`tasks.mathematics.answer`). regex: what the last match of the user's pattern captures is a gold answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import regex

from harness.contracts import Grade
from harness.errors import UserError
from tasks.gsm8k.answer import numeric_answer, same_number
from tasks.mathematics.answer import find_answer, same_answer

_LONGEST = 20_000
"""Characters of a completion that a user's pattern is tried on."""
_SECONDS = 0.04
"""A pattern that takes longer is hostile to this text."""


class Exact:
    """Equality of texts."""

    checks_gold = True

    def grade(self, question: str, answers: Sequence[str], completion: str) -> Grade:
        text = completion.strip()
        if not text:
            return _none("empty")
        return _compared(text, text in {answer.strip() for answer in answers})

    def demonstration(self, answer: str) -> str:
        return answer


class Numeric:
    """Equality of numbers, exactly."""

    checks_gold = True

    def grade(self, question: str, answers: Sequence[str], completion: str) -> Grade:
        found = numeric_answer(completion, "flexible")
        if found.text is None:
            return _none(found.reason)
        golds = [numeric_answer(answer, "flexible").text for answer in answers]
        return _compared(found.text, any(gold is not None and same_number(found.text, gold) for gold in golds))

    def demonstration(self, answer: str) -> str:
        return answer


class Math:
    """Equality of mathematical expressions."""

    checks_gold = True

    def grade(self, question: str, answers: Sequence[str], completion: str) -> Grade:
        found = find_answer(completion)
        if found.text is None:
            return _none(found.reason)
        golds = [find_answer(answer).text or answer for answer in answers]
        verdicts = [same_answer(gold, found.text) for gold in golds]
        if any(verdict.same for verdict in verdicts):
            return _compared(found.text, True)
        return Grade(False, 0.0, True, verdicts[0].reason, found.text)

    def demonstration(self, answer: str) -> str:
        return answer if find_answer(answer).text is not None else f"\\boxed{{{answer}}}"


class Regex:
    """Equality of what a pattern captures: its first group, or all of the match."""

    checks_gold = True

    def __init__(self, pattern: str | None) -> None:
        if pattern is None:
            raise UserError("The grader regex needs a pattern, for example -t pattern='answer: (.+)'.")
        try:
            self._pattern = regex.compile(pattern)
        except regex.error as error:
            raise UserError(f"The pattern {pattern!r} is no regular expression: {error}.") from None

    def grade(self, question: str, answers: Sequence[str], completion: str) -> Grade:
        if not completion.strip():
            return _none("empty")
        try:
            found = self._last(completion[-_LONGEST:])
            golds = {answer.strip() for answer in answers} | {self._last(answer) for answer in answers}
        except TimeoutError:
            return _none("timeout")
        return _none("no_match") if found is None else _compared(found, found in golds)

    def demonstration(self, answer: str) -> str:
        return answer

    def _last(self, text: str) -> str | None:
        """What the last match captures."""
        found = None
        for match in self._pattern.finditer(text, timeout=_SECONDS):
            captured = match[1] if self._pattern.groups else match[0]
            found = found if captured is None else captured.strip()
        return found


def _none(reason: str) -> Grade:
    return Grade(False, 0.0, False, reason)


def _compared(text: str, same: bool) -> Grade:
    return Grade(same, float(same), True, "ok" if same else "wrong", text[:2000])
