"""`beyondrl run`: one method on one task with one seed."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.interrupted import Interrupted
from cli.options import RUNS, DryRun, Json, Runs
from cli.output import console
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.executors.local import LocalExecutor
    from harness.spec import Retention, RunSpec
    from sweeps.jobs import Jobs

_ITEMS = 200
_LOOK_SECONDS = 0.5
_BUDGET, _EVALUATION = "Budget (at least one; whichever is reached first)", "Evaluation"


def run(
    method: Annotated[str, typer.Option(help="Method (beyondrl list methods).")],
    task: Annotated[str, typer.Option(help="Task (beyondrl list tasks).")],
    model: Annotated[str, typer.Option(help="Model: a shipped one, a directory, or OWNER/NAME on the Hub.")] = "lab",
    parameter: Annotated[list[str], typer.Option("-p", help="Method parameter, key=value.")] = [],  # noqa: B006
    task_parameter: Annotated[list[str], typer.Option("-t", help="Task parameter, key=value.")] = [],  # noqa: B006
    data: Annotated[str | None, typer.Option(help="The task's data: short for -t data=PATH.")] = None,
    training: Annotated[
        list[str], typer.Option(help="Option of every stage, key=value: accumulation=4, early_stopping=2, ...")
    ] = [],  # noqa: B006
    control: Annotated[
        str | None, typer.Option(help="Negative control: train on shuffled or on constant verdicts.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random stream.")] = 1,
    flops: Annotated[float | None, typer.Option(help="Operations.", rich_help_panel=_BUDGET)] = None,
    device_seconds: Annotated[float | None, typer.Option(help="Train + generate.", rich_help_panel=_BUDGET)] = None,
    generated_tokens: Annotated[int | None, typer.Option(help="Tokens sampled.", rich_help_panel=_BUDGET)] = None,
    trained_tokens: Annotated[int | None, typer.Option(help="Tokens trained on.", rich_help_panel=_BUDGET)] = None,
    rollouts: Annotated[int | None, typer.Option(help="Completions sampled.", rich_help_panel=_BUDGET)] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser updates.", rich_help_panel=_BUDGET)] = None,
    split: Annotated[str, typer.Option(help="val or test.", rich_help_panel=_EVALUATION)] = "val",
    items: Annotated[
        int | None, typer.Option(help="Questions; 200, or all of fewer.", rich_help_panel=_EVALUATION)
    ] = None,
    samples: Annotated[int, typer.Option(help="Completions a question.", rich_help_panel=_EVALUATION)] = 1,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", rich_help_panel=_EVALUATION)] = 0.0,
    top_p: Annotated[float, typer.Option(help="Nucleus.", rich_help_panel=_EVALUATION)] = 1.0,
    max_new_tokens: Annotated[int | None, typer.Option(help="Tokens.", rich_help_panel=_EVALUATION)] = None,
    engine: Annotated[
        str | None, typer.Option(help="hf or vllm; vllm by itself with CUDA and vLLM.", rich_help_panel=_EVALUATION)
    ] = None,
    curve_points: Annotated[int, typer.Option(help="Points on val.", rich_help_panel=_EVALUATION)] = 4,
    curve_items: Annotated[
        int | None, typer.Option(help="Questions a point; 100, or all of fewer.", rich_help_panel=_EVALUATION)
    ] = None,
    retention: Annotated[
        str | None, typer.Option(help="Probes to score before and after: lab, standard.", rich_help_panel=_EVALUATION)
    ] = None,
    resources: Annotated[
        list[str], typer.Option(help="What the run gets of this machine, key=value: threads=4, processes=2, ...")
    ] = [],  # noqa: B006
    runs: Runs = RUNS,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Run one method on one task; an identical run that is finished is shown, not repeated."""
    from cli.places import require_writable
    from cli.settings import settings
    from harness.engines.choice import default_engine
    from sweeps.jobs import Jobs

    budget = {
        "flops": flops,
        "device_seconds": device_seconds,
        "generated_tokens": generated_tokens,
        "trained_tokens": trained_tokens,
        "rollouts": rollouts,
        "steps": steps,
    }
    evaluation = {
        "split": split,
        **({} if items is None else {"items": items}),
        "samples": samples,
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
        "engine": engine or default_engine(),
        "curve_points": curve_points,
        **({} if curve_items is None else {"curve_items": curve_items}),
        "retention": _retention(retention),
    }
    given_data = {} if data is None else {"data": data}
    chosen = (settings(parameter, "-p"), settings(task_parameter, "-t") | given_data)
    options = settings(training, "--training", "accumulation=4")
    spec = _spec(method, task, model, *chosen, options, control, seed, budget, evaluation)
    executor = _executor(resources, model, spec, runs)
    jobs = Jobs(runs, executor, executor.resources)
    if dry_run:
        terminal = console()
        terminal.print_json(spec.model_dump_json())
        terminal.print(f"run {spec.run_id}: {jobs.directory(spec).status()}", highlight=False)
        return
    require_writable(runs, "--runs")
    try:
        _drive(spec, jobs, quiet=json)
    except KeyboardInterrupt:
        command = shlex.join(["beyondrl", *sys.argv[1:]])
        raise Interrupted(f"Stopped; the run can be taken up again. Go on with: {command}") from None
    finally:
        executor.close()
    _show(spec, jobs, json)


