"""Everything that the database holds about one sweep, as frozen records: what a report is made from.

Reads the database only. Methods come in the order of the sweep file; a matrix of scores is [seeds, items] over the
items that every finished final run answered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import UserError, unknown
from reports.prompts import readable
from reports.statistics import Matrix
from results.database import connect, named_rows

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]


@dataclass(frozen=True)
class MethodData:
    """One arm of the sweep; `runs`, `seeds` and the rows of `scores` are its finished final runs."""

    name: str
    winner: Row | None
    runs: list[Row]
    seeds: list[int]
    scores: Matrix
    curve: list[Row]
    trials: list[Row]
    """One a number. Its cost is that of its runs, one for each seed that trials are scored on, but for those that an
    earlier trial had already made."""
    failures: list[Row]
    planned_finals: int
    stages: list[Row] = field(default_factory=list)
    """Of a pipeline of several stages: what each is, cost and score after it as means over the final runs."""
    retention: list[Row] = field(default_factory=list)
    """`probe`, `measure`, `items`, and `before` and `after` as means over the final runs."""
    search: dict[str, Row] = field(default_factory=dict)
    """By name of what a search without gradients logs: its `mean` over steps and runs, the mean of each run's `last`
    value, and the mean number of `steps`."""


@dataclass(frozen=True)
class SweepData:
    """One sweep: its own row, its arms, what was refused, where it ran, and one question with its answers."""

    sweep: Row
    methods: list[MethodData]
    refusals: list[Row]
    environments: list[Row]
    answers: list[Row]
    votes: list[Row] = field(default_factory=list)
    """How often (`votes`) people made which `choice` (a, b, tie, neither) between `method_a` and `method_b`."""


def read_sweep_data(database: Path, name: str) -> SweepData:
    """Read sweep `name`; UserError if the database does not know it."""
    with connect(database) as connection:
        known = [row["sweep"] for row in named_rows(connection, "SELECT sweep FROM sweeps ORDER BY sweep")]
        if name not in known:
            raise unknown("sweep in the database", name, known, "beyondrl ingest")
        (sweep,) = named_rows(connection, "SELECT * FROM sweeps WHERE sweep = ?", name)
        for key in ("task_parameters", "budget", "tune_evaluation", "final_evaluation", "commands"):
            sweep[key] = json.loads(sweep[key])
        arms = named_rows(connection, "SELECT method, winner FROM arms WHERE sweep = ? ORDER BY position", name)
        methods = [_method(connection, name, arm) for arm in arms]
        refusals = named_rows(connection, "SELECT method, reason FROM refusals WHERE sweep = ? ORDER BY method", name)
        where, answers = _environments(connection, name), _answers(connection, name)
        return SweepData(sweep, methods, refusals, where, answers, _votes(connection, name))


def _method(connection: duckdb.DuckDBPyConnection, sweep: str, arm: Row) -> MethodData:
    name = arm["method"]
    finals = named_rows(
        connection,
        "SELECT r.*, e.gpu FROM finals f LEFT JOIN runs r USING (run_id) LEFT JOIN environments e USING (run_id) "
        "WHERE f.sweep = ? AND f.method = ? ORDER BY f.position",
        sweep,
        name,
    )
    done = [row for row in finals if row["status"] == "done"]
    trials = named_rows(
        connection,
        "SELECT t.number, t.parameters, t.state, t.value, t.run_id, r.device_seconds, r.flops, r.generated_tokens, "
        "r.failure, r.failure_message FROM trials t LEFT JOIN runs r USING (run_id) "
        "WHERE t.sweep = ? AND t.method = ? ORDER BY t.number, t.run_id",
        sweep,
        name,
    )
    lost = [row for row in [*finals, *trials] if row["failure"] not in (None, "pruned")]
    curve = named_rows(
        connection,
        "SELECT r.seed, c.* FROM finals f JOIN runs r USING (run_id) JOIN curve c USING (run_id) "
        "WHERE f.sweep = ? AND f.method = ? AND r.status = 'done' ORDER BY r.seed, c.stage, c.point, c.step",
        sweep,
        name,
    )
    retention = named_rows(
        connection,
        "SELECT t.probe, t.measure, any_value(t.items) AS items, avg(t.before) AS before, avg(t.after) AS after, "
        "list(t.after - t.before ORDER BY r.seed) AS changes "
        "FROM finals f JOIN runs r USING (run_id) JOIN retention t USING (run_id) "
        "WHERE f.sweep = ? AND f.method = ? AND r.status = 'done' GROUP BY t.probe, t.measure "
        "ORDER BY t.probe, t.measure",
        sweep,
        name,
    )
    stages = named_rows(
        connection,
        "SELECT s.stage, min(s.description::VARCHAR) AS description, avg(s.device_seconds) AS device_seconds, "
        "avg(s.flops) AS flops, avg(s.generated_tokens) AS generated_tokens, avg(s.steps) AS steps, "
        "avg(s.accuracy) AS accuracy, avg(s.reward) AS reward, min(s.split) AS split, min(s.items) AS items, "
        "string_agg(DISTINCT s.stopped_by, ', ' ORDER BY s.stopped_by) AS stopped_by "
        "FROM finals f JOIN runs r USING (run_id) JOIN stages s USING (run_id) "
        "WHERE f.sweep = ? AND f.method = ? AND r.status = 'done' GROUP BY s.stage ORDER BY s.stage",
        sweep,
        name,
    )
    search = named_rows(
        connection,
        "SELECT name, avg(mean) AS mean, avg(last) AS last, avg(steps) AS steps FROM ("
        "SELECT m.name, r.seed, avg(m.value) AS mean, arg_max(m.value, m.stage * 1e12 + m.step) AS last, "
        "count(*) AS steps FROM finals f JOIN runs r USING (run_id) JOIN metrics m USING (run_id) "
        "WHERE f.sweep = ? AND f.method = ? AND r.status = 'done' AND m.value IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM metrics u WHERE u.run_id = m.run_id AND u.stage = m.stage "
        "AND u.name = 'update_norm') "
        "GROUP BY m.name, r.seed) GROUP BY name ORDER BY name",
        sweep,
        name,
    )
    return MethodData(
        name=name,
        winner=None if arm["winner"] is None else json.loads(arm["winner"]),
        runs=done,
        seeds=[row["seed"] for row in done],
        scores=_scores(connection, sweep, name, [row["seed"] for row in done]),
        curve=curve,
        trials=_one_a_number(trials),
        failures=[{key: row[key] for key in ("run_id", "failure", "failure_message")} for row in lost],
        planned_finals=len(finals),
        stages=stages if len(stages) > 1 else [],
        retention=retention,
        search={row["name"]: row for row in search},
    )


_COSTS = ("device_seconds", "flops", "generated_tokens")


def _one_a_number(rows: list[Row]) -> list[Row]:
    """Trials from rows that are one a trial and run, in the order of their numbers."""
    trials: dict[int, Row] = {}
    counted: set[str] = set()
    for row in rows:
        trial = trials.setdefault(row["number"], {**row, **dict.fromkeys(_COSTS, 0.0)})
        if row["run_id"] not in counted:
            counted.add(row["run_id"])
            trial |= {key: trial[key] + (row[key] or 0.0) for key in _COSTS}
    return list(trials.values())


def _scores(connection: duckdb.DuckDBPyConnection, sweep: str, method: str, seeds: list[int]) -> Matrix:
    """Mean correctness [seeds, items], the seeds in the order given and the items in the order of the split."""
    cells = named_rows(
        connection,
        "SELECT seed, item_id, correct FROM item_scores WHERE sweep = ? AND method = ? ORDER BY item_index, item_id",
        sweep,
        method,
    )
    items = {item: column for column, item in enumerate(dict.fromkeys(cell["item_id"] for cell in cells))}
    scores = np.full((len(seeds), len(items)), np.nan)
    for cell in cells:
        scores[seeds.index(cell["seed"]), items[cell["item_id"]]] = cell["correct"]
    if np.isnan(scores).any():
        raise UserError(
            f"The final runs of {method!r} in sweep {sweep!r} did not answer the same questions: rebuild the database "
            "(beyondrl ingest --rebuild) or run the sweep again."
        )
    return scores


def _environments(connection: duckdb.DuckDBPyConnection, sweep: str) -> list[Row]:
    """The distinct places where runs of the sweep ran, with the number of runs."""
    return named_rows(
        connection,
        'SELECT e."commit", e.dirty, e.diff_sha256, e.python, e.platform, e.cpu, e.cores, e.threads, e.gpu, '
        "e.memory_bytes, e.packages, count(*) AS runs FROM environments e WHERE e.run_id IN ("
        "SELECT run_id FROM finals WHERE sweep = $1 UNION SELECT run_id FROM trials WHERE sweep = $1) "
        "GROUP BY ALL ORDER BY ALL",
        sweep,
    )


def _answers(connection: duckdb.DuckDBPyConnection, sweep: str) -> list[Row]:
    """What every method answered to the first question of the split: first final run, first sample."""
    rows = named_rows(
        connection,
        "SELECT f.method, s.prompt, s.completion, s.correct, s.reason FROM finals f JOIN samples s USING (run_id) "
        "JOIN arms a ON a.sweep = f.sweep AND a.method = f.method "
        "WHERE f.sweep = ? AND f.position = 0 AND s.item_index = 0 AND s.sample = 0 ORDER BY a.position",
        sweep,
    )
    return [{**row, "prompt": readable(row["prompt"])} for row in rows]


def _votes(connection: duckdb.DuckDBPyConnection, sweep: str) -> list[Row]:
    """Votes between final runs of two methods; the base model itself stands for the runs of `base`, which it is."""
    if not named_rows(connection, "SELECT 1 FROM duckdb_tables() WHERE table_name = 'preferences'"):
        return []  # a database from before there were votes, and without any since
    return named_rows(
        connection,
        "WITH arm AS (SELECT DISTINCT f.method, f.run_id FROM finals f WHERE f.sweep = $1), "
        "start AS (SELECT a.method, s.revision FROM arms a JOIN sweeps s USING (sweep) "
        "WHERE s.sweep = $1 AND a.method = 'base'), "
        "vote AS (SELECT p.choice, coalesce(a.method, c.method) AS method_a, coalesce(b.method, d.method) AS method_b "
        "FROM preferences p LEFT JOIN arm a ON a.run_id = p.run_a LEFT JOIN arm b ON b.run_id = p.run_b "
        "LEFT JOIN start c ON p.run_a IS NULL AND c.revision = p.revision "
        "LEFT JOIN start d ON p.run_b IS NULL AND d.revision = p.revision) "
        "SELECT method_a, method_b, choice, count(*) AS votes FROM vote "
        "WHERE method_a IS NOT NULL AND method_b IS NOT NULL AND method_a <> method_b "
        "GROUP BY ALL ORDER BY ALL",
        sweep,
    )
