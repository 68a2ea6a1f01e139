"""Doc-to-LoRA: a hypernetwork that reads a document once and writes the adapter that stands for it.

Charakorn et al. 2026 (arXiv 2602.15902), section 3 and appendix; the defaults are theirs for gemma-2-2b and 4B models
(two phases of 80,000 and 20,000 updates; more than 200,000 document tokens an update). The second phase, in which
documents are read in several chunks, is here what is left of the budget after `alone`. Sane learning rates: 2e-5 to
1e-4 for hundreds of millions of weights, 1e-3 to 2e-3 for half a million. `l1` 1.5, theirs for needles, has made
adapters vanish elsewhere; 0 is safe. With gradients clipped to 1 (`max_grad_norm` of the training) a lab model may stay
for many hundred updates where it answers nothing; sweeps/d2l-window.yaml clips none and begins with short documents
(`growing`). `gate` is ours, for documents of more chunks than training had: chunks that tell nothing are learnt to be
left out, after `alone`. Three seeds of that sweep, which trains on about 16 chunks at most, remember 98 to 100% of two
facts in about 120 chunks; without gates, and with 32 chunks in training, an earlier version of it had 0 to 6%. Chunks
end with sentences: three earlier seeds, whose chunks ended anywhere, had 95.2% of the sweep's test questions right
where these have 98.8%, and of the 19 or 20 told facts that each of them got wrong 17 or 18 were cut in two by the end
of a chunk.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from harness.training import Training
from methods.objectives.context_distillation import context_distillation
from methods.optimisers.adamw import adamw
from methods.parameterisations.documents import doc_to_lora
from methods.settings import (
    AnswersOf,
    ChunkGate,
    ChunkLength,
    ChunkRank,
    ChunksTogether,
    DocumentsPerStep,
    GrowingLengths,
    HypernetworkBlocks,
    HypernetworkHeads,
    HypernetworkRate,
    JoinedDocuments,
    Latents,
    LatentSize,
    MostChunks,
    QuestionsPerDocument,
    ShortestChunk,
    SinglePhase,
    SizePenalty,
    StateReader,
    TargetNames,
    TopK,
    TrainingDocuments,
)

_COSINE = Training(schedule="cosine", warmup_steps=100)


@method("d2l", version=3, source="Charakorn et al. 2026, arXiv 2602.15902, section 3")
def d2l(
    learning_rate: HypernetworkRate = 4e-5,
    rank: ChunkRank = 8,
    targets: TargetNames = "down_proj",
    latent: LatentSize = 512,
    latents: Latents = 8,
    blocks: HypernetworkBlocks = 8,
    heads: HypernetworkHeads = 4,
    reader: StateReader = "per-layer",
    longest: ChunkLength = 512,
    together: ChunksTogether = 32,
    gate: ChunkGate = None,
    most_chunks: MostChunks = 8,
    shortest: ShortestChunk = 25,
    alone: SinglePhase = 0.8,
    growing: GrowingLengths = 0.0,
    joined: JoinedDocuments = 1,
    batch_size: DocumentsPerStep = 512,
    documents: TrainingDocuments = 20000,
    questions: QuestionsPerDocument = 10,
    k: TopK = 16,
    answers: AnswersOf = "teacher",
    l1: SizePenalty = 0.1,
) -> Pipeline:
    """A hypernetwork from a document's activations to LoRA factors, by context distillation."""
    objective = context_distillation(
        batch_size, documents, questions, k, answers, most_chunks, shortest, alone, growing, joined, l1, gate
    )
    network = doc_to_lora(targets, rank, latent, latents, blocks, heads, reader, longest, together, gate is not None)
    return Pipeline.of(Train(objective, network, adamw(learning_rate), training=_COSINE))
