"""A Pareto front over any two meters of the final runs: which methods no other beats on both.

More is better for accuracy, reward and well-formed answers, less for everything else. Costs are of one final run.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UserError, unknown
from reports.comparison import Comparison, Standing
from reports.numbers import count, points, seconds
from reports.panel import Figure, Looks, panel

SHARES = ("accuracy", "well_formed", "truncated")
BETTER_HIGH = ("accuracy", "reward", "well_formed")
METERS = {
    "accuracy": "accuracy, %",
    "reward": "reward",
    "well_formed": "well-formed answers, %",
    "truncated": "answers cut off, %",
    "tokens_per_completion": "tokens of an answer",
    "device_seconds": "training and generation time of a run, s",
    "train_seconds": "training time of a run, s",
    "generate_seconds": "generation time of a run, s",
    "generated_tokens": "generated tokens of a run",
    "trained_tokens": "trained tokens of a run",
    "rollouts": "rollouts of a run",
    "flops": "floating-point operations of a run",
    "steps": "updates of a run",
    "peak_memory_bytes": "peak memory, bytes",
    "trainable_parameters": "trainable parameters",
    "kl_per_sequence": "divergence from the start, nats a completion",
}


def parse_meters(text: str) -> tuple[str, str]:
    """`flops,accuracy` as the horizontal and the vertical meter; UserError for anything else."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in METERS:
            raise unknown("meter", name, METERS, "--pareto flops,accuracy")
    if len(names) != 2 or names[0] == names[1]:
        raise UserError(f"--pareto {text}: a front is over two different meters. Write for example flops,accuracy.")
    return names[0], names[1]


def mean_of(one: Standing, meter: str) -> float | None:
    """The mean over the final runs; None where one of them has no such figure."""
    values = [run[meter] for run in one.method.runs]
    return None if any(value is None for value in values) else float(sum(values) / len(values))


def undominated(found: Sequence[tuple[float, float]], meters: tuple[str, str]) -> list[bool]:
    """For each point, whether no other is as good on both meters and better on one."""
    signs = [1.0 if meter in BETTER_HIGH else -1.0 for meter in meters]
    good = [(signs[0] * x, signs[1] * y) for x, y in found]
    return [not any(o != p and o[0] >= p[0] and o[1] >= p[1] for o in good) for p in good]


def pareto_figure(comparison: Comparison, looks: Looks, meters: tuple[str, str]) -> Figure | None:
    """Every method as a point, those on the front filled and joined; None where nobody has both figures."""
    measured = [(one.method.name, mean_of(one, meters[0]), mean_of(one, meters[1])) for one in comparison.standings]
    drawn = [(name, _scaled(meters[0], x), _scaled(meters[1], y)) for name, x, y in measured if None not in (x, y)]
    if not drawn:
        return None
    on_front = undominated([(x, y) for _, x, y in drawn], meters)
    title = f"{_words(meters[1]).capitalize()} against {_words(meters[0])}"
    with panel(f"pareto-{'-'.join(meters).replace('_', '-')}", title, 3.1) as (axes, done):
        front = sorted((x, y) for (_, x, y), best in zip(drawn, on_front, strict=True) if best)
        axes.plot(*zip(*front, strict=True), color="#999999", linewidth=1, zorder=0)
        for (name, x, y), best in zip(drawn, on_front, strict=True):
            colour, marker = looks[name]
            face = colour if best else "white"
            axes.plot(x, y, marker, color=colour, markerfacecolor=face, markersize=7 if best else 5, label=name)
            if best:
                axes.annotate(name, (x, y), (5, 5), textcoords="offset points", fontsize=8)
        axes.set_xlabel(f"{METERS[meters[0]]}\n(filled: nothing is better on both)")
        axes.set_ylabel(METERS[meters[1]])
        axes.margins(x=0.12, y=0.1)
        for axis, meter in ((axes.xaxis, meters[0]), (axes.yaxis, meters[1])):
            if meter in _COUNTED:
                axis.set_major_formatter(lambda value, _: count(value))
    best_names = [name for (name, _, _), best in zip(drawn, on_front, strict=True) if best]
    each = "; ".join(f"{n} {_said(meters[1], y)} at {_said(meters[0], x)}" for n, x, y in drawn)
    return done(f"On the front: {', '.join(best_names)}. {each}")


_COUNTED = (
    "generated_tokens", "trained_tokens", "rollouts", "flops", "steps", "peak_memory_bytes", "trainable_parameters",
)  # fmt: skip


def _scaled(meter: str, value: float | None) -> float:
    assert value is not None
    return 100 * value if meter in SHARES else value


def _said(meter: str, value: float) -> str:
    if meter in SHARES:
        return f"{points(value / 100)}%"
    if meter.endswith("seconds"):
        return seconds(value)
    return count(value) if meter in _COUNTED else f"{value:.3g}"


def _words(meter: str) -> str:
    return meter.replace("_", " ").replace(" bytes", "").replace("flops", "FLOPs")
