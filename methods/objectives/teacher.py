"""A teacher: another model whose answers or next-token distributions are learnt from, charged for what it computes.

Named by a shipped model, a directory, OWNER/NAME on the Hub, or the directory of a finished run, whose final model
teaches (an adapter merged). The revision of its weights, not its place, enters the identity of the run it teaches in.
Its tokens count as generated tokens, its operations by its own number of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import Completion, Prompt, Sampling
from harness.errors import UserError
from harness.models import AdapterHandle, ModelHandle, base_of, load_model
from harness.parameters import DataPath
from harness.record import RunDirectory

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.policy import Policy


class TeacherName(DataPath):
    """Marks a parameter that names a teacher; the revision of its weights stands for it."""

    def digest(self, place: Any) -> str:
        """The revision of a model, or the digest of a finished run's weights."""
        return revision_of(str(place))


@dataclass(frozen=True)
class Teacher:
    """A loaded teacher."""

    policy: Policy
    revision: str

    def generate(
        self, stage: StageContext, prompts: Sequence[Prompt], sampling: Sampling, seed: int
    ) -> list[Completion]:
        """One completion a prompt, in order, timed and charged."""
        from harness.engines.hf import HFEngine

        with stage.run.meters.clock("generate"):
            completions = HFEngine(self.policy.model, self.policy.tokenizer).generate(prompts, sampling, seed)
            read = sum(completion.prompt_tokens for completion in completions)
            written = sum(len(completion.token_ids) for completion in completions)
            stage.run.meters.count(
                generated_tokens=written,
                prompt_tokens=read,
                rollouts=len(completions),
                flops=2.0 * self.policy.compute_parameters * (read + written),
            )
        return completions

    def charge_forward(self, stage: StageContext) -> None:
        """From now on charge every token that the teacher reads while training: 2N operations each."""

        def charge(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            if stage.run.meters.phase == "train":
                tokens = int(keywords["attention_mask"].sum())
                stage.run.meters.count(flops=2.0 * self.policy.compute_parameters * tokens)

        self.policy.model.base_model.register_forward_pre_hook(charge, with_kwargs=True)

    @property
    def is_merged(self) -> bool:
        """Whether it is one plain model; an adapter that cannot be merged stays on its base."""
        return not hasattr(self.policy.model, "get_base_model")


def without_teacher(objective: str, name: str | None) -> str | None:
    """The sentence that refuses an objective whose teacher is not named."""
    if name is not None:
        return None
    return f"{objective!r} needs teacher=NAME: a model, its directory, or the directory of a finished run"


def revision_of(name: str) -> str:
    """What stands for a teacher in an identity; UserError if there is none of that name."""
    run = finished_run(name)
    return load_model(name).revision if run is None else run.read_result().weights_digest


def load_teacher(name: str, student: Policy) -> Teacher:
    """The teacher of that name, frozen, on the student's device and in its precision."""
    from harness.policy import Policy

    handle = files_of(name)
    model: Any = handle.model(dtype=student.model.dtype)
    model.to(student.model.device).eval().requires_grad_(False)
    return Teacher(Policy(model, handle.tokenizer(), handle.path), revision_of(name))


def files_of(name: str) -> ModelHandle:
    """The model that teaches under that name: of a finished run the final one, an adapter with its base."""
    run = finished_run(name)
    if run is None:
        return load_model(name)
    if (run.model / "config.json").exists():
        return load_model(str(run.model))
    if not run.model.exists():
        return load_model(run.read_spec().model.name)
    return AdapterHandle(str(run.model), run.model, revision_of(name), base_of(run.model, run.read_spec().model.name))


def finished_run(name: str) -> RunDirectory | None:
    """The finished run in the directory `name`; None if it holds no run; UserError for one that is not done."""
    run = RunDirectory(Path(name))
    if not run.spec.exists():
        return None
    if run.status() != "done":
        raise UserError(f"The run {name} is {run.status()}, not done: a run teaches when it is finished.")
    return run
