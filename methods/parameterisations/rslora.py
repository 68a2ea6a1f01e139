"""rsLoRA: LoRA scaled by alpha / sqrt(rank), so that the update does not shrink as the rank grows.

Kalajdzievski 2023, arXiv 2312.03732, theorem 3.2. At rank 16 and alpha 8 the scale is that of LoRA's 32 / 16.
"""

from __future__ import annotations

from harness.parts import parameterisation
from methods.parameterisations.lora import TENFOLD, low_rank
from methods.parameterisations.tuner import Tuner
from methods.settings import LoraAlpha, Rank, Targets


@parameterisation("rslora", version=1, source="Kalajdzievski 2023, arXiv 2312.03732, theorem 3.2", scales=TENFOLD)
def rslora(rank: Rank = 16, alpha: LoraAlpha = 8.0, targets: Targets = "all-linear") -> Tuner:
    """LoRA scaled by alpha / sqrt(rank)."""
    return low_rank("rslora", rank, alpha, targets)
