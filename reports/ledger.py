"""The claims ledger: `claims/*.yaml`, sentences of the literature and what would decide them, one file a claim.

A claim names two arms by registered methods (`*` stands for the rest of a composition, the same in both arms), the
meter on which their budgets must be equal, what is estimated, and the smallest effect that matters. `expect` is the
claim:

- `above` / `below`: the first arm has more / less, by the smallest effect that matters or more;
- `near`: the first arm is not worse than the second by as much as matters;
- `equal`: the two differ by less than what matters.

`run` is the command that would decide it; a claim that no sweep can decide yet says what it `needs` instead.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from harness.document import Document, Place
from harness.errors import UserError, unknown
from harness.frozen import Frozen
from results.literature import read_papers

CLAIMS = Path(__file__).parent / "claims"

Estimand = Literal["accuracy", "spread", "seconds", "length", "retention"]
"""Final accuracy; the standard deviation of accuracy over seeds; device seconds; tokens of an answer; the change of
accuracy on probes that were not trained on. `spread`, `seconds` and `length` are compared as ratios."""
RATIOS = ("spread", "seconds", "length")
Meter = Literal["rollouts", "generated_tokens", "trained_tokens", "flops", "device_seconds", "steps"]


class Arms(Frozen):
    """Which arms of a sweep: of these methods, with these parameters."""

    method: tuple[str, ...] = Field(min_length=1)
    where: dict[str, Any] = Field(default_factory=dict)
    """Parameters and the values that they must have."""

    @field_validator("method", mode="before")
    @classmethod
    def _one(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    def rest(self, method: str, parameters: dict[str, Any]) -> str | None:
        """What `*` stands for where an arm is one of these (empty without a `*`); None where it is not."""
        if any(parameters.get(name) != value for name, value in self.where.items()):
            return None
        for pattern in self.method:
            match = re.fullmatch(re.escape(pattern).replace(r"\*", "(.+)"), method)
            if match is not None:
                return match.group(1) if match.groups() else ""
        return None


class Claim(Frozen):
    """A sentence of the literature and the contrast that would decide it."""

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    claim: str = Field(min_length=1)
    source: str = Field(min_length=1)
    """Who says so, and where."""
    papers: tuple[str, ...] = ()
    """Keys of results/papers.csv with figures about it."""
    first: Arms
    second: Arms
    alike: tuple[str, ...] = ()
    """Parameters in which both arms must agree."""
    tasks: tuple[str, ...] = ()
    """Tasks on which it can be decided; any, where there are none."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the task and the values that they must have."""
    budget: Meter | None = None
    """The meter that must limit both arms alike; any one, where it is left out."""
    estimand: Estimand = "accuracy"
    expect: Literal["above", "below", "near", "equal"]
    matters: float = Field(gt=0)
    """The smallest effect that matters: a share of 1 (0.02 is 2 points), or a factor above 1 for a ratio."""
    parameters: float | None = Field(None, gt=0)
    """The first arm trains at most this share of the second's parameters."""
    equal_gain: float | None = Field(None, gt=0)
    """Final accuracies of the two arms that are compared differ by no more than this."""
    run: str | None = Field(None, pattern=r"^beyondrl (sweep|reproduce) ")
    needs: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Claim:
        if (self.run is None) == (self.needs is None):
            raise ValueError("a claim has either run, a command, or needs, a sentence")
        if self.estimand in RATIOS and self.matters <= 1:
            raise ValueError(f"{self.estimand} is compared as a ratio: matters is a factor above 1")
        if self.estimand not in RATIOS and self.matters >= 1:
            raise ValueError(f"{self.estimand} is a share of 1: matters is below 1")
        stars = {"*" in pattern for arms in (self.first, self.second) for pattern in arms.method}
        if len(stars) > 1:
            raise ValueError("either every method of the two arms has a * or none has: it stands for the same in both")
        return self

    @property
    def threshold(self) -> float:
        """`matters` on the scale of the estimate: a difference, or the logarithm of a factor."""
        return math.log(self.matters) if self.estimand in RATIOS else self.matters


def read_ledger(folder: Path = CLAIMS) -> dict[str, Claim]:
    """Every claim by its key; UserError with file and line for the first mistake."""
    papers = read_papers()
    found: dict[str, Claim] = {}
    for path in sorted(folder.glob("*.yaml")):
        document = Document.read(path)
        if not isinstance(document.data, dict):
            raise UserError(f"{document.name} holds no keys; a claim has {', '.join(Claim.model_fields)}.")
        try:
            claim = Claim(**{"key": path.stem, **document.data})
        except ValidationError as error:
            raise UserError(document.sentence(error, "a claim", _keys)) from None
        if claim.key != path.stem:
            raise UserError(f"{document.where(('key',))}: the claim {claim.key!r} belongs into {claim.key}.yaml.")
        for position, paper in enumerate(claim.papers):
            if paper not in papers:
                raise UserError(f"{document.where(('papers', position))}: {unknown('paper', paper, papers)}")
        found[claim.key] = claim
    return found


def _keys(place: Place) -> list[str]:
    model: type[BaseModel] = Arms if place and place[0] in ("first", "second") else Claim
    return list(model.model_fields)
