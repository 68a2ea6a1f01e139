"""`beyondrl generate --from RUN --text TEXT ...`: adapters that a trained generator writes, as PEFT directories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.export import find_run
from cli.options import RUNS, Json, Runs
from cli.output import show
from cli.places import new_directory
from harness.errors import UserError


def generate(
    run: Annotated[str, typer.Option("--from", help="Run that trained a generator: identity or directory.")],
    text: Annotated[list[str], typer.Option("--text", help="A text, such as a task's description; repeatable.")] = [],  # noqa: B006
    doc: Annotated[list[Path], typer.Option("--doc", help="A file with a document; repeatable.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", help="New directory; several texts get one each inside it.")] = Path(
        "adapter"
    ),
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Write the adapter of every text as a PEFT directory: for PEFT, servers, squeeze, merge, and run --model."""
    from harness.generators import find_generator, generator_folder, is_generator

    if not text and not doc:
        raise UserError("Give the generator something to read: --text TEXT or --doc FILE, each as often as you like.")
    texts = [*text, *map(_document, doc)]
    empty = next((number for number, one in enumerate(texts, 1) if not one.strip()), None)
    if empty is not None:
        raise UserError(f"Text {empty} of {len(texts)} is empty: there is nothing to write an adapter from.")
    handle = find_generator(run if is_generator(Path(str(generator_folder(run)))) else find_run(run, runs))
    base = handle.base()
    import torch

    with new_directory(out) as folder:
        model = handle.open(base.model(), base.tokenizer())
        with torch.inference_mode():
            adapters = model.write_to_keep(texts)
        places = [folder] if len(texts) == 1 else [folder / str(number) for number in range(1, len(texts) + 1)]
        name = base.name if base.path.parent != handle.folder else str(base.path)
        for number, place in enumerate(places):
            adapters.adapter(number, name).write(place)
    rows = [
        {"text": one if len(one) <= 60 else f"{one[:57]}...", "rank": adapters.ranks[number], "base": name,
         "out": str(out if len(texts) == 1 else out / str(number + 1))}
        for number, one in enumerate(texts)
    ]  # fmt: skip
    show(rows, json)


def _document(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        garbled = isinstance(error, UnicodeDecodeError)
        reason = "it is no UTF-8 text" if garbled else (error.strerror or str(error)).lower()
        raise UserError(f"The document {file} cannot be read: {reason}.") from None
