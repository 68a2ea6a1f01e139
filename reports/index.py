"""The index page over all reports of a folder: what each compared, and its answer in a sentence.

It reads the reports themselves, `FOLDER/NAME.html` and `FOLDER/NAME/NAME.html`, and holds nothing that is not in them:
the same reports give the same index.
"""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from harness.errors import UserError
from reports.pages import write_page

NAME = "index.html"


@dataclass(frozen=True)
class Entry:
    """A report: where it lies from the index, and its own words."""

    href: str
    markdown: str | None
    name: str
    title: str
    headline: str
    verdict: str


def write_index(folder: Path, entries: list[Entry] | None = None) -> Path:
    """Write `<folder>/index.html` over `entries`, or what `find_reports` finds; UserError where there is no report."""
    entries = find_reports(folder) if entries is None else entries
    if not entries:
        raise UserError(f"There is no report in {folder} to make an index of (beyondrl report SWEEP --out {folder}).")
    write_page(folder / NAME, "index.html.j2", {"entries": entries})
    return folder / NAME


def find_reports(folder: Path) -> list[Entry]:
    """Every report of the folder, by name."""
    pages = [path for path in folder.glob("*.html") if path.name != NAME]
    pages += [path for path in folder.glob("*/*.html") if path.stem == path.parent.name]
    found = [entry for path in sorted(pages, key=lambda one: (one.stem, str(one))) if (entry := _read(path, folder))]
    return found


def _read(path: Path, folder: Path) -> Entry | None:
    """None for a page that is not one of our reports."""
    reader = _Reader()
    with path.open() as page:
        for line in page:
            reader.feed(line)
            if reader.done:  # what follows are tables and pictures
                break
    if not reader.words["headline"] or not reader.words["verdict"]:
        return None
    markdown = path.with_suffix(".md")
    return Entry(
        href=path.relative_to(folder).as_posix(),
        markdown=markdown.relative_to(folder).as_posix() if markdown.exists() else None,
        name=path.stem,
        title=" ".join(reader.words["title"].split()),
        headline=" ".join(reader.words["headline"].split()),
        verdict=" ".join(reader.words["verdict"].split()),
    )


class _Reader(HTMLParser):
    """Keeps the text of the title, of the headline and of the first sentence of the verdict."""

    def __init__(self) -> None:
        super().__init__()
        self.words = {"title": "", "headline": "", "verdict": ""}
        self._into: str | None = None
        self._in_verdict = False

    @property
    def done(self) -> bool:
        """Whether the first sentence of the verdict has been read to its end."""
        return bool(self.words["verdict"]) and self._into is None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if tag == "title" and not self.words["title"]:
            self._into = "title"
        elif tag == "p" and "headline" in classes and not self.words["headline"]:
            self._into = "headline"
        elif tag == "div" and "verdict" in classes:
            self._in_verdict = True
        elif tag == "p" and self._in_verdict and not self.words["verdict"]:
            self._into = "verdict"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("title", "p"):
            self._into = None
        elif tag == "div":
            self._in_verdict = False

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self.words[self._into] += data
