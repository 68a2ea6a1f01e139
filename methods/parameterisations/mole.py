"""MoLE: LoRAs that were trained before, frozen, and a gate a layer that learns how to mix them.

Wu et al. 2024, arXiv 2404.13628, section 3.2: `mole+sft -p adapters=A,B` takes PEFT directories, of whatever ranks,
made for the same base. The content of their files enters a run's identity, not their places. The tuner is
`methods.tuners.mole`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from harness.parts import Factor, parameterisation
from methods.parameterisations.tuner import Tuner

if TYPE_CHECKING:
    from harness.policy import Policy
    from harness.spec import ModelReference

Adapters = Annotated[str, "PEFT LoRA directories to mix, with commas"]
_SCALES = {
    "learning-rate": Factor(10.0, "Wu et al. 2024 train gates at 1e-5 to 1e-4, as LoRA; not compared with full"),
    "perturbation": Factor(100.0, "as LoRA's factors; not measured in a paper"),
}


@dataclass(frozen=True)
class Mole(Tuner):
    """Frozen LoRAs behind trained gates."""

    folders: tuple[Path, ...] = ()

    def refuses(self, task: Any, model: ModelReference | None) -> str | None:
        if len(self.folders) < 2:
            return "mole mixes trained LoRAs and needs two or more: -p adapters=DIR,DIR"
        missing = next((folder for folder in self.folders if not folder.is_dir()), None)
        if missing is not None:
            return f"there is no adapter at {missing}"
        if model is None:
            return None
        from harness.lora_files import LoraAdapter
        from harness.models import load_model

        layers = load_model(model.name).linear_layers()
        for folder in self.folders:
            for name, module in LoraAdapter.read(folder).modules.items():
                shape = (int(module.up.shape[0]), int(module.down.shape[1]))
                if layers.get(name) != shape:
                    there = "x".join(map(str, layers[name])) if name in layers else "not there"
                    return (
                        f"the adapter {folder} was made for another base: its layer {name!r} is {shape[0]}x{shape[1]}, "
                        f"in {model.name} it is {there}"
                    )
        return None

    def attach(self, policy: Policy, seed: int) -> Policy:
        """The adapters' factors side by side in every layer that one of them has, gates at zero."""
        import torch

        import methods.tuners.mole  # noqa: F401 -- registers the type
        from harness.lora_files import LoraAdapter

        adapters = [LoraAdapter.read(folder) for folder in self.folders]
        names = sorted({name for adapter in adapters for name in adapter.modules})
        ranks = {
            name: [adapter.modules[name].rank if name in adapter.modules else 0 for adapter in adapters]
            for name in names
        }
        attached = Tuner(
            self.name, self.peft_type, {"ranks": ranks, "target_modules": names}, self.shown, False, targets=None
        ).attach(policy, seed)
        for name in names:
            layer = attached.model.base_model.model.get_submodule(name)
            parts = [adapter.modules[name] for adapter in adapters if name in adapter.modules]
            with torch.no_grad():
                layer.mole_down["default"].copy_(torch.cat([part.down for part in parts]))
                layer.mole_up["default"].copy_(torch.cat([part.scale * part.up for part in parts], 1))
        return attached


def _digests(adapters: str = "", **_: Any) -> dict[str, str]:
    """The content behind the paths."""
    from harness.digest import content_digest

    found = [content_digest(folder) for folder in adapters.split(",") if Path(folder).is_dir()]
    return {"adapters": "+".join(found)} if found else {}


@parameterisation(
    "mole",
    version=2,
    source="Wu et al. 2024, arXiv 2404.13628, section 3.2",
    scales=_SCALES,
    tuner="methods.tuners.mole",
)
def mole(adapters: Adapters = "") -> Mole:
    """A gated mixture of LoRAs that were trained before."""
    folders = tuple(Path(one.strip()) for one in adapters.split(",") if one.strip())
    return Mole(
        name="mole",
        peft_type="MOLE",
        fields={},
        shown={"adapters": len(folders)},
        mergeable=False,
        targets=None,
        folders=folders,
    )


mole.digests = _digests  # type: ignore[attr-defined]
