"""The rules without which a contrast decides nothing: each says in a few words how it is broken, or nothing.

Three shared seeds, all planned final runs finished, the test split, one engine and one way of decoding, equal budgets
on the claim's meter and about equally spent (unless what spent less has every question right: more would not have
helped it), a baseline that was tuned as often as what it is compared with (and what loses to it as often as it was),
and, for times, one kind of machine. Where
the untouched base is beside them and neither arm has moved away from it, in either direction, what they would differ in
was not learnt: that decides nothing about accuracy or its spread. An arm that trains nothing has no budget and nothing
to tune.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from reports.comparison import BASELINE, SEEDS_TO_RANK
from reports.effects import accuracy_difference, shared_seeds
from reports.ledger import Claim
from reports.statistics import Estimate, estimate
from reports.sweep_data import MethodData, SweepData

SPENT = 1.25
"""Budgets are spent about equally when neither arm used more than this many times what the other used."""


def broken_rules(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> list[str]:
    """How the contrast of two arms breaks the rules; empty where it may decide the claim."""
    rules = (_seeds, _finished, _split, _engine, _budget, _tuned, _machines, _moved)
    return [broken for rule in rules for broken in rule(claim, sweep, first, second)]


def trains(method: MethodData) -> bool:
    """Whether its runs moved anything."""
    return any(run["steps"] for run in method.runs)


def _seeds(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> Iterator[str]:
    count = len(shared_seeds(first, second))
    if count < SEEDS_TO_RANK:
        yield f"{count} shared {'seed' if count == 1 else 'seeds'}, a verdict takes {SEEDS_TO_RANK}"


def _finished(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> Iterator[str]:
    for one in (first, second):
        if len(one.runs) < one.planned_finals:
            yield f"{one.name} has {len(one.runs)} of {one.planned_finals} final runs"


def _split(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> Iterator[str]:
    if sweep.sweep["final_evaluation"]["split"] != "test":
        yield "scored on val, where settings are chosen"


def _engine(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> Iterator[str]:
    protocols = [json.loads(run["evaluation"]) for one in (first, second) for run in one.runs]
    engines = sorted({protocol["engine"] for protocol in protocols})
    if len(engines) > 1:
        yield f"mixed engines: {' and '.join(engines)}"
    rest = {json.dumps({**protocol, "engine": None}, sort_keys=True) for protocol in protocols}
    if len(rest) > 1:
        yield "answers were decoded or chosen differently"


def _budget(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> Iterator[str]:
    if not (trains(first) and trains(second)):
        return
    budgets = [json.loads(run["budget"]) for one in (first, second) for run in one.runs]
    if any(budget != budgets[0] for budget in budgets):
        yield "unequal budgets"
        return
    limited = list(budgets[0])
    if claim.budget is not None and limited != [claim.budget]:
        yield f"the budget is {_words(limited)}, not {_words([claim.budget])}"
        return
    spent = [[sum(run[meter] for run in one.runs) / len(one.runs) for meter in limited] for one in (first, second)]
    if claim.estimand == "accuracy" and _is_right_everywhere(first if spent[0] < spent[1] else second):
        return
    if all(max(a, b) > SPENT * min(a, b) for a, b in zip(*spent, strict=True)):
        shares = " and ".join(f"{one[0] / budgets[0][limited[0]]:.0%}" for one in spent)
        yield f"budget unequally spent: {shares}"


def _is_right_everywhere(method: MethodData) -> bool:
    return bool(method.scores.size and (method.scores == 1).all())


def _tuned(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> Iterator[str]:
    if not trains(second):
        return
    trials = [len(one.trials) for one in (first, second)]
    if trials[1] == 0:
        yield f"untuned baseline: no trials of {second.name}"
    elif trials[0] > trials[1]:
        yield f"{trials[0]} trials of {first.name}, {trials[1]} of {second.name}"


def lost_untuned(first: MethodData, second: MethodData) -> str | None:
    """What speaks against a refutation: the first arm was tuned less than what it did not keep up with."""
    if not trains(first) or len(first.trials) >= len(second.trials):
        return None
    return f"{len(first.trials)} trials of {first.name}, {len(second.trials)} of {second.name}"


def _machines(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> Iterator[str]:
    places = {(place["cpu"], place["gpu"], place["threads"]) for place in sweep.environments}
    if claim.estimand == "seconds" and len(places) > 1:
        yield f"{len(places)} kinds of machines"


def _moved(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> Iterator[str]:
    base = next((one for one in sweep.methods if one.name == BASELINE and one.runs), None)
    if claim.estimand not in ("accuracy", "spread") or base is None or not (trains(first) and trains(second)):
        return
    cells = [accuracy_difference(one, base) for one in (first, second)]
    if all(one.size for one in cells) and not any(_is_sure(estimate(one)) for one in cells):
        yield "neither arm has moved away from the base, so nothing was learnt that could differ"


def _is_sure(value: Estimate) -> bool:
    return value.low > 0 or value.high < 0


def _words(meters: list[str]) -> str:
    return " and ".join(meter.replace("_", " ") for meter in meters) or "none"
