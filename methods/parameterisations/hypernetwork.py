"""A hypernetwork in the place of an adapter: what is trained writes adapters, the base stays frozen.

`kind` names a registered generator (`harness.generators`), `configuration` is what its builder takes. The policy that
comes out has the kind `generator`: it is evaluated item by item under the adapters of the items' own texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.policy import Policy


@dataclass(frozen=True)
class Hypernetwork:
    """A generator, drawn anew."""

    kind: str
    configuration: Mapping[str, Any] = field(default_factory=dict)
    name: str = "hypernetwork"
    mergeable = False
    writes_adapters = True

    def attach(self, policy: Policy, seed: int) -> Policy:
        """The hypernetwork beside its base, all of it trainable."""
        import torch

        from harness.generator_model import GeneratorModel
        from harness.generators import build_generator

        if policy.kind != "full":
            raise UserError(f"{self.kind!r} writes adapters for a whole model: merge the start model's adapter first.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = build_generator(self.kind, policy.model, dict(self.configuration))
        model = GeneratorModel(self.kind, policy.model, built, policy.tokenizer).eval()
        return replace(policy, model=model, kind="generator")

    def describe(self) -> dict[str, Any]:
        return {"generator": self.kind, **self.configuration}


def hypernetwork(kind: str, **configuration: Any) -> Hypernetwork:
    """The generator `kind`, made of `configuration`."""
    return Hypernetwork(kind, configuration)
