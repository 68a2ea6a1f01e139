"""Ingest and report of very many runs: rows a second, one new run, the report's time, and memory.

    python -m benchmarks.scale [--runs 10000] [--rows 20000000] [--folder FOLDER] [--keep]

One short real run of the lab model (sft) is made and its files are written again for every run, with another
identity and seed and with as many sample rows as it takes; a sweep of 20 arms names them as its trials and final runs.
Then, each in a process of its own: ingest of all, ingest with one run more, the sweep's report. Seconds are the wall's,
since files and threads are what is measured; memory is each process's peak. Everything is removed at the end. Exit code
1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from harness.contracts import Resources
from harness.models import load_model
from harness.record import RunDirectory
from harness.registry import find_method, find_task
from harness.spec import Budget, EvaluationProtocol, RunSpec
from harness.sweep_record import Arm, SweepRecord, Trial

ARMS, FINALS = 20, 5
UPDATES = 20
BOUNDS = {
    "rows a second": (200_000.0, "least"),
    "ingest of one new run, s": (1.0, "most"),
    "report, s": (30.0, "most"),
    "peak memory, GB": (4.0, "most"),
}


def main() -> int:
    """Print figures and bounds."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=10_000)
    arguments.add_argument("--rows", type=int, default=20_000_000)
    arguments.add_argument("--folder", type=Path)
    arguments.add_argument("--keep", action="store_true")
    given = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="beyondrl-scale-", dir=given.folder))
    try:
        figures = _measure(folder, given.runs, given.rows)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    missed = 0
    for name, value in figures.items():
        bound, side = BOUNDS.get(name, (None, ""))
        good = bound is None or (value >= bound if side == "least" else value <= bound)
        missed += not good
        said = "" if bound is None else f"  at {side} {bound:,g}{'' if good else '  BROKEN'}"
        print(f"{name:28} {value:14,.2f}{said}")
    return int(missed > 0)


