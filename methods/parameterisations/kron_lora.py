"""Kron-LoRA: W + (alpha / rank) (A kron B1 B2), a quarter of LoRA's parameters at the same rank.

Shen 2025, arXiv 2508.01961, section 3: `inner` columns and `outer` rows of A. The paper's rule is `inner` 2 and one
`outer` for a model, so that hidden size / outer is near 200, rank 8, alpha 32; its learning rate of 3e-4 is LoRA's.
The tuner is `methods.tuners.kron_lora`; its exact form as plain LoRA is what `export --to lora` writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from harness.parts import parameterisation
from methods.parameterisations.lora import TENFOLD
from methods.parameterisations.tuner import Tuner, targeted
from methods.settings import LoraAlpha, Rank, Targets

if TYPE_CHECKING:
    from harness.spec import ModelReference

Inner = Annotated[int, Field(ge=1), "columns a1 of the left factor: they divide a layer's inputs"]
Outer = Annotated[int | None, Field(ge=1), "rows a2 of the left factor: they divide a layer's outputs; null chooses"]


@dataclass(frozen=True)
class KronLora(Tuner):
    """The Kronecker tuner, with factors that do not divide a layer refused when the run is planned."""

    inner: int = 2
    outer: int | None = None

    def configuration(self, model: Any) -> Any:
        import methods.tuners.kron_lora  # noqa: F401 -- registers the type

        return super().configuration(model)

    def refuses(self, task: Any, model: ModelReference | None) -> str | None:
        if model is None:
            return None
        from harness.models import load_model

        handle = load_model(model.name)
        hidden = int(handle.configuration()["hidden_size"])
        for name, (outputs, inputs) in targeted(handle.linear_layers(), str(self.targets)).items():
            inner, outer = _factors(outputs, inputs, self.inner, self.outer, hidden)
            for what, divisor, side, size in (("inner", inner, "inputs", inputs), ("outer", outer, "outputs", outputs)):
                if size % divisor:
                    legal = ", ".join(str(one) for one in range(1, min(size, 64) + 1) if size % one == 0)
                    return f"{what}={divisor} does not divide the {size} {side} of layer {name!r}: {legal} do"
            room = min(outputs // outer, inputs // inner)
            if self.fields["r"] > room:
                return f"rank {self.fields['r']} is above the {room} that layer {name!r} has room for: 1 to {room} do"
        return None


@parameterisation(
    "kron-lora",
    version=1,
    source="Shen 2025, arXiv 2508.01961, section 3",
    scales=TENFOLD,
    tuner="methods.tuners.kron_lora",
)
def kron_lora(
    rank: Rank = 8,
    alpha: LoraAlpha = 32.0,
    inner: Inner = 2,
    outer: Outer = None,
    targets: Targets = "all-linear",
) -> Tuner:
    """A Kronecker product of a small matrix and a low-rank one."""

    def count(outputs: int, inputs: int, hidden: int) -> int:
        a1, a2 = _factors(outputs, inputs, inner, outer, hidden)
        return a1 * a2 + rank * (inputs // a1 + outputs // a2)

    def rank_of(outputs: int, inputs: int, hidden: int) -> int:
        a1, a2 = _factors(outputs, inputs, inner, outer, hidden)
        return min(a1, a2) * min(rank, outputs // a2, inputs // a1)

    return KronLora(
        name="kron-lora",
        peft_type="KRON_LORA",
        fields={"r": rank, "alpha": alpha, "inner": inner, "outer": outer},
        shown={"rank": rank, "alpha": alpha, "inner": inner, "outer": outer, "targets": targets},
        targets=targets,
        count=count,
        rank_of=rank_of,
        inner=inner,
        outer=outer,
    )


def _factors(outputs: int, inputs: int, inner: int, outer: int | None, hidden: int) -> tuple[int, int]:
    """(a1, a2) of a layer: as asked for, or the largest divisors up to `inner` and up to the model's own a2."""
    if outer is not None:
        return inner, outer
    from methods.tuners.kron_lora import largest_divisor, nearest_divisor

    return largest_divisor(inputs, inner), largest_divisor(outputs, nearest_divisor(hidden))
