"""Prompt tuning: virtual tokens before the text whose embeddings are trained (Lester et al. 2021).

arXiv 2104.08691, section 3: they start from the embeddings of real words, which section 3.2 finds better than random
ones. The paper trains with Adafactor at 0.3; with Adam the usual rates are of the order of 1e-2 (PEFT's comparison:
3e-2), 1000 times what full fine-tuning takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from harness.parts import Factor, parameterisation
from methods.parameterisations.tuner import Tuner

VirtualTokens = Annotated[int, Field(ge=1), "virtual tokens before the text"]
_SCALES = {
    "learning-rate": Factor(1000.0, "Lester et al. 2021, section 3 (0.3 with Adafactor); PEFT's comparison uses 3e-2"),
    "perturbation": Factor(100.0, "as LoRA's factors; not measured in a paper"),
}


@dataclass(frozen=True)
class VirtualPrompt(Tuner):
    """PEFT's prompt tuning, started from rows of the model's own embedding."""

    def attach(self, policy: Any, seed: int) -> Any:
        """Virtual tokens that begin as the embeddings of tokens drawn under `seed`."""
        import torch

        from harness.streams import generator

        attached = super().attach(policy, seed)
        table = attached.model.word_embeddings.weight
        chosen = torch.randint(len(table), (self.fields["num_virtual_tokens"],), generator=generator(seed, "words"))
        with torch.no_grad():
            own = attached.model.prompt_encoder["default"].embedding.weight
            own.copy_(table[chosen.to(table.device)])
        return attached


@parameterisation("prompt", version=1, source="Lester et al. 2021, arXiv 2104.08691, section 3", scales=_SCALES)
def prompt(tokens: VirtualTokens = 20) -> Tuner:
    """Trained embeddings before the text."""
    return VirtualPrompt(
        name="prompt",
        peft_type="PROMPT_TUNING",
        fields={"num_virtual_tokens": tokens},
        shown={"tokens": tokens},
        mergeable=False,
        targets=None,
    )
