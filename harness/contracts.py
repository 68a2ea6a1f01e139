"""The contracts of the house: what a task, an objective, a parameterisation, an optimiser, ... must offer.

Tasks say which signals they can give, objectives say which they need and what they give on; optimisers say what they
take. The planner matches these words (see `harness.plan`) and nothing else, so a new method meets every task it can
train on without either knowing the other. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from harness.training import NOTHING_ASKED, Training

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.generated import GeneratedAdapters
    from harness.policy import Policy
    from harness.spec import Budget

Split = Literal["train", "val", "test"]
Message = dict[str, str]
Prompt = str | list[Message]
Offer = Literal["demonstrations", "verifier", "preferences", "documents", "descriptions"]
"""What a task can offer: gold completions, a grader of completions, pairs of a better and a worse completion (made by
sampling and grading where there is a grader), documents, descriptions of itself."""
Control = Literal["shuffled", "constant"]
"""A negative control: what is done to a run's training signal, see `harness.control`."""
Signal = Literal["gradient", "fitness", "activations"]
"""What an objective gives and an optimiser takes: a differentiable loss, one number a candidate, or pairs of texts to
compare the activations of."""


class TaskRefusal(str):
    """What a component's `refuses` says when the task is the reason: the nearest method that can is then named.

    A plain sentence is about a setting or the machine and says itself what to change.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One question. `id` is the hash of its canonical content; `data` is what the task needs to ask and grade it."""

    id: str
    split: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one completion. `correct` is accuracy; `reward` is what training sees; they never mix.

    `measures` are further named figures about the same answer that are reported beside accuracy and never instead of
    it (GSM8K's strict and flexible reading, F1, the score of one part of a mixture): means over the answers that have
    them.
    """

    correct: bool
    reward: float
    well_formed: bool
    reason: str
    parsed: str | None = None
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a model finds a continuation: the summed log-probability of its tokens (nats), how many tokens they
    are, and whether each of them was the likeliest."""

    logprob: float
    tokens: int
    greedy: bool


@runtime_checkable
class Task(Protocol):
    """What a model is asked and how an answer is graded. Pure: the same item and text give the same grade."""

    name: str
    version: int
    offers: frozenset[Offer]
    max_new_tokens: int
    stop: str | None

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items of a split (all of a finite one if None), always in the same order."""
        ...

    def prompt(self, item: Item) -> Prompt:
        """What the model reads: text, or chat messages for chat models."""
        ...

    def grade(self, item: Item, completion: str) -> Grade:
        """Grade the completion alone (never the prompt); never raises, never executes it."""
        ...

    def demonstration(self, item: Item) -> str:
        """A gold completion; only where `offers` has 'demonstrations'. It grades correct."""
        ...


@runtime_checkable
class PreferenceTask(Protocol):
    """A task (it has all of `Task`) whose data hold a better and a worse completion of each question."""

    def preference(self, item: Item) -> tuple[str, str]:
        """The chosen and the rejected completion; only where `offers` has 'preferences'."""
        ...


@runtime_checkable
class TextTask(Protocol):
    """A task (it has all of `Task`) each of whose items comes with a text: a description of what is asked, or a
    document. A generator reads the text and the model does not."""

    def text(self, item: Item) -> str:
        """The description or the document of an item."""
        ...

    def subject(self, item: Item) -> Sequence[str]:
        """The parts of what the text says, as words to compare: a text that shares none of them is a mismatch."""
        ...

    def prompt_with(self, item: Item, text: str) -> Prompt:
        """What the model reads with `text` in it; without any text if that is empty."""
        ...


@runtime_checkable
class LikelihoodTask(Protocol):
    """A task (it has all of `Task`) that is scored by the likelihood of given texts, not by what the model writes."""

    def continuations(self, item: Item) -> Sequence[tuple[Prompt, str]]:
        """Pairs of a context (text, or chat messages) and the text whose likelihood after it counts; an empty context
        begins the text."""
        ...

    def judge(self, item: Item, likelihoods: Sequence[Likelihood]) -> Grade:
        """Grade an item by the likelihoods of its continuations, in their order."""
        ...


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


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. `temperature` 0 is greedy; `max_new_tokens` counts the end token."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: its text, its token ids (end token included if it came) and their log-probabilities."""

    text: str
    token_ids: list[int]
    logprobs: list[float]
    truncated: bool
    prompt_tokens: int = 0


@runtime_checkable
class Engine(Protocol):
    """Turns prompts into completions. The same seed and prompts give the same completions."""

    name: str

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, places: Sequence[int] | None = None
    ) -> list[Completion]:
        """One completion a prompt, in order. What a prompt samples follows from the seed and its place; `places` are
        those of a part of the prompts."""
        ...

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]: ...


