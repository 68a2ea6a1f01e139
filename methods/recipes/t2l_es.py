"""From text to a start, from rewards to the end: a generated adapter, then evolution strategies over its factors.

W + s B A with A, B written by a trained generator for one text (Charakorn et al. 2025, arXiv 2506.06105), then searched
as `lora-es` does (Qiu et al. 2025, arXiv 2509.24372, section 3). Noise is smaller than where B starts at zero: it must
not drown what was written.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.task_reward import task_reward
from methods.optimisers.evolution import evolution
from methods.parameterisations.generated import DocumentFile, GeneratorRun, Text, generated
from methods.settings import AdapterSigma, Examples, Population, PromptsPerStep, StepRatio


@method("t2l-es", version=1, source="Charakorn et al. 2025, arXiv 2506.06105, then Qiu et al. 2025, arXiv 2509.24372")
def t2l_es(
    generator: GeneratorRun = None,
    text: Text = None,
    document: DocumentFile = None,
    sigma: AdapterSigma = 0.01,
    step_ratio: StepRatio = 0.5,
    population: Population = 32,
    prompts: PromptsPerStep = 200,
    examples: Examples = 2000,
) -> Pipeline:
    """Evolution strategies that start from the adapter a generator writes for a text."""
    search = evolution(sigma, step_ratio * sigma, population)
    return Pipeline.of(Train(task_reward(prompts, examples), generated(generator, text, document), search))
