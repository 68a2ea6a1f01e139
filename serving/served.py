"""What a server has to offer: the base and finished runs on it, each under a name and in the form that vLLM takes.

What is exactly a LoRA (Kron-LoRA and rsLoRA among it) becomes an adapter beside the base, its scales inside its factors
and its rank the same in every module, because vLLM knows one of each; a whole model, and an adapter that is no LoRA but
can be merged, is weights of its own, in full. What is neither is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.adapters import adapter_config, is_adapter
from harness.engines.choice import unserved_part
from harness.errors import UserError
from harness.export import exportable
from harness.models import ModelHandle, base_of, load_model
from harness.registry import load_method

if TYPE_CHECKING:
    from harness.lora_files import LoraAdapter
    from harness.record import RunDirectory
    from harness.spec import RunSpec

_DIGITS = 8


@dataclass(frozen=True)
class Served:
    """One model by name."""

    name: str
    run_id: str | None
    """None is the base."""
    method: str | None
    form: Literal["base", "adapter", "weights"]
    folder: Path
    rank: int = 0
    """Of an adapter."""


@dataclass(frozen=True)
class Choice:
    """Runs that one server can offer: they are finished, all on one base, and that is as it was."""

    base: ModelHandle
    runs: tuple[RunDirectory, ...]
    specs: tuple[RunSpec, ...]

    @property
    def base_name(self) -> str:
        """What the base is called: its own name, or that of its folder."""
        return self.base.name if not Path(self.base.name).is_dir() else self.base.path.name

    def names(self) -> list[str]:
        """METHOD-DIGITS of every run."""
        ids = [spec.run_id for spec in self.specs]
        digits = _DIGITS
        while len({one[:digits] for one in ids}) < len(ids):
            digits += 1
        return [f"{spec.method.name}-{spec.run_id[:digits]}" for spec in self.specs]


def choose(directories: Sequence[Path]) -> Choice:
    """Check run directories without reading weights; UserError in one sentence for whatever cannot be served."""
    runs = [exportable(directory, directory / "model" / "nothing") for directory in directories]
    specs = [run.read_spec() for run in runs]
    twice = next((one.run_id for place, one in enumerate(specs) if one in specs[:place]), None)
    if twice is not None:
        raise UserError(f"The run {twice} is named twice: once is enough.")
    for spec in specs:
        part = _unserved(spec)
        if part is not None:
            raise UserError(
                f"vLLM cannot serve the run {spec.run_id} ({spec.method.name}): it takes LoRA and weights, and "
                f"{part!r} is no LoRA and cannot be merged; leave it out."
            )
    first = specs[0].model
    other = next((spec for spec in specs if spec.model.revision != first.revision), None)
    if other is not None:
        raise UserError(
            f"A server has one base, and the run {specs[0].run_id} is on {first.name} ({first.revision}), the run "
            f"{other.run_id} on {other.model.name} ({other.model.revision}): serve them apart."
        )
    base = load_model(first.name)
    if base.revision != first.revision:
        raise UserError(
            f"The runs are on revision {first.revision} of {first.name!r}, and there is {base.revision}: their answers "
            "would not be their own. Bring that revision back, or run them again."
        )
    return Choice(base, tuple(runs), tuple(specs))


def _unserved(spec: RunSpec) -> str | None:
    """The part of a run's method that says of itself that vLLM cannot have it."""
    try:
        pipeline = load_method(spec.method.name, **spec.method.parameters)
    except UserError:  # its method, or a file that it names, is not here any more: what it left can say enough
        return None
    return unserved_part(pipeline)


def prepare(choice: Choice, work: Path) -> list[Served]:
    """The base and then the runs in the order given, with whatever has to be written for vLLM below `work`."""
    served = [Served(choice.base_name, None, None, "base", _base_folder(choice.base, work / "base"))]
    for run, spec, name in zip(choice.runs, choice.specs, choice.names(), strict=True):
        folder, rank = _form(run, spec, work / spec.run_id)
        form: Literal["adapter", "weights"] = "adapter" if rank else "weights"
        served.append(Served(name, spec.run_id, spec.method.name, form, folder, rank))
    return served


def _base_folder(base: ModelHandle, out: Path) -> Path:
    if type(base) is ModelHandle:
        return base.path
    model = base.model()
    if hasattr(model, "peft_config") or not hasattr(model, "save_pretrained"):
        raise UserError(f"vLLM cannot serve the base {base.name}: it is no plain model and cannot be made one.")
    return _write(model, base, out)


def _form(run: RunDirectory, spec: RunSpec, out: Path) -> tuple[Path, int]:
    """Where vLLM finds a run's model, and the rank of the adapter that it is; 0 for whole weights."""
    if not is_adapter(run.model):
        return run.model, 0
    base = base_of(run.model, spec.model.name)
    on_the_base = base.revision == spec.model.revision
    adapted = None
    adapter = _read(run.model) if on_the_base else None
    if adapter is None:
        from harness.adapters import open_adapter
        from harness.engines.vllm_form import exact_lora

        adapted = open_adapter(base.model(), run.model)
        if on_the_base and adapter_config(run.model).get("peft_type") != "LORA":
            adapter = exact_lora(adapted)
    if adapter is not None and set(adapter.modules) <= set(base.linear_layers()):
        from harness.engines.vllm_form import rank_of
        from harness.engines.vllm_server import RANKS

        if rank_of(adapter) <= RANKS[-1]:
            plain = of_one_rank(adapter)
            plain.write(out)
            return out, rank_of(plain)
    if adapted is None:
        from harness.adapters import open_adapter

        adapted = open_adapter(base.model(), run.model)
    return _write(_merged(adapted, spec), base, out), 0


def _read(folder: Path) -> LoraAdapter | None:
    """The adapter of a directory if that is a plain LoRA, without its base."""
    from harness.lora_files import LoraAdapter

    try:
        return LoraAdapter.read(folder)
    except UserError:  # it is something else, which its base may tell more of
        return None


def of_one_rank(adapter: LoraAdapter) -> LoraAdapter:
    """The same update with scale 1 and one rank everywhere: zeros make up what a module lacks."""
    import torch

    from harness.engines.vllm_form import rank_of
    from harness.lora_files import LoraAdapter, LowRank

    rank = rank_of(adapter)
    modules = {}
    for name, one in adapter.modules.items():
        up, down = torch.zeros(one.up.shape[0], rank), torch.zeros(rank, one.down.shape[1])
        up[:, : one.rank], down[: one.rank] = one.up.float() * one.scale, one.down.float()
        modules[name] = LowRank(up, down, 1.0)
    kept = {key: adapter.config.get(key) for key in ("base_model_name_or_path", "fan_in_fan_out")}
    return LoraAdapter(modules, kept)


def _merged(adapted: Any, spec: RunSpec) -> Any:
    from harness.adapters import merged

    try:
        return merged(adapted)
    except UserError as error:
        kind = adapted.active_peft_config.peft_type.value.lower().replace("_", "-")
        raise UserError(
            f"vLLM cannot serve the run {spec.run_id} ({spec.method.name}): it takes LoRA and weights, and {kind!r} is "
            "no LoRA and cannot be merged; leave it out."
        ) from error


def _write(model: Any, base: ModelHandle, out: Path) -> Path:
    model.save_pretrained(out)
    base.tokenizer().save_pretrained(out)
    return out
