"""`beyondrl plan FILE`: what a sweep would take, before any of it is spent; with `--check` beside what it took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DATABASE, OUT, RUNS, Json, Runs, Slots
from cli.output import console

if TYPE_CHECKING:
    from harness.contracts import Resources
    from harness.document import Document
    from sweeps.estimate.estimate import Estimate
    from sweeps.estimate.history import Past
    from sweeps.file import Price, SweepFile
    from sweeps.resolve import Sweep

DeviceMemory = Annotated[
    list[str] | None, typer.Option("--device-memory", help="A device to hold runs against: 24GB, or NAME=24GB.")
]


def plan(
    file: Annotated[str, typer.Argument(help="A sweep file, or the name of a shipped one.")],
    runs: Runs = RUNS,
    slots: Slots = None,
    price: Annotated[str | None, typer.Option("--price", help="Of a device-hour: 2.50, or '2.50 EUR'.")] = None,
    device_memory: DeviceMemory = None,
    check: Annotated[bool, typer.Option("--check", help="Show what was estimated beside what the runs took.")] = False,
    json: Json = False,
) -> None:
    """Say what a sweep would take: tokens, operations, device-hours, money, memory, disk; run nothing."""
    from cli.sweep import Places, carry_out
    from cli.sweep_files import find_sweep_file
    from sweeps.league import read_league

    places = Places(runs, DATABASE, OUT)
    for parsed, document in read_league(find_sweep_file(file)).members:
        if check:
            _check(parsed, document, runs)
            continue
        priced = parsed if price is None else parsed.model_copy(update={"price": price_of(price)})
        carry_out(priced, document, ["plan", file], places, slots, True, json, devices=tuple(device_memory or ()))


def price_of(text: str | None) -> Price | None:
    """`2.50` or `2.50 EUR`; UserError for anything else."""
    from pydantic import ValidationError

    from harness.errors import UserError
    from sweeps.file import Price

    if text is None:
        return None
    amount, _, currency = text.strip().partition(" ")
    given = {"per_device_hour": amount, **({"currency": currency.strip().upper()} if currency else {})}
    try:
        return Price.model_validate(given)
    except ValidationError:
        raise UserError(f"{text!r} is no price of a device-hour: --price 2.50, or --price '2.50 EUR'.") from None


def estimates_of(
    sweep: Sweep, history: list[Past], slots: int, resources: Resources, described: tuple[str, ...] = ()
) -> list[Estimate]:
    """One estimate an arm, from the parts of its method and finished runs."""
    from sweeps.estimate.devices import described as device_of
    from sweeps.estimate.devices import device_name, devices_here
    from sweeps.estimate.estimate import estimate_sweep
    from sweeps.estimate.memory import Spread

    devices = [*devices_here(slots, resources.processes), *(device_of(text) for text in described)]
    spread = Spread.of(resources.processes, resources.zero_stage)
    return estimate_sweep(sweep, history, devices, device_name(), spread, resources.tensor_parallel)


def estimates_apart(
    parsed: SweepFile,
    document: Document,
    runs: Path,
    before: float,
    slots: int,
    resources: Resources,
    described: tuple[str, ...] = (),
) -> list[Estimate]:
    """`estimates_of` from runs that had ended `before` (seconds since the epoch), made in a process that is forked from
    one that has all the imports it takes: this one stays light beside the runs at work."""
    from concurrent.futures import ProcessPoolExecutor

    from harness.fork_server import begin, fork_server

    with ProcessPoolExecutor(1, fork_server(), begin) as pool:
        return pool.submit(_estimates, parsed, document, runs, before, slots, resources, described).result()


def _estimates(
    parsed: SweepFile,
    document: Document,
    runs: Path,
    before: float,
    slots: int,
    resources: Resources,
    described: tuple[str, ...],
) -> list[Estimate]:
    from harness.models import load_model
    from sweeps.estimate.history import read_history
    from sweeps.resolve import resolve

    history = [past for past in read_history(runs) if past.result.finished_at <= before]
    sweep = resolve(parsed, document, load_model(parsed.model).reference())
    return estimates_of(sweep, history, slots, resources, described)


def _check(parsed: SweepFile, document: Document, runs: Path) -> None:
    from harness.errors import UserError
    from harness.models import load_model
    from sweeps.estimate.record import check as compare
    from sweeps.estimate.table import check_table
    from sweeps.resolve import resolve

    found = compare(resolve(parsed, document, load_model(parsed.model).reference()), runs)
    if not found:
        raise UserError(
            f"There is nothing to check {parsed.name!r} against in {runs}: an estimate is kept when a sweep is started "
            f"(beyondrl sweep {parsed.name}), and needs finished final runs."
        )
    for part in check_table(found):
        console().print(part, highlight=False)
