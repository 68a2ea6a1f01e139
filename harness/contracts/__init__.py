"""The contracts of the house: what a task, an objective, a parameterisation, an optimiser, ... must offer.

Tasks say which signals they can give, objectives say which they need and what they give on; optimisers say what they
take. The planner matches these words (see `harness.plan`) and nothing else, so a new method meets every task it can
train on without either knowing the other. Nothing here imports torch.
"""

from harness.contracts.engines import Completion, Engine, Sampling
from harness.contracts.execution import LOST, Executor, Handle, Resources
from harness.contracts.methods import (
    FitnessObjective,
    FitnessOptimiser,
    Generator,
    GradientObjective,
    GradientOptimiser,
    LikelihoodObjective,
    Objective,
    Optimiser,
    Parameterisation,
    ReplayableOptimiser,
    Signal,
    Transform,
)
from harness.contracts.pipelines import Pipeline, Repeated, Stage, Train
from harness.contracts.tasks import (
    Control,
    Grade,
    Item,
    Likelihood,
    LikelihoodTask,
    Message,
    Offer,
    PreferenceTask,
    Prompt,
    Split,
    Task,
    TaskRefusal,
    TextTask,
)

__all__ = [
    "LOST",
    "Completion",
    "Control",
    "Engine",
    "Executor",
    "FitnessObjective",
    "FitnessOptimiser",
    "Generator",
    "Grade",
    "GradientObjective",
    "GradientOptimiser",
    "Handle",
    "Item",
    "Likelihood",
    "LikelihoodObjective",
    "LikelihoodTask",
    "Message",
    "Objective",
    "Offer",
    "Optimiser",
    "Parameterisation",
    "Pipeline",
    "PreferenceTask",
    "Prompt",
    "Repeated",
    "ReplayableOptimiser",
    "Resources",
    "Sampling",
    "Signal",
    "Split",
    "Stage",
    "Task",
    "TaskRefusal",
    "TextTask",
    "Train",
    "Transform",
]
