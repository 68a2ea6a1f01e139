"""Steering: a vector added to the residual stream after a block; no weight changes.

Rimsky et al. 2024, arXiv 2312.06681: middle layers steer best (section 4.1), here half of the depth. As a
parameterisation the vector is trained by whatever method it is put into (`steering+sft`, `steering+es`); the method
called `steering` sets it to a difference of means instead. The tuner is `methods.tuners.steering`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.parameters import Search
from harness.parts import Factor, parameterisation
from methods.parameterisations.moa import Mixed
from methods.parameterisations.tuner import Tuner

Depth = Annotated[
    float | None, Field(ge=0, le=1), "block that the vector is added after, as a share of all; null is after every one"
]
Strength = Annotated[float, Field(gt=0), Search(0.1, 10.0, log=True), "factor on the vector"]
_SCALES = {
    "learning-rate": Factor(100.0, "as (IA)^3's vectors; not measured in a paper"),
    "perturbation": Factor(100.0, "as LoRA's factors; not measured in a paper"),
}


def vector(depth: float | None, strength: float) -> Tuner:
    """A vector after the block at `depth`, times `strength`."""
    return Mixed(
        name="steering",
        peft_type="STEERING",
        fields={"depth": depth, "strength": strength},
        shown={"depth": depth, "strength": strength},
        mergeable=False,
        targets=None,
        module="methods.tuners.steering",
    )


@parameterisation(
    "steering",
    version=1,
    source="Rimsky et al. 2024, arXiv 2312.06681, section 3",
    scales=_SCALES,
    tuner="methods.tuners.steering",
)
def steering(depth: Depth = 0.5) -> Tuner:
    """A trained vector in the residual stream."""
    return vector(depth, 1.0)
