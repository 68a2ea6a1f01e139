"""The table of searches without gradients: is there a signal, and have weights moved by more than noise?

From the metrics that fitness methods log at every iteration, as means over the final runs. Shown where there are any.
"""

from __future__ import annotations

from reports.numbers import MISSING
from reports.sweep_data import MethodData, SweepData
from reports.tables import Table

_MEANS = {
    "reward spread": ("reward_std", "{:.3f}"),
    "identical pairs": ("identical_pairs", "{:.0%}"),
    "pair correlation": ("pair_correlation", "{:+.2f}"),
    "right": ("correct", "{:.0%}"),
    "well formed": ("well_formed", "{:.0%}"),
    "cut off": ("truncated", "{:.1%}"),
    "perturbation kept": ("perturbation_cosine", "{:.4f}"),
    "step / random walk": ("update_to_random_walk", "{:.2f}"),
}


def search(data: SweepData) -> Table:
    """One row a method that searches; no rows where none does."""
    rows = [_row(method) for method in data.methods if "reward_std" in method.search]
    columns = ["method", "iterations", *_MEANS, "drift", "drift / random walk"]
    note = (
        "Means over iterations and final runs; drift is the distance from the start weights at the end. Right and well "
        "formed are of the members' answers while searching. Identical pairs: mirrored members that scored the same, "
        "which say nothing. Perturbation kept: cosine between what a member's weights differ by and what was intended "
        "(below 1 where 16-bit weights round it away). Random walk: alpha sqrt(d / N) a step and alpha sqrt(d T / N) "
        "in all, what rewards without information would give; a ratio of 1 says that nearly all movement is noise, not "
        "that nothing was learnt."
    )
    return Table("Searches without gradients", columns, rows, note)


def _row(method: MethodData) -> list[str]:
    found = method.search
    means = [form.format(found[name]["mean"]) if name in found else MISSING for name, form in _MEANS.values()]
    drift = found.get("drift")
    ratio = found.get("drift_to_random_walk")
    return [
        method.name,
        f"{found['reward_std']['steps']:.0f}",
        *means,
        MISSING if drift is None else f"{drift['last']:.3g}",
        MISSING if ratio is None else f"{ratio['last']:.2f}",
    ]
