"""YAML by the rules of 1.2, with lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.document import Document, scalar
from harness.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e+12", 1e12),
        ("1E6", 1e6),
        (".5", 0.5),
        ("5.", 5.0),
        ("-2e4", -2e4),
        ("1_000", 1000),
        ("010", 10),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("1:30", "1:30"),
        ("2026-11-23", "2026-11-23"),
        ("null", None),
        ("~", None),
        ("[1, 2e0]", [1, 2.0]),
        ("'1e-3'", "1e-3"),
        ("a: b: c", "a: b: c"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    found = scalar(text) if text not in ("null", "~") else Document.parse(f"key: {text}", "x").data["key"]
    assert found == value and type(found) is type(value)


def test_lines_of_values() -> None:
    document = Document.parse("a: 1\nb:\n  - x\n  - {c: 2}\n", "f.yaml")
    assert document.data == {"a": 1, "b": ["x", {"c": 2}]}
    assert document.where(("b", 1, "c")) == "f.yaml, line 4"
    assert document.where(("b", 7)) == "f.yaml, line 2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("a: [1, 2\nb: 3\n", "f.yaml, line 2 is not YAML"),
        ("a: 1\n\tb: 2\n", "line 2 is not YAML"),
        ("a: 1\na: 2\n", "line 2: 'a' is given twice"),
        ("&x a: [*y]\n", "line 1 is not YAML"),
        ("a: &x [*x]\n", "line 1: a value cannot contain itself"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1: tags like"),
        ("a: !!python/name:os.system x\n", "line 1 is not YAML"),
        ("a: 1\n---\nb: 2\n", "line 2 is not YAML"),
        ("a: \x00", "is not YAML"),
    ],
)
def test_mistakes_are_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        Document.parse(text, "f.yaml")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: no such file"):
        Document.read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a directory"):
        Document.read(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    with pytest.raises(UserError, match="UTF-8"):
        Document.read(tmp_path / "latin.yaml")
