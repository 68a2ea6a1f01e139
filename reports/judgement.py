"""The verdict on a claim: supported, refuted, inconclusive, not comparable or not run, with the evidence for it.

A contrast supports `above` when its 95% interval is above zero and its estimate reaches what matters, and refutes it
when the interval stays below what matters; `below` is the mirror. It supports `near` when the interval stays above
minus what matters, and refutes it when the first arm is surely worse and by as much as matters. It supports `equal`
when the interval lies within what matters on both sides, and refutes it when the difference is sure and matters. Else
it is inconclusive.

In a sweep a claim must hold against every baseline (the weakest verdict counts), and for every arm that it is about.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from reports.effects import Effect, accuracy_difference, effect
from reports.fairness import broken_rules, lost_untuned
from reports.ledger import Claim
from reports.statistics import Estimate
from reports.sweep_data import MethodData, SweepData

Verdict = Literal["supported", "refuted", "inconclusive", "not comparable", "not run"]
_WEAKEST: tuple[Verdict, ...] = ("refuted", "not comparable", "inconclusive", "supported")


@dataclass(frozen=True)
class Finding:
    """What one pair of arms says; `broken` are the rules that it breaks, and without an effect it says nothing."""

    first: str
    second: str
    verdict: Verdict
    effect: Effect | None
    broken: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """A claim in a sweep; `sweep` is None, and there are no findings, where no sweep has both arms."""

    claim: Claim
    sweep: str | None
    verdict: Verdict
    findings: tuple[Finding, ...] = ()


def judge(claim: Claim, sweeps: list[SweepData]) -> list[Judgement]:
    """A judgement for every sweep that has both arms of the claim, or one that says that none has.

    A claim that needs more than a sweep of its arms is not judged by one.
    """
    found = []
    for sweep in sweeps if claim.run is not None else ():
        findings = _findings(claim, sweep)
        if findings:
            found.append(Judgement(claim, sweep.sweep["sweep"], _whole(findings), tuple(findings)))
    return found or [Judgement(claim, None, "not run")]


def decide(claim: Claim, value: Estimate) -> Verdict:
    """The verdict of an estimate on the scale of the claim's threshold."""
    mean, low, high = value.mean, value.low, value.high
    matters = claim.threshold
    if claim.expect == "below":
        mean, low, high = -mean, -high, -low
    sure = low > 0 or high < 0
    match claim.expect:
        case "above" | "below":
            supported, refuted = low > 0 and mean >= matters, high < matters
        case "near":
            supported, refuted = low > -matters, high < 0 and mean <= -matters
        case "equal":
            supported, refuted = -matters < low and high < matters, sure and abs(mean) >= matters
    return "supported" if supported else "refuted" if refuted else "inconclusive"


def seeds_to_decide(claim: Claim, effect: Effect) -> int | None:
    """With how many seeds a verdict would be likely (4 of 5 cases) if the truth is the present estimate.

    The interval must then be shorter than the estimate's distance from the bound that the verdict turns on. None where
    that would take more than seeds.
    """
    mean, matters = effect.estimate.mean, claim.threshold
    if claim.expect == "below":
        mean = -mean
    match claim.expect:
        case "above" | "below":
            distance = mean if mean >= matters else matters - mean
        case "near":
            distance = -mean if mean <= -matters else mean + matters
        case "equal":
            distance = abs(mean) if abs(mean) >= matters else matters - abs(mean)
    return effect.seeds(distance)


def _findings(claim: Claim, sweep: SweepData) -> list[Finding]:
    if claim.tasks and sweep.sweep["task"] not in claim.tasks:
        return []
    settings = sweep.sweep["task_parameters"]
    if any(settings.get(name) != value for name, value in claim.settings.items()):
        return []
    arms = [method for method in sweep.methods if method.runs and not any(run["control"] for run in method.runs)]
    pairs = [(a, b) for a in arms for b in arms if a is not b and _are_a_pair(claim, a, b)]
    eligible = [pair for pair in pairs if _gain(claim, *pair) is None]
    return [_finding(claim, sweep, *pair) for pair in eligible or pairs]


def _are_a_pair(claim: Claim, first: MethodData, second: MethodData) -> bool:
    rests, settings = [], []
    for arms, one in ((claim.first, first), (claim.second, second)):
        settings.append(json.loads(one.runs[0]["parameters"]))
        rests.append(arms.rest(one.runs[0]["method"], settings[-1]))
    if None in rests or rests[0] != rests[1]:
        return False
    if any(settings[0].get(name) != settings[1].get(name) for name in claim.alike):
        return False
    if claim.parameters is not None:
        trained = [one.runs[0]["trainable_parameters"] or 0 for one in (first, second)]
        return bool(trained[0] <= claim.parameters * trained[1])
    return True


def _finding(claim: Claim, sweep: SweepData, first: MethodData, second: MethodData) -> Finding:
    broken = broken_rules(claim, sweep, first, second)
    gain = _gain(claim, first, second)
    if gain is not None:
        broken.append(gain)
    measured = effect(claim, first, second) if not broken else None
    if not broken and measured is None:
        broken.append(_MISSING[claim.estimand])
    verdict: Verdict = "not comparable" if measured is None else decide(claim, measured.estimate)
    excuse = lost_untuned(first, second) if verdict == "refuted" else None
    if excuse is not None:
        return Finding(first.name, second.name, "not comparable", None, (excuse,))
    return Finding(first.name, second.name, verdict, measured, tuple(broken))


_MISSING = {
    "accuracy": "there are no scores",
    "spread": "the seeds of an arm all scored the same",
    "seconds": "there are no times",
    "length": "there are no lengths",
    "retention": "the sweep watches no probes",
}


def _gain(claim: Claim, first: MethodData, second: MethodData) -> str | None:
    """How far apart the arms' accuracies are, where the claim wants them equal and they are not."""
    if claim.equal_gain is None:
        return None
    cells = accuracy_difference(first, second)
    apart = abs(float(cells.mean())) if cells.size else 1.0
    return None if apart <= claim.equal_gain else f"unequal gains: {100 * apart:.1f} points apart"


def _whole(findings: list[Finding]) -> Verdict:
    """Against every baseline, for every arm that the claim is about."""
    by_arm = groupby(sorted(findings, key=lambda one: one.first), key=lambda one: one.first)
    verdicts = {min((one.verdict for one in group), key=_WEAKEST.index) for _, group in by_arm}
    return verdicts.pop() if len(verdicts) == 1 else "inconclusive"
