"""What papers report: every shipped row can be, and every mistake in a file is one sentence with its line."""

from __future__ import annotations

import csv
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from harness.errors import UserError
from results.database import query
from results.ingest import ingest
from results.literature import PAPERS, REPORTED, ReportedFigure, read_papers, read_reported

FILES = sorted(REPORTED.glob("*.csv"))
COLUMNS = list(ReportedFigure.model_fields)
ROW = {
    "paper": "es-at-scale", "version": "v2", "where": "Table 1", "model": "m", "task": "countdown", "split": "test",
    "size": "2000", "method": "ES", "metric": "accuracy", "unit": "percent", "value": "60.5", "spread": "",
    "source": "table", "certain": "yes", "note": "",
}  # fmt: skip


def test_every_shipped_file_is_read_whole() -> None:
    """Types, units, ranges and duplicates are the reader's own rules; a file that breaks one is not read."""
    figures = read_reported()
    lines = sum(len(list(csv.reader(path.open(newline="", encoding="utf-8")))) - 1 for path in FILES)
    assert len(figures) == lines > 1000
    assert {figure.paper for figure in figures} == set(read_papers()) == {path.stem for path in FILES}


def test_nothing_read_off_a_plot_from_memory_or_about_is_called_certain() -> None:
    doubtful = ("about", "at most", "at least", "up to", "less than", "more than", "from memory")
    for figure in read_reported():
        note = figure.note or ""
        if figure.source == "plot" or note.startswith(doubtful) or "by the context" in note:
            assert not figure.certain, figure


def value(**wanted: str) -> list[float]:
    return [f.value for f in read_reported() if all(getattr(f, name) == what for name, what in wanted.items())]


def test_figures_that_everybody_quotes() -> None:
    """Typed here a second time, from the sources' tables."""
    model = {"model": "Qwen2.5-3B-Instruct", "task": "countdown", "where": "Table 1"}
    assert value(paper="es-at-scale", method="ES", **model) == [60.5]
    assert value(paper="es-at-scale", method="GRPO (VERL, group 8)", **model) == [37.8]
    assert value(paper="lora-squeeze", where="Table 1") == [77.32, 90.08, 90.09, 90.51]
    assert value(paper="kron-lora", model="Mistral-7B", metric="accuracy") == [77.01, 77.42]
    t2l = {"paper": "text-to-lora", "where": "Table 2"}
    assert value(task="mean of 10", method="T2L L", **t2l) == [67.7]
    assert value(task="hellaswag", method="task-specific LoRA (oracle)", **t2l) == [92.6]
    assert value(paper="doc-to-lora", where="Table 4", method="D2L") == [0.866, 0.086]
    peft = {"paper": "peft-method-comparison", "metric": "accuracy"}
    assert value(method="LoRA r32 (alpha 64)", **peft) == [47.8]
    assert value(method="LoKr r32 f4 lr3e-3", **peft) == [46.6]
    assert value(paper="essa", where="heat map", method="ESSA, rank 2, population 96") == [0.893]


def test_where_sources_disagree_both_rows_stand() -> None:
    sudoku = {"paper": "es-at-scale", "task": "sudoku", "method": "ES"}
    assert sorted(value(**sudoku)) == [66.5, 69.5]
    assert sorted(value(paper="doc-to-lora", task="squad", method="D2L, rank 8")) == [0.814, 0.825]


def write(folder: Path, *rows: dict[str, str], columns: list[str] = COLUMNS, name: str = "es-at-scale") -> None:
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": "160.5"}, "line 3: 160.5 cannot be a value in 'percent'"),
        ({"value": "sixty"}, "line 3: value='sixty' is not possible: input should be a valid number"),
        ({"value": ""}, "line 3: value=None is not possible"),
        ({"value": "nan"}, "line 3: value='nan' is not possible"),
        ({"unit": "per cent"}, "line 3: No unit is called 'per cent'. Did you mean 'percent'"),
        ({"unit": "count"}, "line 3: a count is a whole number, not 60.5"),
        ({"unit": "seconds", "value": "-1"}, "line 3: -1 cannot be a value in 'seconds'"),
        ({"certain": "maybe"}, "line 3: certain='maybe' is not possible: certain is yes or no"),
        ({"source": "guess"}, "line 3: source='guess' is not possible"),
        ({"spread": "-0.1"}, "line 3: spread='-0.1' is not possible"),
        ({"method": ""}, "line 3: method=None is not possible"),
        ({"size": "12.5"}, "line 3: size='12.5' is not possible"),
        ({"paper": "essa"}, "line 3: a row of 'essa' belongs into essa.csv"),
        ({}, "line 3: the same figure stands in line 2"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_its_line(tmp_path: Path, change: dict[str, str], sentence: str) -> None:
    write(tmp_path, ROW, {**ROW, **({"method": "GRPO"} if change else {}), **change})
    with pytest.raises(UserError) as error:
        read_reported(tmp_path)
    said = str(error.value)
    assert f"es-at-scale.csv, {sentence}" in said and "\n" not in said


def test_a_file_of_a_paper_nobody_knows_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, ROW, name="es-at-scales")
    with pytest.raises(UserError, match=r"No paper is called 'es-at-scales'\. Did you mean 'es-at-scale'"):
        read_reported(tmp_path)


def test_columns_and_cells_are_counted(tmp_path: Path) -> None:
    write(tmp_path, ROW, columns=COLUMNS[:-1])
    with pytest.raises(UserError, match=r"es-at-scale.csv, line 1: the columns are paper,version,where"):
        read_reported(tmp_path)
    (tmp_path / "es-at-scale.csv").write_text(",".join(COLUMNS) + "\nes-at-scale,v2\n")
    with pytest.raises(UserError, match="line 2: a row has 15 cells"):
        read_reported(tmp_path)


def test_the_database_answers_questions_about_them(tmp_path: Path) -> None:
    """With no run at all, twice, and after a rebuild: the same rows."""
    runs, database = tmp_path / "runs", tmp_path / "d.duckdb"
    runs.mkdir()
    asked = "SELECT value, spread, certain FROM reported JOIN papers USING (paper) ORDER BY ALL"
    ingest(runs, database)
    first = query(database, asked)[1]
    assert len(first) == len(read_reported())
    ingest(runs, database)
    assert query(database, asked)[1] == first
    ingest(runs, database, rebuild=True)
    assert query(database, asked)[1] == first
    best = "SELECT value FROM reported WHERE paper = 'essa' AND \"where\" = 'heat map' ORDER BY value DESC LIMIT 1"
    assert query(database, best)[1] == [(0.893,)]


def test_the_files_are_in_the_package() -> None:
    root = PAPERS.parents[1]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["results"]
    for path in [PAPERS, *FILES, PAPERS.with_name("reported.sql")]:
        name = str(path.relative_to(PAPERS.parent))
        assert any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns)
