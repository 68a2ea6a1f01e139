"""VeRA: W + diag(b) B diag(d) A with random, frozen A and B shared by all layers, and only b and d trained.

Kopiczko et al. 2024, arXiv 2310.11454, section 3.1; d starts at `initial` and b at zero. The paper's learning rates
are 10 times LoRA's (tables 8 to 11: 4e-3 where LoRA has 4e-4), so 100 times full fine-tuning's here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.parts import Factor, parameterisation
from methods.parameterisations.tuner import Tuner
from methods.settings import Targets

SharedRank = Annotated[int, Field(ge=1), "rank of the shared random matrices"]
Initial = Annotated[float, Field(gt=0), "start value of the vector d"]
_SCALES = {
    "learning-rate": Factor(100.0, "Kopiczko et al. 2024, appendix A: 10 times LoRA's, which is 10 times full's"),
    "perturbation": Factor(100.0, "as LoRA's factors; not measured in a paper"),
}


@parameterisation("vera", version=1, source="Kopiczko et al. 2024, arXiv 2310.11454, section 3.1", scales=_SCALES)
def vera(rank: SharedRank = 256, initial: Initial = 0.1, targets: Targets = "all-linear") -> Tuner:
    """Two trained vectors a layer around shared, random, frozen matrices."""
    return Tuner(
        name="vera",
        peft_type="VERA",
        fields={"r": rank, "d_initial": initial, "vera_dropout": 0.0, "save_projection": True},
        shown={"rank": rank, "initial": initial, "targets": targets},
        targets=targets,
        count=lambda outputs, inputs, hidden: outputs + rank,
        rank_of=lambda outputs, inputs, hidden: min(rank, outputs, inputs),
    )
