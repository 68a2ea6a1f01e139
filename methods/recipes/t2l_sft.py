"""From text to a start, from demonstrations to the end: a generated adapter, then supervised fine-tuning of it.

W + s B A with A, B written by a trained generator for one text (Charakorn et al. 2025, arXiv 2506.06105) and then moved
by the demonstrations' likelihood. `generated+METHOD` does the same before any other method.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.sft import demonstrations
from methods.optimisers.adamw import adamw
from methods.parameterisations.generated import DocumentFile, GeneratorRun, Text, generated
from methods.settings import AdapterLearningRate, BatchSize, Examples, Schedule


@method("t2l-sft", version=1, source="Charakorn et al. 2025, arXiv 2506.06105, section 3, then SFT")
def t2l_sft(
    generator: GeneratorRun = None,
    text: Text = None,
    document: DocumentFile = None,
    learning_rate: AdapterLearningRate = 2e-4,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    examples: Examples = 2000,
) -> Pipeline:
    """Supervised fine-tuning that starts from the adapter a generator writes for a text."""
    start = generated(generator, text, document)
    return Pipeline.of(Train(demonstrations(batch_size, examples), start, adamw(learning_rate, schedule)))
