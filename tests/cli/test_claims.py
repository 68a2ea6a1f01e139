"""`beyondrl claims`: the whole ledger, one claim, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports.ledger import CLAIMS
from results.ingest import ingest
from tests.cli.conftest import Say


def test_without_a_database_the_ledger_says_what_to_run(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = json.loads(say("claims", "--json").out)
    assert {row["claim"] for row in rows} == {path.stem for path in CLAIMS.glob("*.yaml")}
    assert {row["verdict"] for row in rows} == {"not run"}
    assert {row["evidence"].split()[0] for row in rows} == {"run:", "needs:"}
    answer = say("claims")
    assert answer.code == 0 and "There is no results database at results/data/beyondrl.duckdb yet" in answer.out


def test_the_table_fits_80_columns(monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    from rich.console import Console

    import cli.output

    monkeypatch.setattr(cli.output, "console", lambda: Console(width=80))
    *lines, _ = say("claims").out.splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = [line for line in lines if line.startswith("kron-lora-near-lora")]
    assert "not run" in row and "beyondrl sweep adapters" in row


def test_one_claim_has_its_rule_and_every_contrast(say: Say, swept: Path, tmp_path: Path) -> None:
    """The small sweep has sft beside base and sft-es; no claim can be supported by its two trials on val alone."""
    ingest(swept, tmp_path / "small.duckdb")
    answer = say("claims", "es-above-grpo-flops", "--database", str(tmp_path / "small.duckdb"))
    assert answer.code == 0 and "verdict: not run" in answer.out and "run: beyondrl sweep evolution-flops" in answer.out
    flat = " ".join(answer.out.split())
    assert "es against grpo or dr-grpo on countdown at equal flops: final accuracy is above by 2 points" in flat
    assert "SELECT * FROM reported WHERE paper IN ('es-at-scale', 'eggroll')" in flat
    (row,) = json.loads(say("claims", "es-above-grpo-flops", "--json").out)
    assert row["matters"] == 0.02 and row["verdicts"] == [{"sweep": None, "verdict": "not run"}]


def test_an_unknown_claim_names_the_nearest(say: Say) -> None:
    answer = say("claims", "kron-lora-near-lore")
    assert answer.code == 2
    assert answer.err.strip() == (
        "No claim is called 'kron-lora-near-lore'. Did you mean 'kron-lora-near-lora'? (beyondrl claims)"
    )
