"""The ledger as rows: one a claim and sweep for the overview, one a pair of arms for a single claim.

The terminal, JSON and the comparison report show the same words.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from reports.judgement import Finding, Judgement, judge, seeds_to_decide
from reports.ledger import RATIOS, Claim, read_ledger
from reports.numbers import interval
from reports.statistics import Estimate
from reports.sweep_data import SweepData, read_sweep_data
from reports.tables import Table
from results.database import query

Row = dict[str, Any]
_EXPECTED = {
    "above": "is above by {} or more",
    "below": "is below by {} or more",
    "near": "is not worse by {}",
    "equal": "differs by less than {}",
}
_ESTIMANDS = {
    "accuracy": "final accuracy",
    "spread": "standard deviation of final accuracy over seeds",
    "seconds": "device seconds",
    "length": "tokens of an answer",
    "retention": "change of accuracy on probes that were not trained on",
}


def judge_all(claims: list[Claim], database: Path) -> list[Judgement]:
    """Every claim on every sweep of the database; not run where there is no database yet."""
    sweeps = _sweeps(database) if database.exists() else []
    return [judgement for claim in claims for judgement in judge(claim, sweeps)]


def overview(judgements: list[Judgement]) -> list[Row]:
    """`claim`, `verdict`, `evidence`: the pairs that decide, the rules that are broken, or what to do.

    Sweeps that cannot be compared are left out where another one can.
    """
    comparable = {one.claim.key for one in judgements if one.verdict != "not comparable"}
    return [
        {"claim": one.claim.key, "verdict": one.verdict, "evidence": _evidence(one)}
        for one in judgements
        if one.verdict != "not comparable" or one.claim.key not in comparable
    ]


def claims_table(data: SweepData) -> Table:
    """The claims of the ledger that a sweep has both arms for; no rows where it has none."""
    judgements = [one for claim in read_ledger().values() for one in judge(claim, [data]) if one.findings]
    rows = [
        [one.claim.claim, one.verdict, "\n".join(pair_text(one.claim, f) for f in _deciding(one))] for one in judgements
    ]
    note = (
        "Claims of the literature with both arms in this sweep, by the rules of the ledger (beyondrl claims KEY has "
        "each one's source, smallest effect that matters and rule). What holds for this model, task and budget need "
        "not hold for others."
    )
    columns = ["claim", "verdict", "evidence"]
    return Table("Claims", columns, rows, note, frozenset(columns))


def claims_across(sweeps: list[SweepData], tasks: list[str]) -> Table:
    """Claims with both arms in these sweeps: a row a claim, a column a task."""
    rows = []
    for claim in read_ledger().values():
        found = [[one for one in judge(claim, [data]) if one.findings] for data in sweeps]
        if any(found):
            cells = ["\n".join(_verdict_and_pairs(one) for one in of_task) or "-" for of_task in found]
            rows.append([claim.claim, *cells])
    note = (
        "Verdicts by the rules of the ledger (beyondrl claims KEY has each claim's source, smallest effect that "
        "matters and rule), task by task, each at its own level of error: of twenty true zeros one looks like a "
        "difference."
    )
    return Table("Claims", ["claim", *tasks], rows, note, frozenset({"claim", *tasks}))


def _verdict_and_pairs(judgement: Judgement) -> str:
    return "\n".join([judgement.verdict, *(pair_text(judgement.claim, one) for one in _deciding(judgement))])


def pairs(judgements: list[Judgement]) -> list[Row]:
    """`sweep`, `first`, `second`, `verdict`, `effect` and `remark` of every pair."""
    return [
        {
            "sweep": one.sweep,
            "first": finding.first,
            "second": finding.second,
            "verdict": finding.verdict,
            "effect": effect_text(one.claim, finding),
            "remark": "; ".join(finding.broken) or _seeds_text(one.claim, finding),
        }
        for one in judgements
        for finding in one.findings
    ]


def pair_text(claim: Claim, finding: Finding) -> str:
    """`es against grpo: +3.1 [0.2, 6.0] points`, or the rules that are broken."""
    said = "; ".join(finding.broken) or effect_text(claim, finding)
    remark = "" if finding.broken else _seeds_text(claim, finding)
    return f"{finding.first} against {finding.second}: {said}{f' ({remark})' if remark else ''}"


def effect_text(claim: Claim, finding: Finding) -> str | None:
    """A difference in points, or a factor, with its 95% interval."""
    if finding.effect is None:
        return None
    value: Estimate = finding.effect.estimate
    if claim.estimand in RATIOS:
        return f"x{math.exp(value.mean):.2f} [{math.exp(value.low):.2f}, {math.exp(value.high):.2f}]"
    return f"{interval(value, signed=True)} points"


def rule_text(claim: Claim) -> str:
    """What would decide the claim, in one sentence."""
    amount = f"a factor of {claim.matters:g}" if claim.estimand in RATIOS else f"{100 * claim.matters:g} points"
    budget = f" at equal {claim.budget.replace('_', ' ')}" if claim.budget is not None else ""
    tasks = f" on {' or '.join(claim.tasks)}" if claim.tasks else ""
    tasks += "".join(f", {name.replace('_', ' ')} {value}" for name, value in claim.settings.items())
    arms = f"{' or '.join(claim.first.method)} against {' or '.join(claim.second.method)}"
    alike = f" of the same {' and '.join(claim.alike)}" if claim.alike else ""
    few = f", with at most {claim.parameters:.0%} of the parameters" if claim.parameters is not None else ""
    gain = f", where gains are within {100 * claim.equal_gain:g} points" if claim.equal_gain is not None else ""
    expected = _EXPECTED[claim.expect].format(amount)
    return f"{arms}{alike}{tasks}{budget}{few}{gain}: {_ESTIMANDS[claim.estimand]} {expected}."


def what_to_do(claim: Claim) -> str:
    """The command that would decide a claim, or what it needs."""
    return f"run: {claim.run}" if claim.run is not None else f"needs: {claim.needs}"


def _seeds_text(claim: Claim, finding: Finding) -> str:
    """How many seeds a verdict would take where there is none yet."""
    if finding.verdict != "inconclusive" or finding.effect is None:
        return ""
    seeds = seeds_to_decide(claim, finding.effect)
    return "seeds alone will not decide it" if seeds is None else f"a verdict takes about {seeds} seeds"


def _evidence(judgement: Judgement) -> str:
    if not judgement.findings:
        return what_to_do(judgement.claim)
    said = "; ".join(pair_text(judgement.claim, finding) for finding in _deciding(judgement))
    return f"{judgement.sweep}: {said}"


def _deciding(judgement: Judgement) -> list[Finding]:
    """The pairs with the verdict of the whole; all of them where their verdicts differ from it."""
    return [one for one in judgement.findings if one.verdict == judgement.verdict] or list(judgement.findings)


def _sweeps(database: Path) -> list[SweepData]:
    _, rows = query(database, "SELECT sweep FROM sweeps ORDER BY sweep")
    return [read_sweep_data(database, str(name)) for (name,) in rows]
