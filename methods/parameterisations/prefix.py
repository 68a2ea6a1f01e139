"""Prefix tuning: trained keys and values before the text's own in every attention layer (Li & Liang 2021).

arXiv 2101.00190, section 4.2, without the reparameterising network of section 4.3, which PEFT calls
`prefix_projection`. PEFT draws the prefixes from a normal distribution, so the start policy is not the base model.
PEFT's comparison and its documentation train prefixes with rates of the order of 1e-2 without the network.
"""

from __future__ import annotations

from harness.parts import Factor, parameterisation
from methods.parameterisations.prompt import VirtualTokens
from methods.parameterisations.tuner import Tuner

_SCALES = {
    "learning-rate": Factor(500.0, "PEFT's documentation of prefix tuning: 1e-2 without the network"),
    "perturbation": Factor(100.0, "as LoRA's factors; not measured in a paper"),
}


@parameterisation("prefix", version=1, source="Li & Liang 2021, arXiv 2101.00190, section 4.2", scales=_SCALES)
def prefix(tokens: VirtualTokens = 20) -> Tuner:
    """Trained keys and values before the text's own in every layer."""
    return Tuner(
        name="prefix",
        peft_type="PREFIX_TUNING",
        fields={"num_virtual_tokens": tokens},
        shown={"tokens": tokens},
        mergeable=False,
        targets=None,
    )
