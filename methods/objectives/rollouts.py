"""Rollouts of the start policy or of a teacher, graded: what preference pairs, labels and imitated answers are made of.

Sampled once and kept with what they cost under the name of everything that decides them (weights, task, seed,
settings, budget): every method and every attempt that asks for the same rollouts reads the same file and is charged
the same. Sampling stops after `prompts` prompts or at `share` of the stage's budget, whichever comes first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.atomic import write_json
from harness.contracts import Item
from harness.record import Meters

if TYPE_CHECKING:
    from harness.context import StageContext
    from methods.objectives.teacher import Teacher

_PROMPTS_A_BATCH = 64
Row = dict[str, Any]


@dataclass(frozen=True)
class Rollout:
    """One completion and its grade; without a grade where the task has no verifier."""

    item: Item
    text: str
    correct: bool | None
    well_formed: bool | None
    truncated: bool
    tokens: int


def start_rollouts(
    stage: StageContext, prompts: int, samples: int, temperature: float, share: float, teacher: Teacher | None = None
) -> list[Rollout]:
    """`samples` completions of the stage's start policy, or of a teacher, for each training prompt, in order."""
    wanted = {"prompts": prompts, "samples": samples, "temperature": temperature, "share": share}
    weights = stage.policy.digest() if teacher is None else f"teacher {teacher.revision}"
    items = {item.id: item for item in stage.train_items(prompts)}
    rows = sampled_once(
        stage, {"weights": weights, **wanted}, lambda: _sample(stage, list(items.values()), wanted, teacher)
    )
    return [Rollout(item=items[row.pop("item")], **row) for row in rows]


def sampled_once(stage: StageContext, decisive: Row, sample: Callable[[], list[Row]]) -> list[Row]:
    """What `sample` gives, or gave to whoever asked first for the same; charged either way.

    `decisive` says what decides the rows beside task, seed, budget and the limit on tokens.
    """
    path = stage.run.directory.rollouts / f"{_key(stage, decisive)}.json"
    # Processes of a run have copies of its directory and none of what lies beside it: the first one's word goes.
    stored = stage.run.ranks.first(json.loads(path.read_text()) if path.exists() else None)
    if stored is not None:
        if stage.resume_from is None:
            _charge_again(stage, Meters(**stored["meters"]))
        stage.run.events.write("rollouts", file=path.name, sampled_here=False)
    else:
        before = stage.run.meters.read()
        rows = sample()
        stored = {"rows": rows, "meters": stage.run.meters.read().since(before).model_dump()}
        path.parent.mkdir(exist_ok=True)
        write_json(path, stored)
        stage.run.events.write("rollouts", file=path.name, sampled_here=True)
    return list(stored["rows"])


def _key(stage: StageContext, decisive: Row) -> str:
    """32 hexadecimal digits over everything that decides the rollouts."""
    spec = stage.run.spec
    own = [] if stage.own_budget is None else [stage.own_budget.limits()]
    everything = {
        "task": spec.task.content(),
        "control": spec.control,
        "limit": stage.sampling(1.0).max_new_tokens,
        "seed": stage.seed("rollouts"),
        "budget": [spec.budget.limits(), stage.begun, stage.ends, *own],
        **decisive,
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:32]


def _sample(stage: StageContext, items: list[Item], wanted: Row, teacher: Teacher | None) -> list[Row]:
    rows: list[Row] = []
    begun = stage.spent()
    sampling, verified = stage.sampling(wanted["temperature"]), "verifier" in stage.task.offers
    for start in range(0, len(items), _PROMPTS_A_BATCH):
        batch = [item for item in items[start : start + _PROMPTS_A_BATCH] for _ in range(wanted["samples"])]
        prompts, seed = [stage.task.prompt(item) for item in batch], stage.seed("rollouts", start)
        if teacher is None:
            completions = stage.generate(prompts, sampling, seed)
        else:
            completions = teacher.generate(stage, prompts, sampling, seed)
        for item, completion in zip(batch, completions, strict=True):
            grade = stage.task.grade(item, completion.text) if verified else None
            rollout = Rollout(
                item,
                completion.text,
                grade.correct if grade is not None else None,
                grade.well_formed if grade is not None else None,
                completion.truncated,
                len(completion.token_ids),
            )
            rows.append({**{k: v for k, v in asdict(rollout).items() if k != "item"}, "item": item.id})
        if stage.spent() - begun >= wanted["share"]:
            break
    return rows


def _charge_again(stage: StageContext, meters: Meters) -> None:
    """Whoever sampled them has paid; this run pays the same."""
    stage.run.meters.charge(meters)
