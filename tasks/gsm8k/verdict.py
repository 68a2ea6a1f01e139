"""The verdict on a numeric answer: right if its number is the gold one, by the strict or the flexible rule.

Both rules are reported side by side as the measures `strict` and `flexible`; the chosen one decides `correct`. They
read the same number where one is marked, so what is right strictly is right flexibly.
"""

from __future__ import annotations

from harness.contracts import Grade
from tasks.gsm8k.answer import Rule, numeric_answer, same_number


def judge(completion: str, gold: str, rule: Rule, stop: str | None = None) -> Grade:
    """The grade of a completion; `reason` is ok, wrong_number, or why there is no number. Reward is accuracy."""
    found = numeric_answer(completion, "flexible", stop)
    marked = found.text is not None and found.mark != "last"
    right = same_number(found.text, gold)
    measures = {"strict": float(right and marked), "flexible": float(right)}
    if rule == "strict" and found.mark == "last":
        found = numeric_answer(completion, "strict", stop)
    correct = measures[rule] == 1.0
    reason = "ok" if correct else "wrong_number" if found.text is not None else found.reason
    return Grade(correct, float(correct), marked, reason, found.text, measures)
