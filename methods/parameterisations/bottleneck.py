"""Parallel adapter: a small network beside the feed-forward module of every block, added to its output.

He et al. 2022, arXiv 2110.04366, section 4.6, "scaled parallel adapter": scale 4, a learning rate of 1e-4 to 2e-4
(appendix A), about 10 times full fine-tuning's. The tuner is `methods.tuners.bottleneck`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from harness.parts import Factor, parameterisation
from methods.parameterisations.tuner import Tuner

Width = Annotated[int, Field(ge=1), "width of the bottleneck"]
Scale = Annotated[float, Field(gt=0), "factor on what the adapter adds"]
_SCALES = {
    "learning-rate": Factor(10.0, "He et al. 2022, appendix A: 1e-4 to 2e-4 where full fine-tuning takes 2e-5"),
    "perturbation": Factor(100.0, "as LoRA's factors; not measured in a paper"),
}


@dataclass(frozen=True)
class Bottleneck(Tuner):
    """The parallel adapter."""

    def configuration(self, model: Any) -> Any:
        import methods.tuners.bottleneck  # noqa: F401 -- registers the type

        return super().configuration(model)


@parameterisation(
    "bottleneck",
    version=1,
    source="He et al. 2022, arXiv 2110.04366, section 4.6",
    scales=_SCALES,
    tuner="methods.tuners.bottleneck",
)
def bottleneck(width: Width = 16, scale: Scale = 4.0) -> Tuner:
    """A small network beside every feed-forward block."""
    return Bottleneck(
        name="bottleneck",
        peft_type="BOTTLENECK",
        fields={"width": width, "scale": scale},
        shown={"width": width, "scale": scale},
        mergeable=False,
        targets=None,
    )
