"""The evaluation: ask the first items of a split, grade every completion, report a score and its rows.

Everything follows from the spec: items, decoding and random stream are the same for every method at the same seed, so
that runs can be paired item by item. The task's grader decides; a score is the mean over items and samples.
"""

from __future__ import annotations

from typing import Any

from harness.contracts import Prompt, Sampling, Task
from harness.engines.hf import HFEngine
from harness.policy import Policy
from harness.record import Score
from harness.spec import RunSpec
from harness.streams import stream


def evaluate(
    spec: RunSpec, task: Task, policy: Policy, split: str, n: int, few_shot: int
) -> tuple[Score, list[dict[str, Any]]]:
    """Score `policy` on the first `n` items of `split`; rows have `harness.record.SAMPLE_COLUMNS`."""
    protocol = spec.evaluation
    items = list(task.items(split, n))
    shots = _solved_examples(task, few_shot)
    prompts = [_with_shots(task.prompt(item), shots) for item in items]
    sampling = Sampling(protocol.max_new_tokens or task.max_new_tokens, protocol.temperature, protocol.top_p, task.stop)
    engine = HFEngine(policy.model, policy.tokenizer)
    rows: list[dict[str, Any]] = []
    for sample in range(protocol.samples):
        completions = engine.generate(prompts, sampling, stream(spec.seed, "evaluation", split, sample))
        for index, (item, prompt, completion) in enumerate(zip(items, prompts, completions, strict=True)):
            grade = task.grade(item, completion.text)
            rows.append(
                {
                    "item_id": item.id,
                    "item_index": index,
                    "sample": sample,
                    "prompt": prompt if isinstance(prompt, str) else str(prompt),
                    "completion": completion.text,
                    "correct": grade.correct,
                    "reward": grade.reward,
                    "well_formed": grade.well_formed,
                    "reason": grade.reason,
                    "parsed": grade.parsed,
                    "tokens": len(completion.token_ids),
                    "truncated": completion.truncated,
                }
            )
    return _score(split, len(items), protocol.samples, rows), rows


def _score(split: str, items: int, samples: int, rows: list[dict[str, Any]]) -> Score:
    def mean(column: str) -> float:
        return sum(float(row[column]) for row in rows) / len(rows)

    return Score(
        split=split,
        items=items,
        samples=samples,
        accuracy=mean("correct"),
        reward=mean("reward"),
        well_formed=mean("well_formed"),
        truncated=mean("truncated"),
        tokens_per_completion=mean("tokens"),
    )


def _solved_examples(task: Task, count: int) -> list[tuple[Prompt, str]]:
    return [(task.prompt(item), task.demonstration(item)) for item in task.items("train", count)] if count else []


def _with_shots(prompt: Prompt, shots: list[tuple[Prompt, str]]) -> Prompt:
    if not shots:
        return prompt
    if isinstance(prompt, str):
        return "".join(f"{question}{answer}\n\n" for question, answer in shots) + prompt
    turns: list[dict[str, str]] = []
    for question, answer in shots:
        turns += [
            *(message for message in question if isinstance(message, dict)),
            {"role": "assistant", "content": answer},
        ]
    return [*turns, *prompt]
