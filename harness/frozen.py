"""What every record of the ground floor is: it cannot change, and refuses keys it does not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A record that cannot change and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
