"""MoLE: gates at zero are the mean of the LoRAs, only gates learn, and what cannot be mixed is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.adapters import open_adapter
from harness.events import read_events
from harness.lora_files import LoraAdapter, LowRank
from harness.models import load_model
from harness.parts import load_parameterisation
from harness.plan import refusal
from harness.policy import Policy
from harness.registry import find_method, load_method, load_task
from tests.conftest import make_spec, run_to_end

IDS = torch.arange(3, 19)[None]


@pytest.fixture
def adapters(tmp_path: Path) -> str:
    """Two LoRAs of different ranks; the second lacks half of the layers."""
    layers = load_model("lab").linear_layers()
    torch.manual_seed(0)
    for number, rank in enumerate((2, 3)):
        modules = {
            name: LowRank(torch.randn(outputs, rank) * 0.05, torch.randn(rank, inputs) * 0.1, 2.0)
            for name, (outputs, inputs) in layers.items()
            if number == 0 or "self_attn" in name
        }
        LoraAdapter(modules).write(tmp_path / str(number))
    return f"{tmp_path / '0'},{tmp_path / '1'}"


def attached(adapters: str) -> Policy:
    handle = load_model("lab")
    policy = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    return load_parameterisation("mole", adapters=adapters).attach(policy, 0)


def test_gates_at_zero_are_the_mean_and_one_saturated_gate_is_its_lora(adapters: str) -> None:
    policy = attached(adapters)
    read = [LoraAdapter.read(Path(folder)) for folder in adapters.split(",")]
    for name, layer in policy.model.named_modules():
        if type(layer).__name__ != "MoleLayer":
            continue
        key = name.removeprefix("base_model.model.")
        parts = [one.modules[key].dense().float() if key in one.modules else 0 * layer.weight for one in read]
        x = torch.randn(5, layer.in_features)
        torch.testing.assert_close(layer.added(x, "default"), x @ (sum(parts) / 2).T, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            layer.mole_router["default"][0] = 100 * x[0] / x[0].norm() ** 2
        torch.testing.assert_close(layer.added(x[:1], "default"), x[:1] @ parts[0].T, rtol=1e-4, atol=1e-5)


def test_only_gates_learn_and_the_result_reloads(adapters: str, tmp_path: Path) -> None:
    directory = run_to_end(make_spec("mole+sft", adapters=adapters), tmp_path / "runs")
    before = attached(adapters)
    assert set(before.tensors()) == {name for name in before.tensors() if "mole_router" in name}
    assert directory.read_result().stages[0].trainable_parameters == before.trainable_parameters
    model = open_adapter(load_model("lab").model(), directory.model).eval()
    after = dict(model.named_parameters())
    for name, tensor in before.model.named_parameters():
        assert torch.equal(tensor, after[name]) == ("mole_router" not in name), name
    assert directory.read_result().weights_digest == Policy(model, before.tokenizer, before.start).digest()


@pytest.mark.parametrize(("method", "distance"), [("dpo", "rewards/chosen"), ("ppo", "kl")])
def test_the_reference_is_the_mixture_at_its_start(method: str, distance: str, adapters: str, tmp_path: Path) -> None:
    """Not the base without the LoRAs: before anything has moved, nothing is away from it."""
    run = run_to_end(make_spec(f"mole+{method}", adapters=adapters, steps=1), tmp_path / "runs")
    (first,) = (event["values"] for event in read_events(run.events) if event["kind"] == "metrics")
    assert first[distance] == pytest.approx(0.0, abs=1e-6)


def test_content_and_not_place_is_the_identity(adapters: str, tmp_path: Path) -> None:
    import shutil

    other = []
    for number, folder in enumerate(adapters.split(",")):
        shutil.copytree(folder, tmp_path / f"copy-{number}")
        other.append(str(tmp_path / f"copy-{number}"))
    entry = find_method("mole+sft")
    first, second = (entry.resolve({"adapters": one}) for one in (adapters, ",".join(other)))
    assert first.content() == second.content() and first.parameters != second.parameters
    assert entry.resolve({"adapters": ",".join(reversed(other))}).content() != first.content()


def test_what_cannot_be_mixed_is_refused(adapters: str, tmp_path: Path) -> None:
    task, model = load_task("countdown", level="L0"), load_model("lab").reference()
    assert refusal(load_method("mole+sft", adapters=adapters), task, model) is None
    reason = refusal(load_method("mole+sft"), task, model)
    assert reason is not None and "needs two or more" in reason
    LoraAdapter({"model.layers.0.self_attn.q_proj": LowRank(torch.zeros(8, 2), torch.zeros(2, 8), 1.0)}).write(
        tmp_path / "other"
    )
    reason = refusal(load_method("mole+sft", adapters=f"{adapters},{tmp_path / 'other'}"), task, model)
    assert reason is not None and "made for another base" in reason and "q_proj' is 8x8" in reason
