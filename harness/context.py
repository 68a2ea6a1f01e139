"""What a running stage sees of the world: its task, engine, budget, random streams, log and checkpoints.

A stage calls `after_step` once an update; the harness then counts it, logs its values, draws the learning curve on
val, and answers whether to go on (early stopping is in that answer). It asks `checkpoint_due` and, if so, saves itself
and calls `mark`. Everything that decides the result follows from the spec and the state in the checkpoint, so that a
resumed stage continues exactly.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.atomic import write_json
from harness.contracts import Completion, Item, Parameterisation, Prompt, Sampling, Task
from harness.control import Controlled
from harness.diagnosis import likely_cause
from harness.early_stopping import BestPoint
from harness.engines.batches import BATCH_ROWS
from harness.engines.choice import engine_of
from harness.errors import Pruned, is_out_of_memory
from harness.events import read_events
from harness.meters import spent
from harness.micro_batches import free_memory
from harness.policy import Policy
from harness.record import Meters, Score
from harness.run_context import STATE, RunContext, newest_checkpoint
from harness.spec import Budget
from harness.training import NOTHING_ASKED, Settled, Training

_DECISIVE = ("loss", "grad_norm", "update_norm", "reward")
"""Values that the weights follow from: where one of them is not finite, the weights are lost."""
_ROUNDING = 1e-9  # shares of stages are sums of decimal fractions; no update costs so little


@dataclass
class StageContext:
    """What one stage sees."""

    run: RunContext
    index: int
    policy: Policy
    begun: float = 0.0
    """Share of the run's budget that was used when this stage began."""
    ends: float = 1.0
    """Share of the run's budget at which it ends."""
    step: int = 0
    parameterisation: Parameterisation | None = None
    """What was attached to the policy: a stage that begins anew from another model attaches it to that."""
    resume_from: Path | None = None
    """A checkpoint of this stage to continue from."""
    stopped_by: str | None = None
    keep_moments: bool = False
    """Whether the next stage goes on with this one's optimiser state."""
    own_training: Training = NOTHING_ASKED
    """The stage's own options, where the run's spec gives none."""
    accumulation: int = 0
    """Micro-batches an update."""
    micro_batch: int | None = None
    """Rows of the largest micro-batch of the last update; None where nothing is computed in micro-batches."""
    generation_rows: int = BATCH_ROWS
    """Prompts that are answered at once."""
    best: BestPoint = field(default_factory=BestPoint)
    """The best point of the learning curve in this stage, for early stopping."""
    own_budget: Budget | None = None
    """Limits on what this stage alone may spend."""
    before: Meters = field(default_factory=Meters)
    """What the run had spent when this stage began."""
    _scored: tuple[int, Score] | None = None
    _last_checkpoint: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.accumulation = self.accumulation or self.training.accumulation

    @property
    def task(self) -> Task:
        """What the stage learns from; it is scored by `run.task`."""
        return self.run.training_task

    @property
    def training(self) -> Settled:
        """The options of this stage, with nothing left open."""
        return self.run.spec.training.over(self.own_training).settled()

    @property
    def folder(self) -> Path:
        """Where this stage keeps its checkpoints."""
        return self.run.directory.checkpoint / f"stage-{self.index}"

    def seed(self, *names: str | int) -> int:
        """The seed of a named random stream of this stage."""
        return self.run.seed(f"stage-{self.index}", *names)

    def taken_for(self, item: Item) -> Item:
        """`item`, or under the control `shuffled` the training item that it is taken for."""
        return self.task.stranger(item) if isinstance(self.task, Controlled) else item

    def train_items(self, n: int) -> Sequence[Item]:
        """The first `n` items of the training split, or all of a smaller one."""
        return self.task.items("train", n)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Completion]:
        """Sample from the policy as it is now, charged to the budget."""
        with self.run.meters.clock("generate"):
            completions = self.run.ranks.deal(
                len(prompts), lambda mine: self._generate([prompts[i] for i in mine], sampling, seed, mine)
            )
            self.charge_generation(completions)
        return completions

    def _generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, places: Sequence[int]
    ) -> list[Completion]:
        """Where memory runs out, in batches of half the rows from then on: what is sampled does not depend on them."""
        while True:
            rows = self.generation_rows
            try:
                engine = engine_of(self.run.spec.evaluation.engine, self.policy, rows)
                return engine.generate(prompts, sampling, seed, places)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or rows == 1:
                    raise
            free_memory()
            self.generation_rows = min(rows, len(prompts)) // 2 or 1
            self.run.events.write(
                "generation_rows", stage=self.index, step=self.step + 1, reason="out of memory",
                old=rows, new=self.generation_rows,
            )  # fmt: skip

    def sampling(self, temperature: float) -> Sampling:
        """How training samples: the task's own limit on tokens at `temperature`."""
        limit = self.run.spec.evaluation.max_new_tokens or self.task.max_new_tokens
        return Sampling(limit, temperature, 1.0, self.task.stop)

    def reference(self) -> Any:
        """A frozen copy of the start policy, loaded from its directory: what KL terms and DPO pull towards."""
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(
            self.policy.start, dtype=self.policy.model.dtype, trust_remote_code=False
        )
        return model.to(self.policy.model.device).eval().requires_grad_(False)

    def charge_generation(self, completions: Sequence[Completion]) -> None:
        """Count sampled completions: tokens, rollouts and 2N operations a token."""
        prompt = sum(completion.prompt_tokens for completion in completions)
        generated = sum(len(completion.token_ids) for completion in completions)
        self.run.meters.count(
            generated_tokens=generated,
            prompt_tokens=prompt,
            rollouts=len(completions),
            flops=2.0 * self.policy.compute_parameters * (prompt + generated),
        )

    def charge_training(self, tokens: int) -> None:
        """Count tokens of a forward and backward pass: 4N + 2T operations each (a generator's T counts by the text)."""
        by_token = 0 if self.policy.kind == "generator" else self.policy.trainable_parameters
        operations = 4.0 * self.policy.compute_parameters + 2.0 * by_token
        self.run.meters.count(trained_tokens=tokens, flops=operations * tokens)

    def charge_generator(self, texts: Sequence[str]) -> None:
        """Count a hypernetwork's own forward and backward pass over `texts`: three times the forward's operations."""
        self.run.meters.count(flops=3.0 * self.policy.model.hypernetwork.operations(self.policy.tokenizer, texts))

    def charge_forward(self, tokens: int) -> None:
        """Count tokens of a forward pass without gradient (a reference, a teacher): 2N operations each."""
        self.run.meters.count(flops=2.0 * self.policy.compute_parameters * tokens)

    def charge_forward_training(self, tokens: int) -> None:
        """Count tokens that are learnt from without a backward pass: 2N operations each."""
        self.run.meters.count(trained_tokens=tokens, flops=2.0 * self.policy.compute_parameters * tokens)

    def spent(self) -> float:
        """Share of this stage's part of the budget that is used, from 0 to 1."""
        meters = self.run.spent()
        used = spent(self.run.spec.budget, meters)[0] - self.begun
        there = self.ends - self.begun
        share = used / there if there > 0 else 1.0
        return min(1.0, max(0.0, share, self._own_spent(meters)[0]))

    def _own_spent(self, meters: Meters) -> tuple[float, str | None]:
        """How much of the stage's own budget is used, if it has one, and which of its limits is nearest."""
        if self.own_budget is None:
            return 0.0, None
        return spent(self.own_budget, meters.since(self.before))

    def exhausted(self) -> bool:
        """Whether this stage's part of the budget is used up; remembers which meter ended the stage."""
        meters = self.run.spent()
        share, meter = spent(self.run.spec.budget, meters)
        if meter is not None and share >= self.ends - _ROUNDING:
            self.stopped_by = meter
            return True
        own, meter = self._own_spent(meters)
        if meter is not None and own >= 1.0:
            self.stopped_by = meter
            return True
        return False

    def after_step(self, values: dict[str, float]) -> bool:
        """Count an update and log `values`; True when the stage must stop. Raises FloatingPointError on NaN, Pruned."""
        self.step += 1
        self.run.meters.count(steps=1)
        bad = [name for name in _DECISIVE if not math.isfinite(values.get(name, 0.0))]
        self.log(values)
        if bad:
            raise FloatingPointError(self._lost(f"the {bad[0]} of step {self.step} is not finite", values))
        done = self.exhausted()
        self.draw_curve()
        stopping = self.training.early_stopping
        if not done and stopping is not None and self.best.waited >= stopping.patience:
            self.stopped_by, done = "early_stopping", True
        if self.run.ranks.first(self.run.directory.prune.exists()):
            raise Pruned(f"pruned by the sweep after step {self.step}")
        return done

    def _lost(self, what: str, values: dict[str, float]) -> str:
        """What is lost, where the last good weights are, and why it probably happened."""
        newest = newest_checkpoint(self.run.directory)
        if newest is not None and newest[1]["stage"] == self.index and newest[1]["step"]:
            good = f"The last good checkpoint, of step {newest[1]['step']}, is {newest[0]}."
        else:
            good = f"There is no checkpoint of this stage yet; it started from {self.policy.start}."
        events = [one for one in read_events(self.run.events.path) if one["kind"] == "metrics"]
        before = [one["values"] for one in events if one["stage"] == self.index and one["step"] < self.step]
        return f"{what}. {good} Likely cause: {likely_cause(before, values)}."

    def log(self, values: dict[str, float]) -> None:
        """Write the values of this step beside the meters."""
        meters = self.run.meters.read().model_dump()
        self.run.events.write("metrics", stage=self.index, step=self.step, meters=meters, values=values)

    def draw_curve(self) -> None:
        """Measure the policy on val if the budget has passed the next point of the learning curve."""
        protocol = self.run.spec.evaluation
        used = min(1.0, spent(self.run.spec.budget, self.run.spent())[0])
        due = math.floor(used * protocol.curve_points + 1e-9)
        if protocol.curve_points == 0 or due <= self.run.curve_done:
            return
        self.run.curve_done = due
        score = self.run.score(self.policy)
        self._scored = self.step, score
        self.run.events.write(
            "curve",
            stage=self.index,
            step=self.step,
            point=due,
            meters=self.run.meters.read().model_dump(),
            **score.model_dump(exclude={"split", "samples", "measures"}),
        )
        if self.training.early_stopping is not None:
            self.best.see(self, due, score.accuracy, self.training.early_stopping.min_delta)

    def finish(self) -> None:
        """End the stage: where early stopping is on, with the weights of its best point."""
        if self.training.early_stopping is not None:
            self.best.restore(self)
            self._scored = None

    def score(self) -> Score:
        """The policy as the stage leaves it, on val."""
        if self._scored is not None and self._scored[0] == self.step:  # the curve has just measured these weights
            return self._scored[1]
        return self.run.score(self.policy)

    def take_up(self, folder: Path, state: dict[str, Any]) -> None:
        """Continue from a checkpoint of this stage."""
        self.resume_from, self.step = folder, state["step"]
        self.accumulation = state.get("accumulation", self.accumulation)
        self.generation_rows = state.get("generation_rows", self.generation_rows)
        self.best = BestPoint(**state.get("best", {}))

    def checkpoint_due(self) -> bool:
        """Whether it is time to save; the stage then saves into a folder and calls `mark` on it.

        Raises FloatingPointError where the weights are not finite, so that a checkpoint is always a good one.
        """
        due = time.monotonic() - self._last_checkpoint >= self.run.checkpoint_seconds
        if due and not all(bool(tensor.isfinite().all()) for tensor in self.policy.tensors().values()):
            raise FloatingPointError(self._lost(f"the weights after step {self.step} are not finite", {}))
        return due

    def mark(self, folder: Path) -> None:
        """Declare `folder` (a child of `self.folder`) a whole checkpoint of this step, and drop older ones."""
        own = {name: getattr(self, name) for name in ("accumulation", "generation_rows")}
        own["best"] = dataclasses.asdict(self.best)
        write_json(folder / STATE, self.run.state(self.index, self.step) | own)
        self.best.forget_others(self)
        for other in self.folder.glob("checkpoint-*"):
            if other != folder:
                shutil.rmtree(other)
        self._last_checkpoint = time.monotonic()
