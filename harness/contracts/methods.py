"""What the parts of a method must offer: objectives, parameterisations, optimisers, transforms and generators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from harness.contracts.tasks import Item, Offer

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.generated import GeneratedAdapters
    from harness.policy import Policy

Signal = Literal["gradient", "fitness", "activations"]
"""What an objective gives and an optimiser takes: a differentiable loss, one number a candidate, or pairs of texts to
compare the activations of."""


@runtime_checkable
class Objective(Protocol):
    """What signal moves the model."""

    name: str
    gives: frozenset[Signal]
    needs: frozenset[Offer]

    def describe(self) -> dict[str, Any]: ...


@runtime_checkable
class GradientObjective(Objective, Protocol):
    """An objective with a loss: it builds the trainer that the gradient loop drives.

    One update's batch is computed in micro-batches of its rows (`harness.micro_batches`). An objective whose batches
    are not simply rows says how they are split in an optional `split(inputs, parts, items) -> [(inputs, share), ...]`,
    and how many rows an update has in an optional `batch_size`, so that a plan can tell what cannot be split; in an
    optional `holds_reference`, whether a frozen copy of the start policy lies beside it; and in an optional
    `learns_past_control`, from what it learns that no negative control destroys.
    """

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A `transformers.Trainer` (TRL's are) over the stage's policy, ready to train."""
        ...


@runtime_checkable
class FitnessObjective(Objective, Protocol):
    """An objective without a gradient: a batch of questions and a number for each answer."""

    def batch(self, stage: StageContext, iteration: int) -> Sequence[Item]:
        """The items every member of the population answers in this iteration."""
        ...

    def score(self, stage: StageContext, item: Item, completion: str) -> float:
        """The number for one answer. An objective that can say more has `grade(stage, item, completion) -> Grade`,
        whose reward is then the score."""
        ...


@runtime_checkable
class LikelihoodObjective(Protocol):
    """A fitness objective (it has all of `FitnessObjective` but `score`) that scores members by the mean
    log-likelihood of given tokens, nothing being generated."""

    def texts(self, stage: StageContext, items: Sequence[Item]) -> Sequence[tuple[list[int], list[int]]]:
        """Token ids of each item's prompt and of the completion whose likelihood counts."""
        ...


@runtime_checkable
class Parameterisation(Protocol):
    """Where the update may live: turns a model into a policy whose trainable tensors are declared."""

    name: str

    def attach(self, policy: Policy, seed: int) -> Policy:
        """Declare what may change; what must be drawn is drawn under `seed`."""
        ...

    def describe(self) -> dict[str, Any]: ...


@runtime_checkable
class Optimiser(Protocol):
    """What turns a signal into an update."""

    name: str
    takes: Signal

    def describe(self) -> dict[str, Any]: ...


@runtime_checkable
class GradientOptimiser(Optimiser, Protocol):
    """Builds a torch optimiser.

    It may say in `state_bytes` what it keeps of a trainable parameter, where that is not Adam's two float32 moments.
    """

    learning_rate: float

    def create(self, stage: StageContext) -> tuple[Any, Any]:
        """The torch optimiser over the stage's trainable tensors, and its learning-rate schedule."""
        ...


@runtime_checkable
class FitnessOptimiser(Optimiser, Protocol):
    """Runs its own loop of ask and tell against a fitness objective.

    It may say in `held_bytes(trainable)` what it keeps in memory beside the weights that serve.
    """

    def fit(self, stage: StageContext, objective: FitnessObjective) -> None: ...


@runtime_checkable
class ReplayableOptimiser(FitnessOptimiser, Protocol):
    """A fitness optimiser whose updates can be made again from its log (`harness.replay_log`)."""

    def replay(self, policy: Policy, seed: int, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, str]]:
        """Apply recorded iterations to `policy` under the stage's seed of perturbations; yields each iteration and the
        fingerprint of the float32 master after it."""
        ...


@runtime_checkable
class Transform(Protocol):
    """Model state in, model state out, without training: squeeze, merge, quantise."""

    name: str

    def apply(self, stage: StageContext, policy: Policy) -> Policy: ...

    def describe(self) -> dict[str, Any]: ...


@runtime_checkable
class Generator(Protocol):
    """Text in, adapters out: a hypernetwork (a torch module), the trained part of a policy of the kind `generator`.

    It is made by a `@generator` of `harness.generators` from a base model and its `configuration`, and is all that a
    run which trains it writes; `harness.generator_model.GeneratorModel` puts it beside the frozen base.
    """

    configuration: Mapping[str, Any]
    """What it is made of, as JSON: the base model and this give the same shapes again."""

    def write(self, base: Any, tokenizer: Any, texts: Sequence[str]) -> GeneratedAdapters:
        """The adapters of `texts` for the model `base`, with gradient; UserError for a text that it cannot read."""
        ...

    def operations(self, tokenizer: Any, texts: Sequence[str]) -> float:
        """Floating-point operations of its own part of `write`, forward; what runs through `base` is counted there."""
        ...
