"""What a run is evaluated on, for methods that make an adapter for each of just these texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.context import StageContext


def evaluated_items(stage: StageContext) -> dict[str, int]:
    """Each split that is asked, at the end or for the learning curve, with the most items asked of it."""
    protocol = stage.run.spec.evaluation
    wanted: list[tuple[str, int]] = [(protocol.split, protocol.items)]
    if protocol.curve_points:
        wanted.append(("val", protocol.curve_items))
    return {split: max(count for other, count in wanted if other == split) for split, _ in wanted}
