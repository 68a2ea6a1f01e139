"""Context distillation by gradient: a LoRA of its own for every document, trained on the questions about it.

What Doc-to-LoRA is to save (Charakorn et al. 2026, arXiv 2602.15902, appendix: rank 8, alpha 16, 300 passes at 1e-4,
the 16 likeliest tokens). The documents are those that the run is evaluated on, and the questions those that are asked
about them ("true query", their oracle): answers are the base's own with the document in its prompt, no gold answer is
looked at unless asked for (`answers=gold`: all that is left where no document fits into the window). Documents are
independent of each other; an update is one for every document of its batch. A run ends after `passes` over the
documents, or with its budget.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.context_distillation import context_distillation as distil
from methods.optimisers.adamw import adamw
from methods.parameterisations.documents import adapter_table
from methods.settings import (
    AdapterLearningRate,
    AnswersOf,
    DocumentsPerStep,
    LoraAlpha,
    Passes,
    QuestionsPerDocument,
    Rank,
    Schedule,
    TargetNames,
    TopK,
)


@method("context-distillation", version=1, source="Snell et al. 2022, arXiv 2209.15189; arXiv 2602.15902, appendix")
def context_distillation(
    learning_rate: AdapterLearningRate = 1e-4,
    rank: Rank = 8,
    alpha: LoraAlpha = 16.0,
    targets: TargetNames = "down_proj",
    batch_size: DocumentsPerStep = 16,
    questions: QuestionsPerDocument = 16,
    k: TopK = 16,
    answers: AnswersOf = "teacher",
    passes: Passes = 300,
    schedule: Schedule = "linear",
) -> Pipeline:
    """One adapter a document, by gradient steps against the base that sees the document."""
    objective = distil(batch_size, None, questions, k, answers, passes=passes)
    return Pipeline.of(Train(objective, adapter_table(targets, rank, alpha), adamw(learning_rate, schedule)))
