"""Reported beside measured: each verdict on the finished small sweep, with figures made to fit."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from harness.errors import UserError
from reports.reproduction import Expected, reproduction
from results.database import query
from results.ingest import ingest


@pytest.fixture
def database(swept: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.duckdb"
    ingest(swept, path)
    return path


def expected(arm: str = "sft", differs: str | None = None, method: str = "ES") -> Expected:
    return Expected(arm, "es-at-scale", "Table 1", "Qwen2.5-3B-Instruct", "countdown", method, "accuracy", differs)


def report(database: Path, value: float, size: int = 2000, certain: bool = True) -> None:
    """Make the paper say something else."""
    with duckdb.connect(str(database)) as connection:
        connection.execute(
            "UPDATE reported SET value = ?, size = ?, certain = ? "
            "WHERE paper = 'es-at-scale' AND \"where\" = 'Table 1' AND method = 'ES'",
            [value, size, certain],
        )


def only(database: Path, one: Expected) -> dict[str, object]:
    (row,) = reproduction(database, "small", [one])
    return row


def test_a_figure_far_away_is_not_reproduced(database: Path) -> None:
    report(database, 100.0)
    row = only(database, expected())
    ((accuracy,),) = query(database, "SELECT accuracy FROM leaderboard WHERE sweep = 'small' AND method = 'sft'")[1]
    assert row["verdict"] == "not reproduced" and row["reported"] == "100.0"
    assert str(row["measured"]).startswith(f"{100 * accuracy:.1f} [")


def test_a_margin_that_is_too_wide_decides_nothing(database: Path) -> None:
    ((accuracy,),) = query(database, "SELECT accuracy FROM leaderboard WHERE sweep = 'small' AND method = 'sft'")[1]
    report(database, 100 * accuracy, certain=False)
    row = only(database, expected())
    assert row["verdict"] == "inconclusive" and str(row["remark"]).endswith("the reported figure is uncertain")


def test_agreement_within_a_narrow_margin_is_reproduced(database: Path) -> None:
    """1,200 items that are all right leave 0.3 points; the rest is the report's own error, 1.4 points."""
    with duckdb.connect(str(database)) as connection:
        connection.execute("UPDATE samples SET correct = (item_index % 2 = 0)")
    report(database, 50.0, size=10**6)
    wide = only(database, expected())
    with duckdb.connect(str(database)) as connection:
        connection.execute("UPDATE samples SET correct = true")
        connection.execute(
            "INSERT INTO samples SELECT samples.* REPLACE (item_index + 12 * k AS item_index, item_id || k AS item_id) "
            "FROM samples, range(1, 100) AS more(k)"
        )
    report(database, 99.0, size=200)
    narrow = only(database, expected())
    assert (wide["verdict"], narrow["verdict"]) == ("inconclusive", "reproduced")
    assert narrow["remark"] == "1.0 points apart, margin 1.4"


def test_other_settings_few_seeds_and_missing_arms(database: Path) -> None:
    assert only(database, expected(differs="another model"))["verdict"] == "not comparable"
    assert only(database, expected(arm="grpo"))["verdict"] == "not run"
    assert reproduction(database, "never", [expected()])[0]["verdict"] == "not run"
    with duckdb.connect(str(database)) as connection:
        connection.execute("DELETE FROM finals WHERE sweep = 'small' AND method = 'sft' AND position > 1")
    row = only(database, expected())
    assert (row["verdict"], row["remark"]) == ("inconclusive", "2 seeds, a verdict takes 3")


def test_a_figure_that_nobody_reports_is_said_so(database: Path) -> None:
    with pytest.raises(UserError, match="es-at-scale reports no accuracy of 'GRPO' on countdown"):
        only(database, expected(method="GRPO"))
