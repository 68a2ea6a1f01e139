"""One figure of a report: its axes while it is drawn, then SVG text that is the same for the same data.

No dates, fixed identifiers. A method keeps its colour and marker through all figures of a report, and no two methods
have both alike, so none is read by colour alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter

from reports.numbers import count

COST_AXES = (
    ("device_seconds", "time", "training and generation time of a run, s"),
    ("flops", "operations", "floating-point operations of a run"),
    ("generated_tokens", "generated tokens", "generated tokens of a run"),
)
Looks = dict[str, tuple[str, str]]
"""Colour and marker of each method."""
_COLOURS = ("#444444", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B")  # Okabe & Ito
_MARKERS = ("s", "o", "^", "D", "v", "P", "X", "*")
_STYLE = {
    "svg.hashsalt": "beyondrl",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


@dataclass(frozen=True)
class Figure:
    """`key` names the file; `text` is the alternative for who cannot see it; a `wide` one has a row for itself."""

    key: str
    text: str
    svg: str
    wide: bool = False


def looks_of(names: Sequence[str]) -> Looks:
    """A look for each method: the eight colours once through, then again with other markers."""
    return {
        name: (_COLOURS[i % len(_COLOURS)], _MARKERS[(i + i // len(_COLOURS)) % len(_MARKERS)])
        for i, name in enumerate(names)
    }


@contextmanager
def panel(key: str, title: str, height: float = 3.1) -> Iterator[tuple[Axes, Any]]:
    """Axes of one figure, and a function that turns them into a `Figure` once they are drawn."""
    with grid(key, title, 1, 1, (4.4, height)) as (_, found, done):
        found[0].set_title(title)
        yield found[0], done


@contextmanager
def grid(
    key: str, title: str, rows: int, columns: int, size: tuple[float, float], shared: str = "xy"
) -> Iterator[tuple[Canvas, Any, Any]]:
    """The canvas and its axes (row by row, `shared` scales equal), and a function that makes the `Figure` of them."""
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=size, layout="constrained")
        axes = canvas.subplots(rows, columns, sharex="x" in shared, sharey="y" in shared, squeeze=False)
        text = io.StringIO()

        def done(summary: str) -> Figure:
            return Figure(key, f"{title}. {summary}.", text.getvalue(), wide=columns > 1)

        yield canvas, axes.flatten(), done
        FigureCanvasSVG(canvas).print_svg(text, metadata={"Date": None, "Creator": None})  # savefig draws twice


def counted(axes: Axes, column: str) -> None:
    """Ticks as counts (1.2T) where the axis has no seconds."""
    if column != "device_seconds":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
