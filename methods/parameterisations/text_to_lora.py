"""Text-to-LoRA's hypernetwork as what is trained: the generator `t2l` in the place of an adapter.

What can be known before anything is loaded is refused here: an encoder whose package is not there, and layers that the
base does not have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from methods.parameterisations.hypernetwork import Hypernetwork

if TYPE_CHECKING:
    from harness.policy import Policy
    from harness.spec import ModelReference
    from methods.generators.t2l import Pooling, Size


@dataclass(frozen=True)
class TextToLora(Hypernetwork):
    """A `Hypernetwork` that reads descriptions; a standardised one may come after a table of adapters."""

    @property
    def keeps_adapter(self) -> bool:
        """Whether it goes on with what the stage before it left."""
        return bool(self.configuration["standardised"])

    def attach(self, policy: Policy, seed: int) -> Policy:
        """The hypernetwork beside its base; what a table has stands beside it, to be learnt from."""
        if policy.kind != "generator" or policy.model.kind != "adapter-table" or not self.configuration["standardised"]:
            return super().attach(policy, seed)
        made = super().attach(replace(policy, model=policy.model.base, kind="full"), seed)
        made.model.learns_from = policy.model.hypernetwork.adapters()
        return made

    def refuses(self, task: Any, model: ModelReference | None) -> str | None:
        """An encoder that is not there, or a layer that the base has not."""
        from methods.generators.t2l import encoder_refusal

        reason = encoder_refusal(self.configuration["encoder"])
        if reason is not None or model is None:
            return reason
        from harness.models import load_model
        from methods.parameterisations.tuner import last_names, missing_target

        layers = load_model(model.name).linear_layers()
        missing = missing_target(layers, ",".join(self.configuration["targets"]))
        if missing is None:
            return None
        return f"{model.name} has no layer called {missing!r}; there are {', '.join(last_names(layers))}"


def text_to_lora(
    size: Size,
    rank: int,
    alpha: float,
    targets: str,
    latent: int,
    encoder: str,
    pooling: Pooling,
    standardised: bool = False,
) -> TextToLora:
    """The generator `t2l` for the layers in `targets` (names with commas)."""
    from methods.parameterisations.tuner import named

    made_of: dict[str, Any] = {"size": size, "rank": rank, "alpha": alpha, "targets": named(targets), "latent": latent}
    return TextToLora("t2l", made_of | {"encoder": encoder, "pooling": pooling, "standardised": standardised})
