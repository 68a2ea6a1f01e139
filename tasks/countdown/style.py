"""How Countdown is asked and where its answer stands: the styles `compact`, `paper` and `chat`.

compact: `3,5,7=22>` answered by tries and `#` expression; exactly one `#` is allowed.
paper: one plain text as in TinyZero and 'ES at Scale': a user turn that gives the numbers (blank-separated in square
brackets), the target, the rules and a worked answer in tags, then an assistant turn that opens `<think>`. The facts are
the papers', the wording is our own, so scores of tuned models can differ from theirs by the prompt.
chat: the same request as a user message for models with a chat template.
In paper and chat the last `<answer>` block counts, text after it is allowed, so an answer may be revised.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from harness.contracts import Prompt
from tasks.countdown.corpus import compact_prompt
from tasks.countdown.instances import Instance
from tasks.countdown.plan import Plan
from tasks.countdown.search import write_trace

Style = Literal["compact", "paper", "chat"]
_SYSTEM = "You are a helpful assistant. You think about the problem first and then give the answer."


class Answer(NamedTuple):
    """The text of the answer, or None and the reason there is none."""

    text: str | None
    reason: str


def ask(style: Style, numbers: tuple[int, ...], target: object) -> Prompt:
    """The prompt of an instance."""
    if style == "compact":
        return compact_prompt(Instance(numbers, target))  # type: ignore[arg-type]
    shown = " ".join(map(str, numbers))
    request = (
        f"Use the numbers [{shown}] to write an equation that equals {target}. You may use the basic operations "
        "(+, -, *, /), and every number must be used exactly once. Work it out inside <think> </think> tags and put "
        "the final expression inside <answer> </answer> tags, for example <answer> (1 + 2) / 3 </answer>."
    )
    if style == "chat":
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": request}]
    return f"{_SYSTEM}\nUser: {request}\nAssistant: I will solve this step by step.\n<think>"


def find_answer(style: Style, completion: str) -> Answer:
    """Where the answer stands in a completion, by the style's one rule."""
    if not completion.strip():
        return Answer(None, "empty")
    if style == "compact":
        marks = completion.count("#")
        if marks != 1:
            return Answer(None, "several_answers" if marks else "no_answer")
        return Answer(completion.split("#")[1], "ok")
    end = completion.rfind("</answer>")
    start = completion.rfind("<answer>", 0, end) if end >= 0 else -1
    if start < 0:
        return Answer(None, "no_answer")
    return Answer(completion[start + len("<answer>") : end], "ok")


def write_demonstration(style: Style, tries: list[Plan]) -> str:
    """The tries and the answer of a search in the form that `style` asks for."""
    if style == "compact":
        return write_trace(tries, systematic=True)
    thoughts = " ".join(
        f"{', '.join(f'{s.left} {s.operator} {s.right} = {s.value}' for s in plan.steps)}"
        + (", which is the target." if plan is tries[-1] else ", not the target.")
        for plan in tries
    )
    opening = "<think>" if style == "chat" else ""
    return f"{opening} {thoughts} </think>\n<answer> {tries[-1].expression} </answer>"


def format_score(completion: str) -> float:
    """The format term of 'ES at Scale': 1.0 for exactly think, newline, answer, end; else 0.1 for a think block plus
    0.5 for an answer block. The opening `<think>` stands in the prompt and is put back first."""
    text = completion if completion.lstrip().startswith("<think>") else "<think>" + completion
    think_end = text.find("</think>")
    has_think = think_end >= 0
    has_answer = _has_block(text)
    whole = (
        has_think
        and has_answer
        and text.lstrip().startswith("<think>")
        and text[think_end + len("</think>") :].startswith("\n<answer>")
        and text.rstrip().endswith("</answer>")
        and text.count("<answer>") == 1
    )
    return 1.0 if whole else 0.1 * has_think + 0.5 * has_answer


def _has_block(text: str) -> bool:
    start = text.find("<answer>")
    return start >= 0 and text.find("</answer>", start) >= 0
