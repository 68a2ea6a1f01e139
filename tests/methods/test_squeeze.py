"""LoRA-Squeeze: the optimum without the dense update, in every convention of alpha, and as stages of a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from harness.adapters import open_adapter
from harness.errors import UserError
from harness.events import read_events
from harness.lora_files import LoraAdapter, LowRank
from harness.models import load_model
from harness.registry import load_method
from methods.parameterisations.squeezed import halves
from methods.transforms.squeeze import squeeze, squeeze_adapter, squeeze_randomised
from tests.conftest import make_spec, run_to_end

IDS = torch.arange(3, 19)[None]


def source(outputs: int = 30, inputs: int = 20, rank: int = 6, scale: float = 2.0, seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(outputs, rank, generator=generator, dtype=torch.float64)
    down = torch.randn(rank, inputs, generator=generator, dtype=torch.float64)
    return LowRank(up * torch.logspace(0, -2, rank, dtype=torch.float64), down, scale)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (25, 25)])
def test_the_core_has_the_singular_values_of_the_dense_update(shape: tuple[int, int]) -> None:
    one = source(*shape)
    dense = torch.linalg.svdvals(one.dense())
    torch.testing.assert_close(squeeze(one, 6).singular_values, dense[:6], rtol=1e-10, atol=0)
    assert dense[6:].max() < 1e-12 * dense[0]


def test_at_full_rank_nothing_is_lost() -> None:
    one = source()
    torch.testing.assert_close(squeeze(one, 6).module.dense(), one.dense(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_the_error_is_the_least_there_is(rank: int) -> None:
    one, done = source(), squeeze(source(), rank)
    values = torch.linalg.svdvals(one.dense())
    lost = one.dense() - done.module.dense()
    assert float(lost.norm()) == pytest.approx(float((values[rank:] ** 2).sum().sqrt()), rel=1e-9) == done.error
    assert float(torch.linalg.matrix_norm(lost, 2)) == pytest.approx(float(values[rank]), rel=1e-9)
    assert done.kept == pytest.approx(float((values[:rank] ** 2).sum() / (values**2).sum()))


def test_squeezes_compose_and_repeat() -> None:
    one = source()
    twice = squeeze(squeeze(one, 4).module, 2).module.dense()
    torch.testing.assert_close(twice, squeeze(one, 2).module.dense(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(squeeze(squeeze(one, 2).module, 2).module.dense(), twice, rtol=1e-9, atol=1e-12)


def test_gauge_and_scale_change_nothing() -> None:
    one = source()
    turn = torch.randn(6, 6, dtype=torch.float64) + 3 * torch.eye(6, dtype=torch.float64)
    turned = LowRank(one.up @ turn, torch.linalg.inv(turn) @ one.down, one.scale)
    plain = squeeze(one, 3).module
    torch.testing.assert_close(squeeze(turned, 3).module.dense(), plain.dense(), rtol=1e-8, atol=1e-10)
    unit = squeeze(one, 3, scale="unit").module
    assert unit.scale == 1.0 and plain.scale == one.scale
    torch.testing.assert_close(unit.dense(), plain.dense(), rtol=1e-10, atol=1e-12)


def test_both_factors_get_half() -> None:
    done = squeeze(source(), 3)
    expected = torch.diag(done.singular_values[:3] / done.module.scale)
    torch.testing.assert_close(done.module.up.T @ done.module.up, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(done.module.down @ done.module.down.T, expected, rtol=1e-9, atol=1e-12)


def test_the_smallest_rank_that_keeps_the_energy() -> None:
    one = source()
    shares = (torch.linalg.svdvals(one.dense())[:6] ** 2).cumsum(0)
    shares = shares / shares[-1]
    for energy in (0.5, 0.9, 0.999, 1.0):
        done = squeeze(one, energy=energy)
        rank = done.module.rank
        assert shares[rank - 1] >= energy * (1 - 1e-9) and (rank == 1 or shares[rank - 2] < energy)
    with pytest.raises(ValueError):
        squeeze(one, 2, energy=0.5)


def test_the_randomised_variant_is_near_the_optimum_and_repeatable() -> None:
    torch.manual_seed(0)
    flat = LowRank(
        torch.linalg.qr(torch.randn(60, 40)).Q.double(), torch.linalg.qr(torch.randn(50, 40)).Q.T.double(), 1.0
    )
    best = squeeze(flat, 8)
    one = squeeze_randomised(flat, 8, torch.Generator().manual_seed(1))
    again = squeeze_randomised(flat, 8, torch.Generator().manual_seed(1))
    error = float((flat.dense() - one.module.dense()).norm())
    assert best.error * (1 - 1e-9) <= error <= 1.05 * best.error
    assert torch.equal(one.module.up, again.module.up)
    small = source()
    exact = squeeze_randomised(small, 3, torch.Generator().manual_seed(0)).module.dense()
    torch.testing.assert_close(exact, squeeze(small, 3).module.dense(), rtol=1e-8, atol=1e-10)


def test_a_zero_adapter_stays_zero_and_can_learn() -> None:
    zero = LowRank(torch.zeros(10, 4), torch.randn(4, 8), 2.0)
    done = squeeze(zero, 2).module
    assert not done.dense().any() and torch.isfinite(done.down).all()
    up = done.up.clone().requires_grad_()
    ((torch.ones(3, 8) @ done.down.T @ up.T).sum() * done.scale).backward()
    assert up.grad.norm(dim=0).min() > 0


def test_adams_first_moment_is_carried_by_the_same_maps_as_the_gradient() -> None:
    one = source()
    done = squeeze(one, 3)
    assert done.left is not None and done.right is not None
    torch.testing.assert_close(one.up @ done.left, done.module.up, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(done.right @ one.down, done.module.down, rtol=1e-9, atol=1e-10)
    upstream = torch.randn(30, 20, dtype=torch.float64)
    before = one.scale * upstream @ one.down.T, one.scale * one.up.T @ upstream
    after = done.module.scale * upstream @ done.module.down.T, done.module.scale * done.module.up.T @ upstream
    torch.testing.assert_close(after[0], before[0] @ done.right.T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(after[1], done.left.T @ before[1], rtol=1e-9, atol=1e-9)


def test_a_rank_above_the_source_names_the_module() -> None:
    with pytest.raises(UserError, match=r"rank 9 is above the rank of 'layer', 6: ask for 1 to 6"):
        squeeze_adapter(LoraAdapter({"layer": source()}), rank=9)


def trained_lora(folder: Path, **settings: object) -> torch.nn.Module:
    """A LoRA on the lab model with random factors, saved as PEFT saves it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **settings)  # type: ignore[arg-type]
    model = get_peft_model(load_model("lab").model(), config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_B" in name:
                tensor.normal_(0, 0.05)
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 8, "lora_alpha": 16},
        {"r": 8, "lora_alpha": 16, "use_rslora": True},
        {"r": 8, "lora_alpha": 16, "alpha_pattern": {"q_proj": 4}, "rank_pattern": {"down_proj": 4}},
    ],
)
def test_every_convention_of_alpha_is_read_and_written(tmp_path: Path, settings: dict[str, object]) -> None:
    """Read, squeezed at full rank and written: the same logits; at a lower rank, the same as from the dense update."""
    model = trained_lora(tmp_path / "source", **settings)
    adapter = LoraAdapter.read(tmp_path / "source")
    for name, module in LoraAdapter.of(model).modules.items():
        assert module.scale == adapter.modules[name].scale
    squeezed, _ = squeeze_adapter(adapter, energy=1.0)
    squeezed.write(tmp_path / "same")
    again = open_adapter(load_model("lab").model(), tmp_path / "same").eval()
    logits = model(IDS).logits
    assert (again(IDS).logits - logits).abs().max() <= 1e-5 * logits.abs().max()
    lower, lost = squeeze_adapter(adapter, rank=2, scale="unit")
    lower.write(tmp_path / "lower")
    reread = LoraAdapter.read(tmp_path / "lower")
    for name, module in reread.modules.items():
        u, s, v = torch.linalg.svd(adapter.modules[name].dense(), full_matrices=False)
        torch.testing.assert_close(module.dense(), u[:, :2] * s[:2] @ v[:2], rtol=1e-4, atol=1e-6)
        assert lost[name].module.rank == 2