@dataclass(frozen=True)
class Resources:
    """What one run may use of a machine."""

    threads: int = 1
    """Of each of its processes."""
    gpus: int = 0
    """All of them together."""
    processes: int = 1
    """That do the run together (`harness.ranks`); with GPUs, one a GPU."""
    zero_stage: int = 0
    """1 spreads the optimiser's state over them (`harness.sharded_state`), 0 leaves it whole in each."""
    tensor_parallel: int = 1
    """Devices over which vLLM spreads the model of a run that one process does: its GPUs, else so many processes."""

    @property
    def devices(self) -> int:
        """GPUs, or processes that want a core: a run's seconds count once for each of them."""
        return self.processes * self.tensor_parallel


@runtime_checkable
class Handle(Protocol):
    """A submitted run."""

    def poll(self) -> int | None:
        """None while it runs, else its exit code: negative for the signal that killed it, LOST if nobody knows."""
        ...

    def cancel(self) -> None: ...


LOST = 255
"""Exit code of a run whose machine, or whatever it was started by, went down with it."""


@runtime_checkable
class Executor(Protocol):
    """Where runs execute. The controller submits run directories and polls; truth is in the directories."""

    name: str
    resources: Resources
    """What each run gets."""
    lag_seconds: float
    """How long a file that a run has written may take to be seen here."""

    @property
    def slots(self) -> int:
        """How many runs may be submitted at a time; it may change as machines come and go."""
        ...

    def prepare(self) -> None:
        """Begin, beside whatever the controller has still to do, what the first run would have to wait for."""
        ...

    def submit(self, run_directory: Path, resources: Resources) -> Handle: ...

    def wait(self, seconds: float) -> None:
        """Wait until a run may have ended, `seconds` at most."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Train:
    """A stage: objective x parameterisation x optimiser."""

    objective: Objective
    parameterisation: Parameterisation
    optimiser: Optimiser
    share: float | None = None
    """Share of the run's budget that this stage may use; None is all that the stages before it have left."""
    budget: Budget | None = None
    """Limits on what this stage alone may spend, inside the run's budget: whichever is reached first ends it."""
    training: Training = NOTHING_ASKED
    """Options of this stage; those of the run go before them."""

    def describe(self) -> dict[str, Any]:
        shown: dict[str, Any] = {} if self.share is None else {"share": self.share}
        if self.budget is not None:
            shown["budget"] = self.budget.limits()
        if self.training.given():
            shown["training"] = self.training.given()
        return shown | {
            "objective": {"name": self.objective.name, **self.objective.describe()},
            "parameterisation": {"name": self.parameterisation.name, **self.parameterisation.describe()},
            "optimiser": {"name": self.optimiser.name, **self.optimiser.describe()},
        }


Stage = Train | Transform


@dataclass(frozen=True)
class Repeated:
    """Ask `samples` times and give one answer: the commonest, or the best by the task's own reward."""

    samples: int
    temperature: float
    choose: Literal["majority", "best"]


@dataclass(frozen=True)
class Pipeline:
    """A method: its stages in order. No stage at all is the untouched base model."""

    stages: tuple[Stage, ...] = field(default=())
    few_shot: int = 0
    """Solved training items put before each question at evaluation (a baseline without training)."""
    told: bool = False
    """Whether each item's text (description, document) stands in its prompt at evaluation, whatever the task does."""
    cut: bool = False
    """Whether such a text is cut to its beginning where the prompt would not fit into the model's window."""
    repeated: Repeated | None = None
    """How one answer is made of several at the final evaluation, if it is."""

    @classmethod
    def of(cls, *stages: Stage) -> Pipeline:
        return cls(stages)
