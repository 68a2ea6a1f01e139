"""The evaluation: ask the first items of a split, grade every completion, report a score and its rows.

Everything follows from the spec: items, decoding and random stream are the same for every method at the same seed, so
that runs can be paired item by item. The task's grader decides; a score is the mean over items and samples.

A generator is asked each item without its text, under the adapter that it writes for that text. Its controls stand
beside the score as measures: `mismatched` is the accuracy under the adapter of another item's text that says something
else in all its parts, `junk` that under the adapter of a text that says nothing, and `matched minus mismatched` what
the text itself is worth. On a task whose items have no texts, a generator is its base.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from harness.contracts import (
    Completion,
    Engine,
    Grade,
    Item,
    LikelihoodTask,
    Prompt,
    Repeated,
    Sampling,
    Task,
    TextTask,
)
from harness.engines.choice import adapted_of, engine_of
from harness.engines.hf import encode
from harness.errors import UserError
from harness.policy import Policy
from harness.ranks import ALONE, Ranks
from harness.record import Score
from harness.spec import RunSpec
from harness.streams import stream

JUNK = ("otter lynx heron badger", "asdf jkl qwop zxcv", "g g g g g g")
"""Texts that say nothing: words, keys, one letter (as Charakorn et al. 2025, arXiv 2506.06105, table 5, do)."""


def evaluate(
    spec: RunSpec,
    task: Task,
    policy: Policy,
    split: str,
    n: int,
    few_shot: int,
    repeated: Repeated | None = None,
    told: bool = False,
    cut: bool = False,
    controls: bool = False,
    ranks: Ranks = ALONE,
) -> tuple[Score, list[dict[str, Any]]]:
    """Score `policy` on the first `n` items of `split`; rows have `harness.record.SAMPLE_COLUMNS`.

    With `repeated`, a row is the chosen answer of several, its `tokens` are those of all of them. With `told`, an
    item's text stands in its prompt, with `cut` only as much of its beginning as fits into the model's window (the
    measure `text cut` is the share of items that lost something). With `controls`, a generator is also asked under
    wrong texts. The processes of `ranks` answer together, and each of them has all that is returned.
    """
    protocol = spec.evaluation
    items = list(task.items(split, n))
    engine = engine_of(protocol.engine, policy, ranks=ranks)
    rows: list[dict[str, Any]] = []
    if isinstance(task, LikelihoodTask):
        if few_shot or repeated is not None:
            raise UserError(f"{task.name!r} is scored by likelihoods: nothing is written, so nothing is repeated.")  # type: ignore[attr-defined]
        rows = _likelihood_rows(engine, task, items)
        return _score(split, len(items), 1, rows), rows
    sampling = Sampling(protocol.max_new_tokens or task.max_new_tokens, protocol.temperature, protocol.top_p, task.stop)
    if policy.kind == "generator" and isinstance(task, TextTask) and not told:
        rows = _generated_rows(spec, task, policy, items, sampling, split, controls, ranks)
        return _score(split, len(items), protocol.samples, rows), rows
    shots = solved_examples(task, few_shot)
    texts = _told(task, policy, items, sampling, cut) if told else None
    prompts = [
        with_shots(task.prompt(item) if texts is None else _prompt_with(task, item, texts[place]), shots)
        for place, item in enumerate(items)
    ]
    if repeated is not None:
        rows = _repeated_rows(spec, task, engine, items, prompts, sampling, repeated)
        return _score(split, len(items), 1, rows), rows
    for sample in range(protocol.samples):
        completions = engine.generate(prompts, sampling, stream(spec.seed, "evaluation", split, sample))
        for index, (item, prompt, completion) in enumerate(zip(items, prompts, completions, strict=True)):
            grade = task.grade(item, completion.text)
            if cut and texts is not None:
                lost = texts[index] != task.text(item)  # type: ignore[attr-defined]
                grade = replace(grade, measures={**grade.measures, "text cut": float(lost)})
            rows.append(_row(item, index, sample, prompt, completion, grade))
    return _score(split, len(items), protocol.samples, rows), rows


def _prompt_with(task: Any, item: Item, text: str) -> Prompt:
    prompt: Prompt = task.prompt_with(item, text)
    return prompt


def _told(task: Any, policy: Policy, items: list[Item], sampling: Sampling, cut: bool) -> list[str]:
    """The text of every item, as much of its beginning as fits into the window with the question and an answer."""
    texts: list[str] = [task.text(item) for item in items]
    window = policy.model.config.get_text_config().max_position_embeddings
    tokenizer = policy.tokenizer

    def over(item: Item, text: str) -> int:
        return len(encode(tokenizer, task.prompt_with(item, text))) + sampling.max_new_tokens - window

    for place, item in enumerate(items) if cut else ():
        ids = tokenizer(texts[place], add_special_tokens=False).input_ids
        while (more := over(item, texts[place])) > 0 and ids:
            ids = ids[:-more]
            texts[place] = tokenizer.decode(ids)
    return texts


def _generated_rows(
    spec: RunSpec,
    task: Any,
    policy: Policy,
    items: list[Item],
    sampling: Sampling,
    split: str,
    controls: bool,
    ranks: Ranks,
) -> list[dict[str, Any]]:
    """Rows of a generator: every item under the adapter of its own text, with its controls as measures."""
    engine = adapted_of(spec.evaluation.engine, policy, ranks)
    own = [task.text(item) for item in items]
    junk: list[str | None] = [JUNK[place % len(JUNK)] for place in range(len(items))]
    wrong = {"mismatched": mismatched(task, items), "junk": junk}
    rows = []
    for sample in range(spec.evaluation.samples):
        seed = stream(spec.seed, "evaluation", split, sample)

        def answers(texts: list[str], asked: list[Item], seed: int = seed) -> list[tuple[Completion, Grade]]:
            prompts = [task.prompt_with(item, "") for item in asked]
            completions = engine.generate(prompts, texts, sampling, seed)
            return [(one, task.grade(item, one.text)) for item, one in zip(asked, completions, strict=True)]

        measures: list[dict[str, float]] = [{} for _ in items]
        right = answers(own, items)
        for name, texts in wrong.items() if controls else ():
            there = [(place, text) for place, text in enumerate(texts) if text is not None]
            graded = answers([text for _, text in there], [items[place] for place, _ in there])
            for (place, _), (_, grade) in zip(there, graded, strict=True):
                measures[place][name] = float(grade.correct)
                if name == "mismatched":
                    measures[place]["matched minus mismatched"] = float(right[place][1].correct) - float(grade.correct)
        for index, (item, (completion, grade)) in enumerate(zip(items, right, strict=True)):
            grade = replace(grade, measures={**grade.measures, **measures[index]})
            rows.append(_row(item, index, sample, task.prompt_with(item, ""), completion, grade))
    return rows


def mismatched(task: Any, items: list[Item]) -> list[str | None]:
    """For each item the text of the next one that shares no part of its subject; None where there is none."""
    subjects = [frozenset(task.subject(item)) for item in items]
    found: list[str | None] = []
    for place, subject in enumerate(subjects):
        others = (other % len(items) for other in range(place + 1, place + len(items)))
        other = next((other for other in others if not subject & subjects[other]), None)
        found.append(None if other is None else task.text(items[other]))
    return found


def _repeated_rows(
    spec: RunSpec,
    task: Task,
    engine: Engine,
    items: list[Item],
    prompts: list[Prompt],
    sampling: Sampling,
    repeated: Repeated,
) -> list[dict[str, Any]]:
    """One row an item: the answer that was chosen of `repeated.samples`."""
    sampling = replace(sampling, temperature=repeated.temperature)
    tries = [
        engine.generate(prompts, sampling, stream(spec.seed, "repeated", number)) for number in range(repeated.samples)
    ]
    rows = []
    for index, (item, prompt, answers) in enumerate(zip(items, prompts, zip(*tries, strict=True), strict=True)):
        graded = [(answer, task.grade(item, answer.text)) for answer in answers]
        answer, grade = _chosen(graded, repeated)
        row = _row(item, index, 0, prompt, answer, grade)
        rows.append(row | {"tokens": sum(len(one.token_ids) for one in answers)})
    return rows


def _chosen(graded: list[tuple[Completion, Grade]], repeated: Repeated) -> tuple[Completion, Grade]:
    """The first answer of the commonest parsed text (unparsed ones have no vote), or the first of the best reward."""
    if repeated.choose == "best":
        return max(graded, key=lambda pair: pair[1].reward)
    votes = Counter(grade.parsed for _, grade in graded if grade.well_formed and grade.parsed is not None)
    if not votes:
        return graded[0]
    winner = votes.most_common(1)[0][0]
    return next(pair for pair in graded if pair[1].well_formed and pair[1].parsed == winner)


def _likelihood_rows(engine: Engine, task: Any, items: list[Item]) -> list[dict[str, Any]]:
    """Rows of a task that is scored by likelihoods; the completion is the likeliest continuation."""
    pairs = [task.continuations(item) for item in items]
    flat = iter(engine.likelihoods([pair for of_item in pairs for pair in of_item]))
    rows = []
    for index, (item, of_item) in enumerate(zip(items, pairs, strict=True)):
        likelihoods = [next(flat) for _ in of_item]
        best = max(range(len(of_item)), key=lambda place: likelihoods[place].logprob)
        completion = Completion(of_item[best][1], [], [], False)
        rows.append(_row(item, index, 0, task.prompt(item), completion, task.judge(item, likelihoods)))
    return rows


def _row(item: Item, index: int, sample: int, prompt: Prompt, completion: Completion, grade: Grade) -> dict[str, Any]:
    return {
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
        "measures": json.dumps(dict(grade.measures), sort_keys=True) if grade.measures else None,
    }


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
        measures=_mean_measures(rows),
    )


def _mean_measures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Each measure's mean over the rows that have it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in json.loads(row["measures"] or "{}").items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in sorted(found.items())}


def solved_examples(task: Task, count: int) -> list[tuple[Prompt, str]]:
    """The first `count` training items with the answers that the task demonstrates."""
    return [(task.prompt(item), task.demonstration(item)) for item in task.items("train", count)] if count else []


def with_shots(prompt: Prompt, shots: list[tuple[Prompt, str]]) -> Prompt:
    """A prompt after solved examples: before a text, or as turns of a conversation."""
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
