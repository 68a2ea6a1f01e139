"""Tables as CSV, Parquet and LaTeX: numbers are numbers, nothing is lost, and the same table gives the same bytes."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as parquet

from reports.table_files import columns_of, latex, write_rows, write_tables
from reports.tables import Table

TABLE = Table(
    "Some",
    ["method", "accuracy", "vs base", "seeds", "time"],
    [["a_1", "37.1 [35.0, 39.2]", "+2.0 [-1.0, 5.0]", "3", "41 s"], ["base", "35.1 [30.0, 40.0]", "", "1,200", "n/a"]],
    "50% of it",
)


def test_intervals_become_three_columns_of_numbers_and_what_is_missing_stays_missing() -> None:
    assert columns_of(TABLE) == {
        "method": ["a_1", "base"],
        "accuracy": [37.1, 35.1],
        "accuracy low": [35.0, 30.0],
        "accuracy high": [39.2, 40.0],
        "vs base": [2.0, None],
        "vs base low": [-1.0, None],
        "vs base high": [5.0, None],
        "seeds": [3, 1200],
        "time": ["41 s", None],
    }


def test_the_files_hold_the_same_and_are_the_same_bytes_again(tmp_path: Path) -> None:
    empty = Table("None", ["method"], [])
    written = write_tables({"some": TABLE, "none": empty}, tmp_path / "one")
    assert [path.name for path in written] == ["some.csv", "some.parquet", "some.tex"]
    assert parquet.read_table(tmp_path / "one/some.parquet").to_pydict() == columns_of(TABLE)
    with (tmp_path / "one/some.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["accuracy high"] == "39.2" and rows[1]["vs base"] == ""
    for again in write_tables({"some": TABLE}, tmp_path / "two"):
        assert again.read_bytes() == (tmp_path / "one" / again.name).read_bytes()


def test_latex_escapes_what_would_break_it() -> None:
    text = latex(Table("T", ["method", "x"], [["a_b & c", "5%\n[1, 2]"], ["{d}", "[3, 4]"]], "a note"))
    assert r"a\_b \& c & 5\% [1, 2] \\" in text and r"\{d\} & {[3, 4]} \\" in text
    assert text.startswith("% T\n% a note\n\\begin{tabular}{lr}\n\\toprule") and text.endswith("\\end{tabular}\n")


def test_raw_rows_keep_types_and_gaps(tmp_path: Path) -> None:
    write_rows("runs", [{"run": "a", "flops": 1e12, "steps": 3}, {"run": "b", "flops": None, "steps": 4}], tmp_path)
    found = parquet.read_table(tmp_path / "runs.parquet").to_pydict()
    assert found == {"run": ["a", "b"], "flops": [1e12, None], "steps": [3, 4]}