def test_energy_gives_every_module_its_rank_in_the_files(tmp_path: Path) -> None:
    trained_lora(tmp_path / "source", r=8, lora_alpha=16)
    squeezed, lost = squeeze_adapter(LoraAdapter.read(tmp_path / "source"), energy=0.6)
    squeezed.write(tmp_path / "out")
    opened = open_adapter(load_model("lab").model(), tmp_path / "out")
    for name, one in lost.items():
        layer = opened.base_model.model.get_submodule(name)
        assert layer.r["default"] == one.module.rank
        assert layer.scaling["default"] == pytest.approx(one.module.scale)
    assert len({one.module.rank for one in lost.values()}) > 1


@pytest.mark.parametrize(
    ("settings", "words"), [({"use_dora": True}, "DoRA"), ({"init_lora_weights": "pissa"}, "pissa")]
)
def test_what_is_no_low_rank_update_is_refused(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    trained_lora(tmp_path, r=2, **settings)
    with pytest.raises(UserError, match=words):
        LoraAdapter.read(tmp_path)


def test_kron_lora_has_an_exact_form_as_lora(tmp_path: Path) -> None:
    from harness.parts import load_parameterisation
    from harness.policy import Policy

    handle = load_model("lab")
    made = load_parameterisation("kron-lora", rank=4, outer=4)
    policy = made.attach(Policy(handle.model().eval(), handle.tokenizer(), handle.path), 0)
    with torch.no_grad():
        for name, tensor in policy.tensors().items():
            if "kron_up" in name:
                tensor.normal_(0, 0.05)
    adapter = LoraAdapter.of(policy.model)
    assert {module.rank for module in adapter.modules.values()} == {8}
    adapter.write(tmp_path)
    plain = open_adapter(load_model("lab").model(), tmp_path).eval()
    logits = policy.model.eval()(IDS).logits
    assert (plain(IDS).logits - logits).abs().max() <= 1e-5 * logits.abs().max()
    lossless, _ = squeeze_adapter(adapter, rank=8)
    for name, module in lossless.modules.items():
        torch.testing.assert_close(module.dense(), adapter.modules[name].dense(), rtol=1e-4, atol=1e-6)


def test_ranks_are_halved_down_to_the_target() -> None:
    assert halves(64, 8) == (32, 16, 8) and halves(64, 24) == (32, 24) and halves(8, 1) == (4, 2, 1)


def test_stages_share_the_budget_and_end_at_the_rank() -> None:
    stages = load_method("in-squeeze+sft", rank=8, source_rank=64).stages
    trains = [stage for stage in stages if hasattr(stage, "share")]
    assert [stage.share for stage in trains] == [0.25, 0.25, 0.25, None]
    assert [stage.rank for stage in stages if not hasattr(stage, "share")] == [32, 16, 8]
    first, _, last = load_method("cont-squeeze+sft-grpo", after=0.2).stages[:3]
    assert first.share == pytest.approx(0.3 * 0.8) and last.parameterisation.name == "kept"
    with pytest.raises(UserError, match="rank must be below source_rank"):
        load_method("squeeze+sft", rank=64)


def test_a_run_is_squeezed_and_says_so(tmp_path: Path) -> None:
    directory = run_to_end(make_spec("cont-squeeze+sft"), tmp_path)
    (event,) = [event for event in read_events(directory.events) if event["kind"] == "squeeze"]
    assert event["ranks"] == [2] and 0 < event["kept"] <= 1 and event["optimiser_state"] == "reset"
    result = directory.read_result()
    assert [stage.meters.steps for stage in result.stages] == [2, 0, 2]
    assert result.stages[2].trainable_parameters * 2 == result.stages[0].trainable_parameters
    assert {module.rank for module in LoraAdapter.read(directory.model).modules.values()} == {2}


def test_nothing_trained_after_the_squeeze_is_the_squeeze_at_the_end(tmp_path: Path) -> None:
    post = run_to_end(make_spec("squeeze+sft", schedule="constant"), tmp_path / "post")
    cont = run_to_end(make_spec("cont-squeeze+sft", schedule="constant", after=0.01), tmp_path / "cont")
    assert cont.read_result().stages[2].meters.steps == 0
    assert cont.read_result().weights_digest == post.read_result().weights_digest


def test_adams_moments_are_carried_over_and_a_killed_run_still_ends_the_same(tmp_path: Path) -> None:
    """With `carry` the stage after the squeeze begins with the mapped moments: other weights than after a reset."""
    from harness.contracts import Resources
    from harness.worker import DONE, work
    from tests.conftest import kill_when, place

    spec = make_spec("cont-squeeze+sft", optimiser_state="carry")
    whole = run_to_end(spec, tmp_path / "whole")
    (event,) = [event for event in read_events(whole.events) if event["kind"] == "squeeze"]
    assert event["optimiser_state"] == "carry"
    reset = run_to_end(make_spec("cont-squeeze+sft"), tmp_path / "reset")
    assert whole.read_result().weights_digest != reset.read_result().weights_digest
    directory = place(spec, tmp_path / "killed")
    kill_when(directory, lambda run: (run.checkpoint / "stage-2" / "start" / "state.json").exists())
    assert work(directory.path, Resources()) == DONE
    assert directory.read_result().weights_digest == whole.read_result().weights_digest


def test_the_command_says_what_was_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from cli.main import main

    trained_lora(tmp_path / "source", r=8, lora_alpha=16)
    assert main(["squeeze", str(tmp_path / "source"), "--rank", "2", "--out", str(tmp_path / "out"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["rank after"] for row in rows} == {"2"} and all(0 < row["kept %"] < 100 for row in rows)
    assert {one.rank for one in LoraAdapter.read(tmp_path / "out").modules.values()} == {2}
    for arguments, words in [
        (["--rank", "2", "--energy", "0.5", "--out", str(tmp_path / "x")], "--rank or --energy"),
        (["--rank", "2", "--out", str(tmp_path / "out")], "not empty"),
        (["--rank", "99", "--out", str(tmp_path / "x")], "is above the rank of"),
    ]:
        assert main(["squeeze", str(tmp_path / "source"), *arguments]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert math.isfinite(rows[0]["least kept %"])
