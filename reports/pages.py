"""Templates to files: HTML pages that stand alone, style and pictures inside, and Markdown; always the same bytes."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.atomic import write_text
from reports.tables import Table

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(path: Path, template: str, parts: dict[str, Any]) -> None:
    """Render a template into a file that appears whole or not at all; `.html` templates escape what they show."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _environment(".html" in template).get_template(template).render(parts))


@cache
def _environment(escaped: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=escaped,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["table"] = _table
    return environment


def _table(table: Table) -> Markup:
    return Markup(table.html())


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
