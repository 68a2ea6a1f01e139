"""The gradient loop: a TRL or transformers trainer, driven under the harness's clocks, budget and checkpoints.

The objective builds the trainer; this loop counts every token that goes through the model, logs every step, stops at
the budget, draws the learning curve, saves resumable checkpoints and restores them, and computes each update in
micro-batches. The trainer's own accumulation, evaluation, saving and reporting are off (`trainer_arguments`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from harness.contracts import Train
from harness.errors import BudgetSpent, UserError
from harness.micro_batches import MicroBatches
from harness.moments import Moments
from harness.sharded_gradients import ShardedGradients
from harness.sharded_state import ShardedState

if TYPE_CHECKING:
    from harness.context import StageContext

_FOREVER = 10**9  # the budget ends a stage, not a number of steps


def trainer_arguments(stage: StageContext, batch_size: int) -> dict[str, Any]:
    """The arguments every trainer gets: one update of `batch_size` rows a step and the stage's options.

    Everything that the harness does itself is switched off, accumulation too: `batch_size` is the whole update's.
    """
    options = stage.training
    part = stage.parameterisation
    if options.gradient_checkpointing and part is not None and not getattr(part, "recomputes", True):
        raise UserError(
            f"gradient_checkpointing refused: {part.name} cannot be computed again in the backward "
            "pass; use accumulation, which needs less memory too."
        )
    on_cpu = stage.policy.model.device.type == "cpu"
    return {
        "output_dir": str(stage.folder),
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": 1,
        "max_steps": _FOREVER,
        "max_grad_norm": options.max_grad_norm,
        "seed": stage.seed("data") % 2**31,
        "data_seed": stage.seed("data") % 2**31,
        "use_cpu": on_cpu,
        "bf16": False,
        "gradient_checkpointing": options.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if options.gradient_checkpointing else None,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }


def run_gradient(stage: StageContext, train: Train) -> None:
    """Train until the budget is spent. Raises FloatingPointError on a NaN loss, Pruned when the sweep says so."""
    trainer = train.objective.trainer(stage, train.optimiser)  # type: ignore[attr-defined]
    complete_reference(stage.policy.model)
    if stage.exhausted():
        return
    run = stage.run
    sharded = ShardedState(trainer.optimizer, run.ranks) if run.zero_stage and run.ranks.count > 1 else None
    gradients = _spread(stage, trainer, sharded) if sharded is not None and run.zero_stage > 1 else None
    driver = _Driver(stage, train.parameterisation, sharded, gradients)
    MicroBatches(stage, trainer, getattr(train.objective, "split", None), gradients)
    trainer.add_callback(driver)
    from transformers import PrinterCallback, ProgressCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    resume = str(stage.resume_from) if stage.resume_from is not None else None
    with count_tokens(stage, trainer), stage.run.meters.clock("train"), contextlib.suppress(BudgetSpent):
        trainer.train(resume_from_checkpoint=resume)
    if gradients is not None:
        gradients.close()
    if stage.keep_moments:
        if sharded is not None:
            sharded.put_together(everywhere=True)
        stage.policy.moments = Moments.of(stage.policy, trainer.optimizer)


def _spread(stage: StageContext, trainer: Any, state: ShardedState) -> ShardedGradients:
    """The policy's gradients, each in the process that has its tensor's state, where the trainer clips it."""
    gradients = ShardedGradients(stage.policy.tensors().values(), state.owner, stage.run.ranks)
    trainer.accelerator.clip_grad_norm_ = gradients.clip
    return gradients


def complete_reference(model: Any) -> None:
    """Give the adapter `ref`, where TRL has made one to be the start policy, all that `default` starts with.

    TRL copies what has `.default.` in its name, and so leaves out what a tuner keeps in a dict by adapter.
    """
    if "ref" not in getattr(model, "peft_config", {}):
        return
    tensors = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.endswith(".default"):
                tensors[f"{name.removesuffix('default')}ref"].copy_(tensor)


class _Driver(TrainerCallback):
    """Tells the harness about every step; the trainer logs each of them, so the log is the hook.

    A parameterisation that changes as it is trained (a rank schedule) has `before_update(stage)` and
    `after_update(stage)`, called around an update while its gradients are there, and `save_state` and
    `load_state(stage, folder)` for checkpoints.
    """

    def __init__(
        self,
        stage: StageContext,
        parameterisation: Any,
        sharded: ShardedState | None,
        gradients: ShardedGradients | None,
    ) -> None:
        self.stage = stage
        self.parameterisation = parameterisation
        self.sharded, self.gradients = sharded, gradients

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.stage.resume_from is not None and hasattr(self.parameterisation, "load_state"):
            self.parameterisation.load_state(self.stage, self.stage.resume_from)
        if self.sharded is not None:  # a checkpoint's whole state has been loaded by now
            self.sharded.divide()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if hasattr(self.parameterisation, "before_update"):
            if self.gradients is not None:
                self.gradients.whole()
            self.parameterisation.before_update(self.stage)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.sharded is not None:
            self.sharded.spread()
        if hasattr(self.parameterisation, "after_update"):
            self.parameterisation.after_update(self.stage)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs is None or "train_runtime" in logs:
            return
        values = {key: float(value) for key, value in logs.items() if isinstance(value, (int, float))}
        if self.stage.after_step(values):
            control.should_training_stop = True
        elif self._checkpoint_due():
            control.should_save = True

    def _checkpoint_due(self) -> bool:
        """Only the first process saves; the others give it their part of the optimiser's state."""
        due = self.stage.checkpoint_due()
        if self.sharded is not None and self.stage.run.ranks.first(due):
            self.sharded.put_together()
        return due

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        with self.stage.run.meters.clock("overhead"):
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            if hasattr(self.parameterisation, "save_state"):
                self.parameterisation.save_state(self.stage, folder)
            self.stage.mark(folder)
        if self.sharded is not None:
            self.sharded.divide()


@contextmanager
def count_tokens(stage: StageContext, trainer: Any) -> Iterator[None]:
    """Charge every forward pass of the policy and of a reference model to the meters, generation excepted."""

    def charge(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if stage.run.meters.phase != "train":
            return
        ids = keywords.get("input_ids", arguments[0] if arguments else None)
        mask = keywords.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.ndim == 2:
            tokens = int(mask.sum())
        elif isinstance(ids, torch.Tensor):
            tokens = ids.numel()
        else:
            tokens = keywords["inputs_embeds"].shape[0] * keywords["inputs_embeds"].shape[1]
        if torch.is_grad_enabled():
            stage.charge_training(tokens)
        else:
            stage.charge_forward(tokens)

    models = [stage.policy.model, getattr(trainer, "ref_model", None)]
    hooks = [
        _backbone(model).register_forward_pre_hook(charge, with_kwargs=True) for model in models if model is not None
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _backbone(model: Any) -> Any:
    """The decoder below any adapter and head: every token passes through it once a forward pass."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model
