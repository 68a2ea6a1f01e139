"""Rollouts of the start policy, graded: what preference pairs and pointwise labels are made from.

Sampled once and kept with what they cost under the name of everything that decides them (start weights, task, seed,
settings, budget): every method and every attempt that asks for the same rollouts reads the same file and is charged
the same. Sampling stops after `prompts` prompts or at `share` of the stage's budget, whichever comes first.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.atomic import write_json
from harness.contracts import Item
from harness.record import Meters

if TYPE_CHECKING:
    from harness.context import StageContext

_PROMPTS_A_BATCH = 64


@dataclass(frozen=True)
class Rollout:
    """One graded completion."""

    item: Item
    text: str
    correct: bool
    well_formed: bool
    truncated: bool
    tokens: int


def start_rollouts(stage: StageContext, prompts: int, samples: int, temperature: float, share: float) -> list[Rollout]:
    """`samples` completions of the stage's start policy for each training prompt, in order."""
    wanted = {"prompts": prompts, "samples": samples, "temperature": temperature, "share": share}
    path = stage.run.directory.rollouts / f"{_key(stage, wanted)}.json"
    items = {item.id: item for item in stage.train_items(prompts)}
    if path.exists():
        stored = json.loads(path.read_text())
        if stage.resume_from is None:
            _charge_again(stage, Meters(**stored["meters"]))
        stage.run.events.write("rollouts", file=path.name, sampled_here=False)
    else:
        before = stage.run.meters.read()
        rows = _sample(stage, list(items.values()), samples, temperature, share)
        stored = {"rows": rows, "meters": _difference(before, stage.run.meters.read())}
        path.parent.mkdir(exist_ok=True)
        write_json(path, stored)
        stage.run.events.write("rollouts", file=path.name, sampled_here=True)
    return [Rollout(item=items[row.pop("item")], **row) for row in stored["rows"]]


def _key(stage: StageContext, wanted: dict[str, Any]) -> str:
    """32 hexadecimal digits over everything that decides the rollouts."""
    spec = stage.run.spec
    own = [] if stage.own_budget is None else [stage.own_budget.limits()]
    decisive = {
        "weights": stage.policy.digest(),
        "task": spec.task.content(),
        "control": spec.control,
        "limit": stage.sampling(1.0).max_new_tokens,
        "seed": stage.seed("rollouts"),
        "budget": [spec.budget.limits(), stage.begun, stage.ends, *own],
        **wanted,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]


def _sample(
    stage: StageContext, items: list[Item], samples: int, temperature: float, share: float
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    begun = stage.spent()
    for start in range(0, len(items), _PROMPTS_A_BATCH):
        batch = [item for item in items[start : start + _PROMPTS_A_BATCH] for _ in range(samples)]
        completions = stage.generate(
            [stage.task.prompt(item) for item in batch], stage.sampling(temperature), stage.seed("rollouts", start)
        )
        for item, completion in zip(batch, completions, strict=True):
            grade = stage.task.grade(item, completion.text)
            rollout = Rollout(
                item, completion.text, grade.correct, grade.well_formed, completion.truncated, len(completion.token_ids)
            )
            rows.append({**{k: v for k, v in asdict(rollout).items() if k != "item"}, "item": item.id})
        if stage.spent() - begun >= share:
            break
    return rows


def _difference(before: Meters, after: Meters) -> dict[str, float]:
    old = before.model_dump()
    return {name: value - old[name] for name, value in after.model_dump().items()}


def _charge_again(stage: StageContext, meters: Meters) -> None:
    """Whoever sampled them has paid; this run pays the same."""
    stage.run.meters.count(**meters.model_dump())
