"""What papers, repositories and their critics report: `reported/*.csv`, one file a source, one row a figure.

A row says where the figure stands and what kind of source that is; `certain` is no where it was read off a plot, told
from memory, a bound, an approximation, or where something about it had to be guessed (the note says what). Where two
sources of one figure disagree, both rows stand. Values keep the unit of their source; `papers.csv` names it.
Nothing here was measured by this project.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from harness.errors import UserError, unknown
from harness.frozen import Frozen

REPORTED = Path(__file__).parent / "reported"
PAPERS = Path(__file__).parent / "papers.csv"

Unit = Literal[
    "percent", "share", "points", "percent change", "ratio", "correlation", "reward", "nats", "bits/byte", "norm",
    "count", "millions", "tokens", "tokens/s", "examples/s", "TFLOPs", "seconds", "minutes", "hours", "days",
    "node-hours", "MB", "MiB", "GB", "GiB",
]  # fmt: skip
Source = Literal["table", "text", "plot", "secondary"]
"""A table of the source, a sentence or number in its text, read off a plot, or another's account of it."""

_ANY = (-math.inf, math.inf)
_RANGES: dict[str, tuple[float, float]] = {
    "percent": (0, 100),
    "share": (0, 1),
    "points": (-100, 100),
    "percent change": (-100, math.inf),
    "correlation": (-1, 1),
    "reward": _ANY,
}
"""What a value of a unit can be; everything else is a size, a time or a number of things and not negative."""
_WHOLE = ("count",)
_Record = TypeVar("_Record", bound=Frozen)


class Paper(Frozen):
    """A source of figures."""

    paper: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    reference: str = Field(min_length=1)
    """An arXiv number, a repository, or where else it is."""
    about: str = Field(min_length=1)


class ReportedFigure(Frozen):
    """One figure as its source has it."""

    paper: str
    version: str | None
    """Of the source, where it has versions."""
    where: str = Field(min_length=1)
    """Table, figure or section."""
    model: str | None
    task: str | None
    split: Literal["train", "val", "test"] | None
    size: int | None = Field(ge=1)
    """Items behind the figure, where the source says."""
    method: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    unit: Unit
    value: float = Field(allow_inf_nan=False)
    spread: float | None = Field(ge=0, allow_inf_nan=False)
    """In the value's unit: a standard deviation, or half the width of a range; the note says which."""
    source: Source
    certain: bool
    note: str | None

    @field_validator("certain", mode="before")
    @classmethod
    def _yes_or_no(cls, given: Any) -> Any:
        if given not in ("yes", "no"):
            raise ValueError(f"certain is yes or no, not {given!r}")
        return given == "yes"

    @model_validator(mode="after")
    def _is_possible(self) -> ReportedFigure:
        low, high = _RANGES.get(self.unit, (0, math.inf))
        if not low <= self.value <= high:
            raise ValueError(f"{self.value:g} cannot be a value in {self.unit!r}")
        if self.unit in _WHOLE and not self.value.is_integer():
            raise ValueError(f"a count is a whole number, not {self.value:g}")
        return self

    @property
    def key(self) -> tuple[str | None, ...]:
        """What no two rows of a source share."""
        return (
            self.version, self.where, self.model, self.task, self.split, self.method, self.metric, self.unit,
        )  # fmt: skip


def read_papers(path: Path = PAPERS) -> dict[str, Paper]:
    """Every source by its key; UserError with file and line for a row that is none."""
    papers: dict[str, Paper] = {}
    for line, row in _rows(path, Paper):
        paper = _record(path, line, Paper, row)
        if paper.paper in papers:
            raise UserError(f"{path}, line {line}: {paper.paper!r} stands here twice.")
        papers[paper.paper] = paper
    return papers


def read_reported(folder: Path = REPORTED, papers: Path = PAPERS) -> list[ReportedFigure]:
    """Every reported figure, by file and line; UserError with both for the first mistake."""
    known = read_papers(papers)
    figures: list[ReportedFigure] = []
    for path in sorted(folder.glob("*.csv")):
        if path.stem not in known:
            raise UserError(f"{path}: {unknown('paper', path.stem, known, str(papers))}")
        figures += _read_file(path)
    return figures


def _read_file(path: Path) -> list[ReportedFigure]:
    seen: dict[tuple[str | None, ...], int] = {}
    figures = []
    for line, row in _rows(path, ReportedFigure):
        figure = _record(path, line, ReportedFigure, row)
        if figure.paper != path.stem:
            raise UserError(f"{path}, line {line}: a row of {figure.paper!r} belongs into {figure.paper}.csv.")
        if figure.key in seen:
            raise UserError(f"{path}, line {line}: the same figure stands in line {seen[figure.key]}.")
        seen[figure.key] = line
        figures.append(figure)
    return figures


def _rows(path: Path, model: type[Frozen]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Line and cells of each row, empty cells as None; the header must be the model's fields in their order."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = list(model.model_fields)
        if list(reader.fieldnames or ()) != names:
            raise UserError(f"{path}, line 1: the columns are {','.join(names)}.")
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"{path}, line {reader.line_num}: a row has {len(names)} cells.")
            yield reader.line_num, {name: row[name] or None for name in names}


def _record(path: Path, line: int, model: type[_Record], row: dict[str, str | None]) -> _Record:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if name == "unit":
            known = get_args(Unit)
            raise UserError(f"{path}, line {line}: {unknown('unit', row['unit'], known)}") from None
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        said = f"{name}={row[name]!r} is not possible: {message[0].lower()}{message[1:]}" if name in row else message
        raise UserError(f"{path}, line {line}: {said}.") from None
