"""How good each step of a solution is, by Monte Carlo: how often the start policy still gets it right from there.

For every prefix of a solution that ends at a step, `continuations` completions are sampled and graded: the label of
the step is the share of right ones, or 1 if any was (soft and hard estimation of Wang et al. 2024, Math-Shepherd, arXiv
2312.08935, equations 3 and 4). The label of the last step is the verdict on the solution. All samples are charged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from harness.contracts import Item, Prompt
from methods.objectives.rollouts import sampled_once
from methods.reward_models.text import steps_of

if TYPE_CHECKING:
    from harness.context import StageContext

_PROMPTS_A_BATCH = 16


class Labelled(NamedTuple):
    """A solution, its verdict, and a label from 0 to 1 for each of its steps."""

    item: Item
    text: str
    truncated: bool
    correct: bool
    labels: list[float]


def labelled_steps(
    stage: StageContext,
    prompts: int,
    samples: int,
    continuations: int,
    delimiter: str,
    hard: bool,
    temperature: float,
    share: float,
) -> list[Labelled]:
    """Different solutions of the start policy with labelled steps, until `prompts` or `share` of the stage's budget."""
    items = {item.id: item for item in stage.train_items(prompts)}
    decisive = {
        "kind": "steps",
        "weights": stage.policy.digest(),
        "prompts": prompts,
        "samples": samples,
        "continuations": continuations,
        "delimiter": delimiter,
        "hard": hard,
        "temperature": temperature,
        "share": share,
    }

    def sample() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        begun = stage.spent()
        every = list(items.values())
        for start in range(0, len(every), _PROMPTS_A_BATCH):
            solved = _solutions(stage, every[start : start + _PROMPTS_A_BATCH], samples, temperature, start)
            rows += _label(stage, solved, continuations, delimiter, hard, temperature, start)
            if stage.spent() - begun >= share:
                break
        return rows

    rows = sampled_once(stage, decisive, sample)
    return [Labelled(item=items[row.pop("item")], **row) for row in rows]


def _solutions(
    stage: StageContext, items: list[Item], samples: int, temperature: float, start: int
) -> list[tuple[Item, str, bool]]:
    """Different completions of each prompt."""
    asked = [item for item in items for _ in range(samples)]
    answers = stage.generate(
        [stage.task.prompt(item) for item in asked], stage.sampling(temperature), stage.seed("step-solutions", start)
    )
    found = {
        (item.id, answer.text): (item, answer.text, answer.truncated)
        for item, answer in zip(asked, answers, strict=True)
    }
    return list(found.values())


def _label(
    stage: StageContext,
    solved: list[tuple[Item, str, bool]],
    continuations: int,
    delimiter: str,
    hard: bool,
    temperature: float,
    start: int,
) -> list[dict[str, Any]]:
    prefixes = [
        (number, "".join(steps[:count]))
        for number, (_, text, _) in enumerate(solved)
        for steps in [steps_of(text, delimiter)]
        for count in range(1, len(steps))
    ]
    asked = [
        continued(stage.policy.tokenizer, stage.task.prompt(solved[number][0]), prefix)
        for number, prefix in prefixes
        for _ in range(continuations)
    ]
    answers = iter(
        stage.generate(asked, stage.sampling(temperature), stage.seed("step-continuations", start)) if asked else []
    )
    labels: list[list[float]] = [[] for _ in solved]
    for number, prefix in prefixes:
        item = solved[number][0]
        right = [stage.task.grade(item, prefix + next(answers).text).correct for _ in range(continuations)]
        labels[number].append(float(any(right)) if hard else sum(right) / continuations)
    rows = []
    for (item, text, truncated), of_steps in zip(solved, labels, strict=True):
        correct = stage.task.grade(item, text).correct
        row = {"item": item.id, "text": text, "truncated": truncated, "correct": correct}
        rows.append({**row, "labels": [*of_steps, float(correct)]})
    return rows


def continued(tokenizer: Any, prompt: Prompt, prefix: str) -> str:
    """A prompt with the beginning of its answer, as text that tokenises with one begin token at most."""
    from harness.engines.hf import as_text

    text = as_text(tokenizer, prompt)
    if not isinstance(prompt, str) and tokenizer.bos_token and tokenizer("").input_ids:
        text = text.removeprefix(tokenizer.bos_token)  # the template wrote it, and tokenising writes it again
    return text + prefix
