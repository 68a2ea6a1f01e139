"""The generators for documents, by name: `doc-to-lora` reads them, `adapter-table` holds adapters of some texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.generators import generator
from methods.generators.chunks import cut_text


def _rank(configuration: Mapping[str, Any], tokenizer: Any, text: str) -> int:
    """That of every chunk and of the constant adapter; chunks whose gate is shut will have none."""
    longest = configuration["longest"] - len(tokenizer("").input_ids)
    return int(configuration["rank"]) * (len(cut_text(tokenizer, text, longest)) + 1)


@generator("doc-to-lora", rank=_rank)
def doc_to_lora(base: Any, **configuration: Any) -> Any:
    """A hypernetwork that reads the base's activations of a document."""
    from methods.generators.document_generator import DocumentGenerator

    return DocumentGenerator(base, **configuration)


@generator("adapter-table")
def adapter_table(base: Any, **configuration: Any) -> Any:
    """A LoRA of its own for each of some documents, or of some described tasks."""
    from methods.generators.adapter_table import AdapterTable

    return AdapterTable(base, **configuration)
