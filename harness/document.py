"""A YAML file as data that remembers its lines, read by the rules of YAML 1.2.

PyYAML follows YAML 1.1, where `1e-3` is text, `on` is true and `1:30` is ninety; here `1e-3` is a number, only `true`
and `false` are booleans, and a key that is given twice is refused. Every mistake is one sentence with its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.errors import UserError, unknown

Place = tuple[str | int, ...]
"""The way to a value: keys and 0-based positions."""


@dataclass(frozen=True)
class Document:
    """The content of a YAML file, and the 1-based line of every value in it."""

    name: str
    text: str
    data: Any
    lines: dict[Place, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file; UserError when it is missing, unreadable, no YAML or empty."""
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{path} is not a text file in UTF-8.") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"{path} cannot be read: {reason}.") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> Document:
        """Parse YAML text; `name` is what a mistake is reported under."""
        lines: dict[Place, int] = {}
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            data = None if node is None else _value(loader, node, (), lines, name, [])
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f", line {mark.line + 1}" if mark else ""
            raise UserError(f"{name}{line} is not YAML: {error.problem or error.context}.") from None
        except yaml.YAMLError as error:
            raise UserError(f"{name} is not YAML: {str(error).splitlines()[0]}.") from None
        if data is None:
            raise UserError(f"{name} is empty.")
        return cls(name, text, data, lines)

    def sentence(self, error: ValidationError, kind: str, keys: Callable[[Place], Iterable[str]]) -> str:
        """The first mistake that a record found in this file, unknown keys before wrong values.

        `kind` is what the file holds, as in `key of a sweep`; `keys` are the keys there are at a place of it.
        """
        first = min(error.errors(), key=lambda mistake: mistake["type"] != "extra_forbidden")
        place: Place = first["loc"]
        where, path = self.where(place), ".".join(map(str, place))
        if first["type"] == "extra_forbidden":
            above = ".".join(map(str, place[:-1]))
            mistake = unknown(f"key of {above!r}" if above else f"key of {kind}", place[-1], keys(place[:-1]))
            return f"{where}: {mistake}"
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        if first["type"] == "missing":
            return f"{where}: {path!r} is missing."
        if first["type"] == "value_error":
            return f"{where}: {message}."
        return f"{where}: {path}={first['input']!r} is not possible: {message[0].lower()}{message[1:]}."

    def part(self, key: str) -> Document:
        """The value under a key as a document of its own, with its lines in this file."""
        inside = {place[1:]: line for place, line in self.lines.items() if place[:1] == (key,)}
        return Document(self.name, self.text, self.data[key], inside)

    def where(self, place: Place) -> str:
        """`file.yaml, line 4`: the line of the nearest value that encloses `place`."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.lines:
                return f"{self.name}, line {self.lines[place[:length]]}"
        return self.name


def scalar(text: str) -> Any:
    """The value of one YAML scalar, flow list or flow mapping, as in `-p rank=8`; other text stands for itself."""
    try:
        value = Document.parse(text, "value").data
    except UserError:
        return text
    block = isinstance(value, (dict, list)) and text.lstrip()[:1] not in ("[", "{")  # `answer: (.+)` is a pattern
    return text if block else value


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value.replace("_", "")))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(node.value.replace("_", "")))


def _value(
    loader: _Loader, node: yaml.Node, place: Place, lines: dict[Place, int], name: str, open_nodes: list[yaml.Node]
) -> Any:
    """Build the value of a node and note its line."""
    if node in open_nodes:
        raise UserError(f"{name}, line {node.start_mark.line + 1}: a value cannot contain itself.")
    lines[place] = node.start_mark.line + 1
    plain: dict[type[yaml.Node], str] = {
        yaml.SequenceNode: "tag:yaml.org,2002:seq",
        yaml.MappingNode: "tag:yaml.org,2002:map",
    }
    if node.tag != plain.get(type(node), node.tag):
        raise UserError(
            f"{name}, line {node.start_mark.line + 1}: tags like {node.tag!r} are not taken; write the value."
        )
    inside = [*open_nodes, node]
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, child, (*place, i), lines, name, inside) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f"{name}, line {line}: a key must be a word.")
            key = str(key_node.value)
            if key in mapping:
                raise UserError(f"{name}, line {line}: {key!r} is given twice; keep one.")
            mapping[key] = _value(loader, child, (*place, key), lines, name, inside)
            lines[(*place, key)] = line
        return mapping
    return loader.construct_object(node)