def _executor(given: list[str], model: str, spec: RunSpec, runs: Path) -> LocalExecutor:
    """This machine, for one run with the resources of the command line; UserError for what it has not got."""
    from cli.settings import settings
    from harness.engines.choice import check_spread
    from harness.executors.choice import LocalChoice, RunResources
    from harness.frozen import read_options
    from harness.models import load_model

    wanted = read_options(RunResources, settings(given, "--resources", "threads=4"), "resources")
    check_spread(load_model(model).configuration(), wanted.tensor_parallel)
    return LocalChoice().open(wanted.checked(spec.evaluation.engine), 1, runs)


def _spec(
    method: str,
    task: str,
    model: str,
    parameters: dict[str, Any],
    task_parameters: dict[str, Any],
    training: dict[str, Any],
    control: str | None,
    seed: int,
    budget: dict[str, Any],
    evaluation: dict[str, Any],
) -> RunSpec:
    """The spec of the run; UserError for anything in it that is not there or not possible."""
    from pydantic import ValidationError

    from harness.control import as_control
    from harness.models import load_model
    from harness.plan import check_evaluation, control_refusal, items_there, lacking, refusal, training_refusal
    from harness.registry import find_method, find_task
    from harness.spec import Budget, EvaluationProtocol, RunSpec
    from harness.training import read_training

    if task.endswith((".jsonl", ".json", ".csv", ".parquet")):
        raise UserError(f"A file is no task of its own: --task jsonl --data {shlex.quote(task)}.")
    method_entry, task_entry = find_method(method), find_task(task)
    resolved, resolved_task = method_entry.resolve(parameters), task_entry.resolve(task_parameters)
    reference = load_model(model).reference()
    pipeline = method_entry.create(**parameters)
    task_instance = task_entry.create(**task_parameters)
    reason = refusal(pipeline, task_instance, reference)
    if reason is not None:
        raise UserError(reason)
    try:
        limits, protocol = Budget(**budget), EvaluationProtocol(**{"items": _ITEMS, **evaluation})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(map(str, first["loc"])).replace("_", "-") if first["loc"] else "evaluation"
        message = first["msg"].removeprefix("Value error, ")
        given = f"{option}={first['input']}" if first["loc"] else option
        raise UserError(f"{given} is not possible: {message[0].lower()}{message[1:]}.") from None
    if pipeline.stages and not limits.limits():
        raise UserError(f"{method!r} trains, so it needs a budget: for example --flops 1e12 or --steps 100.")
    options = read_training(training)
    kind = None if control is None else as_control(control)
    reason = training_refusal(pipeline, options, protocol) or control_refusal(pipeline, kind)
    if reason is not None:
        raise UserError(f"{method}: {reason}")
    there = {} if "items" in evaluation else {"items": items_there(task_instance, protocol.split, protocol.items)}
    if protocol.curve_points and "curve_items" not in evaluation:
        there["curve_items"] = items_there(task_instance, "val", protocol.curve_items)
    protocol = protocol.model_copy(update=there)
    check_evaluation(task_instance, protocol)
    reason = lacking(pipeline, task_instance)
    if reason is not None:
        raise UserError(reason)
    return RunSpec(
        method=resolved,
        task=resolved_task,
        model=reference,
        budget=limits,
        seed=seed,
        evaluation=protocol,
        training=options,
        control=kind,
    )


def _retention(suite: str | None) -> Retention | None:
    from sweeps.retention import RetentionChoice, resolve_retention

    return None if suite is None else resolve_retention(RetentionChoice(suite=suite))


def _drive(spec: RunSpec, jobs: Jobs, quiet: bool) -> None:
    """Submit the run and follow it to its end."""
    from sweeps.curve import CurveReader

    directory, curves, shown = jobs.directory(spec), CurveReader(), 0
    if not quiet:
        console().print(f"run {spec.run_id} in {directory.path}", highlight=False, soft_wrap=True)
    while True:
        look = jobs.look(spec)
        if look in ("done", "failed"):
            return
        if look in ("ready", "pruned"):
            jobs.submit(spec)
        curve = curves.read(directory.events)
        for point in sorted(curve)[shown:]:
            if not quiet:
                console().print(f"  point {point + 1} of the curve: {100 * curve[point]:.1f}% on val", highlight=False)
            shown += 1
        jobs.executor.wait(_LOOK_SECONDS)


def _show(spec: RunSpec, jobs: Jobs, as_json: bool) -> None:
    directory = jobs.directory(spec)
    if not directory.result.exists():
        failure = directory.read_failure()
        if failure.failure == "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory.path))
        raise UserError(
            f"The run failed in {failure.phase} ({failure.failure}): {failure.message.strip().partition(chr(10))[0]} "
            f"Its output is in {directory.path / 'output.log'}."
        )
    result = directory.read_result()
    if as_json:
        sys.stdout.write(result.model_dump_json(indent=1) + "\n")
        return
    score, meters = result.score, result.meters
    console().print(
        f"{spec.method.name} on {spec.task.name}, seed {spec.seed}: {100 * score.accuracy:.1f}% of {score.items} "
        f"{score.split} items; {meters.device_seconds:.1f} device-seconds, {meters.flops:.3g} operations, "
        f"{meters.generated_tokens} tokens generated. {_place(directory.path)}",
        highlight=False,
        soft_wrap=True,
    )


def _place(path: Path) -> str:
    return f"Files: {path}"
