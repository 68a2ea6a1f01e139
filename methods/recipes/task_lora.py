"""Task-specific LoRAs: for every described task of the evaluation a LoRA of its own, trained on its demonstrations.

The oracle that adapters from a description are measured by (Charakorn et al. 2025, arXiv 2506.06105, section 4 and
appendix: rank 8, alpha 16, queries and values, rate 8e-5, 8 rows an update, 100 passes at most). A run ends after
`passes` over each task's demonstrations, or with its budget. Sane rates: 5e-5 to 2e-4, 1e-2 for a lab model.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.own_tasks import own_tasks
from methods.optimisers.adamw import adamw
from methods.parameterisations.documents import adapter_table
from methods.settings import (
    AdapterLearningRate,
    LoraAlpha,
    OwnExamples,
    OwnPasses,
    PointsPerTask,
    Rank,
    Schedule,
    TargetNames,
    TasksPerStep,
)


@method("task-lora", version=1, source="Charakorn et al. 2025, arXiv 2506.06105, section 4, Table 2")
def task_lora(
    learning_rate: AdapterLearningRate = 8e-5,
    rank: Rank = 8,
    alpha: LoraAlpha = 16.0,
    targets: TargetNames = "q_proj,v_proj",
    tasks_per_step: TasksPerStep = 8,
    points: PointsPerTask = 8,
    examples: OwnExamples = 500,
    passes: OwnPasses = 100,
    schedule: Schedule = "linear",
) -> Pipeline:
    """One adapter a described task, from its own demonstrations."""
    objective = own_tasks(tasks_per_step, points, examples, passes)
    return Pipeline.of(Train(objective, adapter_table(targets, rank, alpha), adamw(learning_rate, schedule)))
