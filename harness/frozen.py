"""What every record of the ground floor is: it cannot change, and refuses keys it does not know."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import UserError, unknown


class Frozen(BaseModel):
    """A record that cannot change and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Options = TypeVar("Options", bound=Frozen)


def read_options(kind: type[Options], given: dict[str, Any], what: str) -> Options:
    """The options of a mapping, called `what` when one of them is not there or not possible: a UserError of one
    sentence."""
    for name in given:
        if name not in kind.model_fields:
            raise unknown(f"{what} option", name, kind.model_fields)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name, why = str(first["loc"][0]), first["msg"]
        raise UserError(f"{what} {name}={given[name]!r} is not possible: {why[0].lower()}{why[1:]}.") from None
