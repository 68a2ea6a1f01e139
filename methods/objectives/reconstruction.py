"""Reconstruction of a library of trained task adapters: the mean absolute error of the generated factors.

mean over adapters and entries of |z_hat - z|, with z the library's LoRA factors standardised entry by entry and z_hat
predicted from one description of the adapter's task, drawn anew every time (Charakorn et al. 2025, arXiv 2506.06105,
section 3.1 and appendix: L1, rate 1e-3, the whole library an update; 9 adapters need about 10 minutes of one H100). It
compresses a library well and generalises worse than learning end to end (their table 6). Nothing runs through the base
model here; what a library of other runs cost to train stands in those.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal
from harness.update_size import Planned, UpdateSize

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext


@dataclass(frozen=True)
class Reconstruction:
    """Write the adapters that a library holds."""

    library: str | None
    """None is what the stage before trained."""
    tasks: int
    examples: int
    name = "reconstruction"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"descriptions"})

    @property
    def learns_past_control(self) -> str | None:
        """What no negative control destroys: adapters of other runs are as they are."""
        return None if self.library is None else "the adapters of other runs"

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A trainer of the stage's hypernetwork, which is standardised."""
        from methods.generators.library import read_library, trained_before
        from methods.generators.standardised import standardise
        from methods.generators.trainer import GeneratorTrainer
        from methods.objectives.described_tasks import read_ahead

        entries = (
            trained_before(stage, self.examples)
            if self.library is None
            else read_library(self.library, stage.run.spec.model, self.examples)
        )
        model = stage.policy.model
        network = model.hypernetwork
        wanted = [
            (a.to(model.base.device), b.to(model.base.device))
            for a, b in standardise(network, [entry.adapter for entry in entries])
        ]
        texts = list(dict.fromkeys(text for entry in entries for text in entry.descriptions))
        read_ahead(stage, texts)
        stage.run.events.write("library", adapters=len(entries), descriptions=len(texts))
        rows = min(self.tasks, len(entries))

        def batch(number: int) -> dict[str, Any]:
            import torch

            rng = random.Random(stage.seed("data", number))
            chosen = rng.sample(range(len(entries)), rows)
            return {"place": torch.tensor(chosen), "texts": [rng.choice(entries[n].descriptions) for n in chosen]}

        def loss(inputs: dict[str, Any]) -> tuple[torch.Tensor, dict[str, float]]:
            stage.charge_generator(inputs["texts"])
            made = network.factors(network.encoder.encode(model.base, model.tokenizer, inputs["texts"]))
            total = sum(
                (mine - right[inputs["place"]]).abs().sum()
                for pair, targets in zip(made, wanted, strict=True)
                for mine, right in zip(pair, targets, strict=True)
            )
            error = total / sum(one.numel() for pair in made for one in pair)
            return error, {"l1": float(error.detach())}

        return GeneratorTrainer(stage, rows, batch, loss, optimiser.create(stage))

    def update_size(self, planned: Planned) -> UpdateSize:
        """By how many adapters the library has, or will have."""
        from methods.generators.library import library_size

        if self.library is not None:
            count = library_size(self.library)
        else:
            count = sum(bool(one.descriptions) for one in planned.task.described("train", self.examples))
        return UpdateSize(rows=0, tokens=0, written=min(self.tasks, count))

    def describe(self) -> dict[str, Any]:
        return {"library": self.library, "tasks": self.tasks, "examples": self.examples}


def reconstruction(library: str | None, tasks: int, examples: int) -> Reconstruction:
    """Reconstruct `tasks` adapters of `library` an update (all, if there are fewer)."""
    return Reconstruction(library, tasks, examples)
