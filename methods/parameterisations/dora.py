"""DoRA: magnitude * direction, W' = m (W + s B A) / ||W + s B A||_c, with m, A and B trained.

Liu et al. 2024, arXiv 2402.09353, section 4, equation 5: the norm is taken of every row of W' (an output), and gets no
gradient (section 4.3). PEFT's `use_dora`. At the start m is the norm of W, so the start policy is the base model.
"""

from __future__ import annotations

from harness.parts import parameterisation
from methods.parameterisations.lora import TENFOLD, low_rank
from methods.parameterisations.tuner import Tuner
from methods.settings import LoraAlpha, Rank, Targets


@parameterisation("dora", version=1, source="Liu et al. 2024, arXiv 2402.09353, section 4", scales=TENFOLD)
def dora(rank: Rank = 16, alpha: LoraAlpha = 32.0, targets: Targets = "all-linear") -> Tuner:
    """LoRA of the direction of every weight, with its magnitude trained apart."""
    return low_rank("dora", rank, alpha, targets)
