"""The generators for documents, by name: `doc-to-lora` reads them, `adapter-table` holds adapters of some texts."""

from __future__ import annotations

from typing import Any

from harness.generators import generator


@generator("doc-to-lora")
def doc_to_lora(base: Any, **configuration: Any) -> Any:
    """A hypernetwork that reads the base's activations of a document."""
    from methods.generators.document_generator import DocumentGenerator

    return DocumentGenerator(base, **configuration)


@generator("adapter-table")
def adapter_table(base: Any, **configuration: Any) -> Any:
    """A LoRA of its own for each of some documents, or of some described tasks."""
    from methods.generators.adapter_table import AdapterTable

    return AdapterTable(base, **configuration)
