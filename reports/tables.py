"""A table as data, written as Markdown, as HTML or as lines for a terminal: the same cells everywhere."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """`rows` of cells that are already text; columns are right-aligned unless named in `left`.

    A cell that is a key of `links` leads there in HTML.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    left: frozenset[str] = field(default_factory=lambda: frozenset({"method"}))
    links: Mapping[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        """A pipe table; the note follows as a paragraph."""
        rule = [":--" if column in self.left else "--:" for column in self.columns]
        lines = [self._piped(self.columns), self._piped(rule), *(self._piped(row) for row in self.rows)]
        return "\n".join(lines) + (f"\n\n{self.note}" if self.note else "")

    def html(self) -> str:
        """A `<figure>` that scrolls sideways by itself where the screen is narrow."""
        head = "".join(f'<th scope="col"{self._side(c)}>{html.escape(c)}</th>' for c in self.columns)
        body = "".join(f"<tr>{self._html_row(row)}</tr>" for row in self.rows)
        note = f"<figcaption>{html.escape(self.note)}</figcaption>" if self.note else ""
        label = html.escape(self.title)
        return (
            f'<figure class="table"><div class="scroll" tabindex="0" role="region" aria-label="{label}">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}</figure>"
        )

    def lines(self, width: int) -> list[str]:
        """As many columns as fit into `width` characters, from the left; at least the first three."""
        widths = [max(len(row[i]) for row in [self.columns, *self.rows]) for i in range(len(self.columns))]
        shown = len(widths)
        while shown > 3 and sum(widths[:shown]) + 2 * (shown - 1) > width:
            shown -= 1
        return [self._padded(row, widths[:shown]) for row in [self.columns, *self.rows]]

    def _padded(self, row: list[str], widths: list[int]) -> str:
        cells = []
        for column, cell, width in zip(self.columns, row, widths, strict=False):
            cells.append(cell.ljust(width) if column in self.left else cell.rjust(width))
        return "  ".join(cells).rstrip()

    def _piped(self, cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    def _html_row(self, row: list[str]) -> str:
        cells = []
        for index, (column, cell) in enumerate(zip(self.columns, row, strict=True)):
            kind, scope = ("th", ' scope="row"') if self.columns[index] == "method" else ("td", "")
            cells.append(f"<{kind}{scope}{self._side(column)}>{self._linked(cell)}</{kind}>")
        return "".join(cells)

    def _linked(self, cell: str) -> str:
        target = self.links.get(cell)
        text = html.escape(cell)
        return text if target is None else f'<a href="{html.escape(target)}">{text}</a>'

    def _side(self, column: str) -> str:
        return ' class="left"' if column in self.left else ""