def _measure(folder: Path, count: int, rows: int) -> dict[str, float]:
    runs, database = folder / "runs", folder / "results.duckdb"
    template = _apart(lambda: _real_run(folder / "template"))[0]
    made, _, seconds = _timed_apart(lambda: generate(RunDirectory(Path(template)), runs, count + 1, rows // count))
    print(f"{count:,} run directories of {rows // count:,} sample rows written in {seconds:.0f} s")
    late = Path(made).rename(folder / "late")
    _, first_memory, ingest_seconds = _timed_apart(lambda: _ingest(runs, database))
    late.rename(made)
    _, one_memory, one_seconds = _timed_apart(lambda: _ingest(runs, database))
    _, none_memory, none_seconds = _timed_apart(lambda: _ingest(runs, database))
    _, report_memory, report_seconds = _timed_apart(lambda: _report(database, folder / "out"))
    return {
        "ingest of all, s": ingest_seconds,
        "rows a second": count * (rows // count) / ingest_seconds,
        "ingest of one new run, s": one_seconds,
        "ingest of nothing new, s": none_seconds,
        "report, s": report_seconds,
        "peak memory, GB": max(first_memory, one_memory, none_memory, report_memory) / 1e9,
        "peak memory of the report, GB": report_memory / 1e9,
        "database, GB": database.stat().st_size / 1e9,
    }


def generate(template: RunDirectory, runs: Path, count: int, rows: int) -> str:
    """Write `count` runs like `template` and the sweep that they are of; returns the folder of the last trial."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    spec, result = template.read_spec(), template.read_result()
    seed = pq.read_table(template.samples)
    table = pa.concat_tables([seed] * -(-rows // len(seed))).slice(0, rows)
    column = {name: place for place, name in enumerate(table.column_names)}
    table = table.set_column(column["item_index"], "item_index", pa.array(range(rows)))
    table = table.set_column(column["item_id"], "item_id", pa.array([f"{place:016x}" for place in range(rows)]))
    random_bits = random.Random(0)
    arms: list[dict[str, Any]] = [{"trials": [], "finals": []} for _ in range(ARMS)]
    finals = min(FINALS, max(1, count // ARMS))
    last = ""
    for number in range(count):
        arm, place = number % ARMS, number // ARMS
        final = place < finals
        searched = {
            "learning_rate": 1e-5 * (1 + (arm if final else number)),
            "batch_size": 8 if final else random_bits.choice([4, 8, 16, 32]),
            "schedule": "linear" if final else random_bits.choice(["linear", "constant"]),
        }
        settings = spec.method.parameters | searched
        method = spec.method.model_copy(update={"parameters": settings})
        ours = RunSpec.model_validate(
            spec.model_dump() | {"method": method.model_dump(), "seed": place if final else 100}
        )
        directory = RunDirectory.of(runs, ours)
        directory.path.mkdir(parents=True)
        directory.spec.write_text(ours.model_dump_json())
        for file in (template.environment, template.events):
            shutil.copyfile(file, directory.path / file.name)
        right = pa.array([random_bits.random() < 0.3 + 0.01 * arm for _ in range(rows)])
        pq.write_table(table.set_column(column["correct"], "correct", right), directory.samples)
        own = result.model_copy(update={"run_id": ours.run_id})
        directory.result.write_text(own.model_dump_json())
        if final:
            arms[arm]["finals"].append(ours.run_id)
        else:
            last = str(directory.path)
            arms[arm]["trials"].append(
                Trial(number=place, run_id=ours.run_id, parameters=searched, state="complete",
                      value=random_bits.random())
            )  # fmt: skip
    record = SweepRecord(
        name="scale",
        identity="0" * 16,
        task=spec.task,
        model=spec.model,
        budget=spec.budget,
        tune_trials=count // ARMS,
        tune_seeds=[100],
        final_seeds=list(range(finals)),
        tune_evaluation=spec.evaluation,
        final_evaluation=spec.evaluation,
        commands=["python -m benchmarks.scale"],
        source="",
        finished=True,
        arms=[
            Arm(method=f"arm-{place:02}", trials=one["trials"], winner={}, final_run_ids=one["finals"])
            for place, one in enumerate(arms)
        ],
    )
    (runs / "sweeps" / "scale").mkdir(parents=True)
    (runs / "sweeps" / "scale" / "sweep.json").write_text(record.model_dump_json())
    return last


def _real_run(folder: Path) -> str:
    """A short run of supervised fine-tuning on the lab model."""
    from harness.worker import DONE, work

    spec = RunSpec(
        method=find_method("sft").resolve({"examples": 64}),
        task=find_task("countdown").resolve({"level": "L2"}),
        model=load_model("lab").reference(),
        budget=Budget(steps=UPDATES),
        seed=0,
        evaluation=EvaluationProtocol(split="test", items=500, curve_points=2),
    )
    directory = RunDirectory.of(folder, spec)
    directory.path.mkdir(parents=True)
    directory.spec.write_text(spec.model_dump_json())
    if work(directory.path, Resources()) != DONE:
        raise SystemExit(directory.error.read_text())
    return str(directory.path)


def _ingest(runs: Path, database: Path) -> str:
    from results.ingest import ingest

    return str(ingest(runs, database))


def _report(database: Path, out: Path) -> str:
    from reports.build import write_report

    return str(write_report(database, "scale", out).html)


def _timed_apart(work: Callable[[], str]) -> tuple[str, float, float]:
    """What `work` returns, the peak bytes of its process, and its seconds there, imports included."""
    answer = _apart(work)
    return answer[0], answer[1], answer[2]


def _apart(work: Callable[[], str]) -> tuple[str, float, float]:
    context = get_context("fork")
    ours, theirs = context.Pipe()

    def run() -> None:
        start = time.perf_counter()
        answer = work()
        theirs.send((answer, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0, time.perf_counter() - start))

    process = context.Process(target=run)
    process.start()
    theirs.close()
    try:
        answer: tuple[str, float, float] = ours.recv()
    except EOFError:
        raise SystemExit("a part of the benchmark failed; what it said stands above") from None
    process.join()
    return answer


if __name__ == "__main__":
    sys.exit(main())
