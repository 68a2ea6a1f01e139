"""`beyondrl claims`: what the literature says, and what the runs in the database say to it."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import DATABASE, Database, Json
from cli.output import console, show
from harness.errors import unknown


def claims(
    key: Annotated[str | None, typer.Argument(help="One claim, with every contrast about it.")] = None,
    database: Database = DATABASE,
    json: Json = False,
) -> None:
    """Claims of the literature: supported, refuted, inconclusive, not comparable or not run, with the evidence."""
    from reports.claim_rows import judge_all, overview, pairs, rule_text, what_to_do
    from reports.ledger import read_ledger

    ledger = read_ledger()
    if key is None:
        show(overview(judge_all(list(ledger.values()), database)), json)
        if not json and not database.exists():
            _say(f"There is no results database at {database} yet (--database FILE), so nothing is judged.")
        return
    if key not in ledger:
        raise unknown("claim", key, ledger, "beyondrl claims")
    claim = ledger[key]
    judgements = judge_all([claim], database)
    rows = pairs(judgements)
    if json:
        about = claim.model_dump(mode="json", exclude_none=True)
        verdicts = [{"sweep": one.sweep, "verdict": one.verdict} for one in judgements]
        show([{**about, "verdicts": verdicts, "pairs": rows}], json)
        return
    _say(f"{claim.key}: {claim.claim}")
    _say(f"source: {claim.source}")
    if claim.papers:
        papers = ", ".join(f"'{paper}'" for paper in claim.papers)
        _say(f'reported: beyondrl query "SELECT * FROM reported WHERE paper IN ({papers})"')
    _say(f"decided by: {rule_text(claim)}")
    for one in judgements:
        _say(f"verdict: {one.verdict}{f' in sweep {one.sweep}' if one.sweep else ''}")
    _say(what_to_do(claim))
    if rows:
        console().print()
        show(rows, json)


def _say(text: str) -> None:
    console().print(text, markup=False, highlight=False)
