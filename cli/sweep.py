"""`beyondrl sweep FILE`: plan, tune, run the final seeds, ingest, report. The same command goes on after any stop.

A file of several tasks is that many sweeps, one after the other, and a report across them.
"""

from __future__ import annotations

import importlib
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.interrupted import Interrupted
from cli.options import DATABASE, OUT, RUNS, Database, DryRun, ExecutorName, Json, Out, RayAddress, Runs, Slots
from cli.output import console

if TYPE_CHECKING:
    from harness.document import Document
    from sweeps.estimate.estimate import Estimate
    from sweeps.file import SweepFile
    from sweeps.plan import SweepPlan


def sweep(
    file: Annotated[str, typer.Argument(help="A sweep file, or the name of a shipped one.")],
    dry_run: DryRun = False,
    runs: Runs = RUNS,
    database: Database = DATABASE,
    out: Out = OUT,
    slots: Slots = None,
    executor: ExecutorName = None,
    ray_address: RayAddress = None,
    json: Json = False,
) -> None:
    """Run a whole comparison from a sweep file: tuning, final runs, database, report."""
    from cli.sweep_files import find_sweep_file
    from harness.executors.choice import overruled
    from sweeps.league import read_league

    league = read_league(find_sweep_file(file))
    words = ["sweep", file]
    words += [] if executor is None else ["--executor", executor]
    words += [] if ray_address is None else ["--ray-address", ray_address]
    places, incomplete = Places(runs, database, out), False
    for parsed, document in league.members:
        chosen = overruled(parsed.executor, executor, ray_address)
        one = parsed.model_copy(update={"executor": chosen})
        try:
            carry_out(one, document, words, places, slots, dry_run, json)
        except typer.Exit:  # runs of it have failed, which is no reason to leave out the other sweeps
            incomplete = True
    if league.across is not None and not dry_run:
        _report_across(places, [member.name for member, _ in league.members], league.across)
    if incomplete:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Places:
    """Where runs, database and reports of a sweep are."""

    runs: Path
    database: Path
    out: Path


def carry_out(
    parsed: SweepFile,
    document: Document,
    words: list[str],
    places: Places,
    slots: int | None = None,
    dry_run: bool = False,
    json: bool = False,
    then: Callable[[], None] | None = None,
    devices: tuple[str, ...] = (),
) -> None:
    """Plan a sweep, run what is left of it, ingest and report, and do what comes `then`.

    `words` are the arguments that bring this about, `devices` described ones to hold the plan against. Raises
    typer.Exit(1) when a run has failed.
    """
    from cli.places import nearest_existing, require_writable
    from cli.plan import estimates_apart, estimates_of
    from harness.engines.choice import check_spread
    from harness.models import load_model
    from results.database import check
    from sweeps.controller import Controller
    from sweeps.directory import SweepDirectory
    from sweeps.estimate.devices import described
    from sweeps.estimate.history import read_history
    from sweeps.estimate.record import keep_estimates
    from sweeps.estimate.table import estimate_table
    from sweeps.plan import make_plan
    from sweeps.plan_table import plan_table
    from sweeps.progress import progress_for
    from sweeps.resolve import resolve

    for text in devices:
        described(text)  # one that cannot be read is said first of all
    executor = parsed.executor.open(parsed.resources.checked(parsed.evaluation.engine), slots, places.runs)
    if not dry_run and not SweepDirectory.of(places.runs, parsed.name).path.exists():
        executor.prepare()  # never begun, so there are runs to do: what they need is loaded while the plan is made
    model = load_model(parsed.model)
    check_spread(model.configuration(), parsed.resources.tensor_parallel)
    resolved = resolve(parsed, document, model.reference())
    if not dry_run:
        check(places.database)
        require_writable(places.runs, "--runs")
        require_writable(places.database.parent, "--database")
    plan = make_plan(resolved, places.runs)
    slots, resources = executor.slots, executor.resources
    if plan.runs_left and not dry_run:
        executor.prepare()
    terminal = console()

    def show(parts: Iterable[object]) -> None:
        for part in parts:
            terminal.print(part, highlight=False, soft_wrap=not terminal.is_terminal)

    def estimated() -> list[Estimate]:
        return estimates_of(resolved, read_history(places.runs), slots, resources, devices)

    def show_estimates(estimates: list[Estimate]) -> None:
        free = shutil.disk_usage(nearest_existing(places.runs)).free
        show(estimate_table(plan, estimates, parsed.price, slots, free, resources.devices))

    if json and dry_run:
        _print_json(plan, estimated())
        return
    show(plan_table(plan))
    if dry_run:
        show_estimates(estimated())
        return
    command = _command(words, places)
    anywhere = _command(words, Places(RUNS, DATABASE, OUT))

    started = time.time()
    threading.Thread(target=_load_report).start()

    def begun() -> None:
        estimates: list[Estimate] = []
        if plan.runs_left:
            estimates = estimates_apart(parsed, document, places.runs, started, slots, resources, devices)
            show_estimates(estimates)
        keep_estimates(SweepDirectory.of(places.runs, resolved.name), resolved.identity, estimates)

    try:
        outcome = Controller(resolved, places.runs, executor, executor.resources, [anywhere]).run(
            progress_for(terminal), begun
        )
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped; what is finished is kept. Go on with: {command}") from None
    if outcome.set_aside is not None:
        terminal.print(f"Another sweep had this name; it is kept as {outcome.set_aside}.", highlight=False)
    _report(places, resolved.name)
    if then is not None:
        then()
    for method, why in outcome.failures.items():
        terminal.print(f"{method} is incomplete: {why}", markup=False, highlight=False, soft_wrap=True)
    if outcome.failures:
        terminal.print(f"To try the failed runs again: {command}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1)


_REPORT = (
    "results.ingest", "duckdb", "pandas", "pyarrow.parquet",
    "reports.build", "reports.leaderboard", "matplotlib.backends.backend_svg",
)  # fmt: skip
"""What ingest and report import; pyarrow asks for pandas at the first list that it is given."""


def _load_report() -> None:
    """Import what ingest and report need while the first runs wait for their own imports: nothing waits for it then,
    neither slots at the end nor, beside the runs, their cores."""
    for name in _REPORT:
        importlib.import_module(name)


def _report(places: Places, name: str) -> None:
    from cli.data import say_damaged, say_where
    from reports.build import write_report
    from reports.leaderboard import leaderboard_text
    from results.ingest import ingest

    say_damaged(ingest(places.runs, places.database).damaged)
    report = write_report(places.database, name, places.out)
    terminal = console()
    board = leaderboard_text(report.data, report.comparison, terminal.width)
    terminal.print(board, markup=False, highlight=False, soft_wrap=True)
    say_where(report.html, places.out)


def _report_across(places: Places, sweeps: list[str], name: str) -> None:
    from cli.data import say_where
    from reports.league import write_league

    say_where(write_league(places.database, sweeps, name, places.out).html, places.out)


def _command(words: list[str], places: Places) -> str:
    """What to type to do this again."""
    words = ["beyondrl", *words]
    if places.runs != RUNS:
        words += ["--runs", str(places.runs)]
    if places.database != DATABASE:
        words += ["--database", str(places.database)]
    return shlex.join(words)


def _print_json(plan: SweepPlan, estimates: list[Estimate]) -> None:
    import dataclasses
    import json
    import sys

    from pydantic import BaseModel

    def plain(value: object) -> object:
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)

    told = dataclasses.asdict(plan) | {"estimates": [dataclasses.asdict(one) for one in estimates]}
    json.dump(told, sys.stdout, indent=1, default=plain)
    sys.stdout.write("\n")
