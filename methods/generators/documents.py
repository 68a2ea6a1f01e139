"""The two generators that answer for documents, by name: `doc-to-lora` reads them, `document-table` holds some."""

from __future__ import annotations

from typing import Any

from harness.generators import generator


@generator("doc-to-lora")
def doc_to_lora(base: Any, **configuration: Any) -> Any:
    """A hypernetwork that reads the base's activations of a document."""
    from methods.generators.document_generator import DocumentGenerator

    return DocumentGenerator(base, **configuration)


@generator("document-table")
def document_table(base: Any, **configuration: Any) -> Any:
    """A LoRA of its own for each of some documents."""
    from methods.generators.document_table import DocumentTable

    return DocumentTable(base, **configuration)
