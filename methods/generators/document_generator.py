"""Doc-to-LoRA as a generator: a document's text in, the adapter that stands for it out.

The text is cut at the ends of sentences into chunks of at most `longest` tokens, each with the tokens that begin a text
before it; the frozen base reads them, the network writes each chunk's factors, and they are put side by side.
`together` chunks are read at once: 1 is one by one, which needs the least memory and gives the same. A document may be
of any length: its adapter grows by `rank` ranks a chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from harness.errors import UserError
from harness.generated import GeneratedAdapters
from methods.generators.chunks import cut_text
from methods.generators.document_network import DocumentNetwork, DocumentShape
from methods.generators.factors import Factors, joined
from methods.generators.reading import read
from methods.generators.targets import layers_of


class DocumentGenerator(nn.Module):
    """The network, and how documents reach it."""

    def __init__(
        self,
        base: Any,
        targets: Sequence[str],
        longest: int,
        together: int,
        reader: Any,
        gated: bool = False,
        **sizes: int,
    ) -> None:
        """`sizes` are rank, latent, latents, blocks and heads of `DocumentShape`."""
        super().__init__()
        self.configuration: Mapping[str, Any] = {
            "targets": list(targets), "longest": longest, "together": together, "reader": reader, "gated": gated,
            **sizes,
        }  # fmt: skip
        config = base.config.get_text_config()
        if longest > config.max_position_embeddings:
            raise UserError(
                f"Chunks of {longest} tokens are longer than the model's window of {config.max_position_embeddings}: "
                "lower longest."
            )
        if sizes["latent"] % sizes["heads"]:
            raise UserError(
                f"latent {sizes['latent']} does not divide into {sizes['heads']} heads: change one of them."
            )
        self.longest, self.together = longest, together
        kinds, blocks = layers_of(base, targets), config.num_hidden_layers
        partly = next((kind.name for kind in kinds if kind.blocks != tuple(range(blocks))), None)
        if partly is not None:
            raise UserError(f"The layers {partly} are not one of one shape in each of {blocks} blocks: take others.")
        self.network = DocumentNetwork(
            DocumentShape(config.hidden_size, blocks, kinds, reader=reader, gated=gated, **sizes)
        )

    def write(self, base: Any, tokenizer: Any, texts: Sequence[str]) -> GeneratedAdapters:
        """The adapter of every text; UserError for one without any token."""
        return self.write_chunks(base, [self.chunks(tokenizer, text) for text in texts])

    def chunks(self, tokenizer: Any, text: str, wanted: int = 1) -> list[list[int]]:
        """Token ids of a text in `wanted` chunks, or in as many as it takes, each begun as the tokenizer begins one."""
        parts = cut_text(tokenizer, text, self.chunk_tokens(tokenizer), wanted)
        if not parts:
            raise UserError("The document is empty: there is nothing to read.")
        begin = tokenizer("").input_ids
        return [[*begin, *part] for part in parts]

    def chunk_tokens(self, tokenizer: Any) -> int:
        """How many tokens of a text fit into one chunk, beside those that begin it."""
        return self.longest - len(tokenizer("").input_ids)

    def write_chunks(self, base: Any, documents: Sequence[Sequence[Sequence[int]]]) -> GeneratedAdapters:
        """The adapter of every document, given as its chunks."""
        network, every = self.network, [chunk for document in documents for chunk in document]
        written = [
            network(*read(base, network.shape.kinds, every[start : start + self.together], network.shape.states_read()))
            for start in range(0, len(every), self.together)
        ]
        counts = [len(document) for document in documents]
        shape = network.shape
        return joined(shape.kinds, Factors.concatenated(written), counts, network.constant(), shape.scale)

    def operations(self, tokenizer: Any, texts: Sequence[str]) -> float:
        """Floating-point operations of the network over the texts, forward."""
        return self.network.operations([len(chunk) for text in texts for chunk in self.chunks(tokenizer, text)])
