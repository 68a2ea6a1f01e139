"""What listings say of a setting's type."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import create_model

from harness.parameters import parameters_of


def test_choices_are_listed_and_none_goes_without_saying() -> None:
    schema = create_model(
        "schema",
        way=(Literal["fast", "slow"], "fast"),
        maybe=(Annotated[Literal["a", "b"] | None, "one of two"], None),
        rate=(float, 1.0),
        count=(int | None, None),
    )
    assert {name: one.type for name, one in parameters_of(schema).items()} == {
        "way": "fast | slow", "maybe": "a | b", "rate": "float", "count": "int"
    }  # fmt: skip
