"""Hand a finished run's model to other tools: as a transformers directory, a PEFT adapter, or a plain LoRA.

An adapter exported as `hf` is merged into its base first, and refused where that would change its answers (one that
was trained on a 4-bit base); a full model has no PEFT form. `lora` is for servers that
know no other adapter: what is exactly a LoRA (Kron-LoRA) is written as one, without loss. The target is written whole
or not at all.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from harness.engines.choice import unserved_part
from harness.errors import Damaged, UserError
from harness.generators import is_generator
from harness.models import base_of
from harness.record import RunDirectory
from harness.registry import find_method


def export(run_directory: Path, to: Literal["hf", "peft", "lora"], out: Path) -> Path:
    """Write the run's model to `out`; raises UserError if the run is unfinished or has no such form."""
    directory = exportable(run_directory, out)
    adapter = (directory.model / "adapter_config.json").exists()
    if to != "hf" and not adapter:
        raise UserError(
            "This run changed a whole model, so it has no PEFT adapter: use --to hf, or --rank for its update as one."
        )
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    if to == "hf" and adapter:
        _merge(directory, temporary)
    elif to == "lora":
        _as_lora(directory, temporary)
    else:
        shutil.copytree(directory.model, temporary)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    return out


def exportable(run_directory: Path, out: Path) -> RunDirectory:
    """The run, if it has a final model and `out` is free; UserError otherwise."""
    directory = RunDirectory(run_directory)
    if directory.status() != "done":
        raise UserError(
            f"The run {run_directory} is {directory.status()}, not done: there is no final model to export."
        )
    if not directory.model.exists():
        raise UserError(f"The run {run_directory} trained nothing: its model is the start model itself.")
    if is_generator(directory.model):
        raise UserError(
            f"The run {run_directory} trained a generator: beyondrl generate --from {run_directory} --text TEXT writes "
            "its adapters."
        )
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: choose another --out.")
    for file in sorted(directory.model.glob("*.safetensors")):
        _check_weights(file)
    return directory


def _check_weights(file: Path) -> None:
    """`Damaged` where a file of weights is cut off or is none; reads its header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt"):
            pass
    except SafetensorError as error:
        raise Damaged(file, str(error), file.parent.parent) from None


def _merge(directory: RunDirectory, target: Path) -> None:
    from harness.adapters import merged, open_adapter

    spec = directory.read_spec()
    part = unserved_part(find_method(spec.method.name).create(**spec.method.parameters))
    if part is not None:
        raise UserError(
            f"{part!r} cannot be merged into whole weights that answer as this run was scored: use --to peft, which "
            "writes the adapter alone."
        )
    handle = base_of(directory.model, spec.model.name)
    merged(open_adapter(handle.model(), directory.model)).save_pretrained(target)
    handle.tokenizer().save_pretrained(target)


def _as_lora(directory: RunDirectory, target: Path) -> None:
    from harness.adapters import open_adapter
    from harness.lora_files import LoraAdapter

    handle = base_of(directory.model, directory.read_spec().model.name)
    LoraAdapter.of(open_adapter(handle.model(), directory.model)).write(target)
    handle.tokenizer().save_pretrained(target)
