"""Steering: what a vector does, and that the method sets it to a difference of means."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.adapters import open_adapter
from harness.models import load_model
from harness.parts import load_parameterisation
from harness.policy import Policy
from harness.registry import load_method
from methods.parameterisations.steering import vector
from tests.conftest import make_spec, run_to_end

IDS = torch.arange(3, 19)[None]


def attached(**settings: object) -> torch.nn.Module:
    handle = load_model("lab")
    return (
        load_parameterisation("steering", **settings)
        .attach(Policy(handle.model(), handle.tokenizer(), handle.path), 0)
        .model
    )


def steered(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: m for name, m in model.named_modules() if type(m).__name__ == "SteeringLayer"}


def test_the_vector_is_added_to_what_the_block_hands_on() -> None:
    model = attached(depth=0.5).eval()
    ((name, layer),) = steered(model).items()
    assert name.endswith("layers.2")  # 0.5 of blocks 0 to 3, rounded to even
    plain = load_model("lab").model().eval()
    assert torch.equal(model(IDS).logits, plain(IDS).logits)
    added = torch.randn(128)
    with torch.no_grad():
        layer.steering_vector["default"].copy_(added)
    plain.model.layers[2].register_forward_hook(lambda module, inputs, output: output + added)
    torch.testing.assert_close(model(IDS).logits, plain(IDS).logits)


def test_after_every_block_there_are_as_many_vectors() -> None:
    assert len(steered(attached(depth=None))) == load_model("lab").configuration()["num_hidden_layers"]


def test_the_method_sets_the_difference_of_means(tmp_path: Path) -> None:
    """One update of one batch: recomputed here from the pairs it saw, without the harness's loop."""
    directory = run_to_end(make_spec("steering", steps=2, depth=1.0), tmp_path)
    result = directory.read_result()
    assert result.meters.trained_tokens == 0 and result.meters.flops > 0 and result.stages[0].meters.steps == 2
    model = open_adapter(load_model("lab").model(), directory.model)
    ((_, layer),) = steered(model).items()
    (stage,) = load_method("steering", **make_spec("steering").method.parameters).stages
    rows = _pairs(directory, stage.objective, tmp_path)
    tokenizer, base = load_model("lab").tokenizer(), load_model("lab").model().eval()
    sums, counts = {}, {}
    for row in rows[: 2 * stage.objective.batch_size]:
        for kind in ("chosen", "rejected"):
            prompt, answer = tokenizer(row["prompt"]).input_ids, tokenizer(row[kind]).input_ids
            seen = []
            hook = base.model.layers[-1].register_forward_hook(lambda m, i, o, seen=seen: seen.append(o))
            with torch.no_grad():
                base(torch.tensor([prompt + answer]))
            hook.remove()
            sums[kind] = sums.get(kind, 0) + seen[0][0, len(prompt) :].double().sum(0)
            counts[kind] = counts.get(kind, 0) + len(answer)
    expected = sums["chosen"] / counts["chosen"] - sums["rejected"] / counts["rejected"]
    torch.testing.assert_close(layer.steering_vector["default"].double(), expected, rtol=1e-4, atol=1e-5)


def _pairs(directory: object, objective: object, tmp_path: Path) -> list[dict[str, str]]:
    """The pairs of that run again: its rollouts lie in a file that the same settings name."""
    from harness.context import StageContext
    from harness.events import EventLog
    from harness.meters import MeterBank
    from harness.record import Meters
    from harness.registry import load_task
    from harness.run_context import RunContext

    spec = directory.read_spec()  # type: ignore[attr-defined]
    log = EventLog(tmp_path / "events.jsonl")
    run = RunContext(spec, directory, load_task("countdown", level="L0"), MeterBank(Meters()), log)  # type: ignore[arg-type]
    handle = load_model("lab")
    policy = vector(1.0, 4.0).attach(Policy(handle.model().eval(), handle.tokenizer(), handle.path), 0)
    return objective.pairs(StageContext(run, 0, policy))  # type: ignore[attr-defined, no-any-return]
