"""The metrics of several engines as one page in Prometheus's text format: a family once, a sample with its server.

The page of a single engine is passed on as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?( .*)")


def together(pages: Mapping[str, str]) -> str:
    """The pages by the name of their engine; a label `server` tells their samples apart."""
    if len(pages) == 1:
        return next(iter(pages.values()))
    comments: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for name, page in pages.items():
        family = ""
        label = 'server="{}"'.format(name.replace("\\", "\\\\").replace('"', '\\"'))
        for line in page.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                family = line.split(" ", 3)[2]
                known = comments.setdefault(family, [])
                if not any(line.split(" ", 3)[:3] == other.split(" ", 3)[:3] for other in known):
                    known.append(line)
            elif (match := _SAMPLE.fullmatch(line)) is not None:
                labels = ",".join(filter(None, (label, match[2])))
                samples.setdefault(family, []).append(f"{match[1]}{{{labels}}}{match[3]}")
    families = [*comments, *(family for family in samples if family not in comments)]
    lines = [line for family in families for line in (*comments.get(family, ()), *samples.get(family, ()))]
    return "\n".join(lines) + "\n"
