"""Merging: identities, the libraries' conventions pinned by a worked example, updates instead of factors."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.errors import UserError
from harness.lora_files import LoraAdapter, LowRank
from harness.models import load_model
from methods.transforms.merge import METHODS, Recipe, agreed, dare, merged_update, merged_weight, slerp, trim
from methods.transforms.merge_adapters import merge_adapters

TAU1, TAU2 = torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([-3.0, 1.0, 2.0, 0.1])


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def low_rank(seed: int, rank: int, outputs: int = 12, inputs: int = 10, scale: float = 2.0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(outputs, rank, generator=generator, dtype=torch.float64)
    return LowRank(up, torch.randn(rank, inputs, generator=generator, dtype=torch.float64), scale)


@pytest.mark.parametrize(
    ("weights", "weighted", "counted"),
    [
        ((1.0, 1.0), [-3, -2, 2.5, 0.3], [-3, -2, 2.5, 0.3]),
        ((0.5, 0.5), [-3, -2, 2.5, 0.3], [-1.5, -1, 1.25, 0.15]),
        ((0.9, 0.1), [1, -2, 2.9, 0.46], [-0.3, -1.8, 1.45, 0.23]),
    ],
)
def test_ties_under_each_librarys_convention(
    weights: tuple[float, float], weighted: list[float], counted: list[float]
) -> None:
    """The first entry changes its sign between the two."""
    torch.testing.assert_close(agreed([TAU1, TAU2], weights, "weighted"), torch.tensor(weighted, dtype=torch.float32))
    torch.testing.assert_close(agreed([TAU1, TAU2], weights, "counted"), torch.tensor(counted, dtype=torch.float32))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 0.5), (0.9, 0.1)])
def test_counted_is_what_peft_computes(weights: tuple[float, float]) -> None:
    from peft.utils.merge_utils import ties

    theirs = ties([TAU1, TAU2], torch.tensor(weights), density=1.0)
    torch.testing.assert_close(agreed([TAU1, TAU2], weights, "counted"), theirs)


@pytest.mark.parametrize("method", METHODS)
def test_one_model_of_weight_one_is_itself(method: str) -> None:
    weights = (1.0, 1.0) if method == "slerp" else (1.0,)
    recipe = Recipe(method, weights, density=1.0, t=0.0)  # type: ignore[arg-type]
    torch.testing.assert_close(merged_update(recipe, [TAU1, TAU2][: len(weights)], draw()), TAU1)


@pytest.mark.parametrize("method", ["soup", "ties", "slerp"])
def test_equal_models_stay_what_they_are(method: str) -> None:
    recipe = Recipe(method, (0.5, 0.5), density=1.0)  # type: ignore[arg-type]
    torch.testing.assert_close(merged_update(recipe, [TAU1, TAU1.clone()], draw()), TAU1)


@pytest.mark.parametrize("method", ["soup", "task-arithmetic", "ties"])
def test_order_does_not_matter(method: str) -> None:
    one = merged_update(Recipe(method, (0.7, 0.3)), [TAU1, TAU2], draw())  # type: ignore[arg-type]
    torch.testing.assert_close(merged_update(Recipe(method, (0.3, 0.7)), [TAU2, TAU1], draw()), one)  # type: ignore[arg-type]


def test_what_is_added_can_be_taken_away() -> None:
    assert not merged_update(Recipe("task-arithmetic", (0.4, -0.4)), [TAU1, TAU1], draw()).any()


def test_a_trim_keeps_the_largest_of_the_whole_tensor() -> None:
    tau = torch.randn(7, 9)
    for density in (0.1, 0.5, 0.99, 1.0):
        kept = trim(tau, density)
        count = int(density * 63)
        assert int((kept != 0).sum()) == count
        assert kept[kept != 0].abs().min() >= tau[kept == 0].abs().max() if count < 63 else torch.equal(kept, tau)


def test_a_merged_entry_is_zero_or_has_the_elected_sign() -> None:
    taus = [torch.randn(50) * (torch.rand(50) > 0.3) for _ in range(3)]
    result = agreed(taus, (1.0, 1.0, 1.0), "weighted")
    sign = torch.where(torch.stack(taus).sum(0) >= 0, 1.0, -1.0)
    assert ((result == 0) | (result.sign() == sign)).all()


def test_dare_is_right_on_average_and_repeatable() -> None:
    tau, generator, draws = torch.tensor([1.0, -2.0, 0.5]), torch.Generator().manual_seed(1), 20_000
    results = torch.stack([dare(tau, 0.3, generator) for _ in range(draws)])
    error = results.std(0) / math.sqrt(draws)
    assert ((results.mean(0) - tau).abs() < 4 * error).all()
    kept = float((results != 0).float().mean())
    assert abs(kept - 0.3) < 4 * math.sqrt(0.3 * 0.7 / (3 * draws))
    assert torch.equal(dare(TAU1, 0.5, draw()), dare(TAU1, 0.5, draw())) and torch.equal(dare(TAU1, 1.0, draw()), TAU1)


def test_slerp_goes_along_the_great_circle() -> None:
    a, b = torch.randn(40), torch.randn(40)
    b = b * a.norm() / b.norm()
    torch.testing.assert_close(slerp(a, b, 0.3).norm(), a.norm(), rtol=1e-5, atol=0)
    torch.testing.assert_close(slerp(a, b, 0.3), slerp(b, a, 0.7), rtol=1e-4, atol=1e-5)
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    torch.testing.assert_close(slerp(x, y, 0.5), (x + y) / math.sqrt(2))
    torch.testing.assert_close(slerp(a, a * 2, 0.25), a * 1.25)
    with pytest.raises(ValueError, match="opposite"):
        slerp(a, -a, 0.5)


def test_small_updates_vanish_in_bfloat16_and_are_counted() -> None:
    torch.manual_seed(0)
    base = (torch.randn(200, 200) * 0.02).bfloat16()
    update = torch.randn(200, 200) * 2e-6
    others = [(base.float() + update)]
    merged, moved, swallowed = merged_weight(Recipe("task-arithmetic", (1.0,)), base, others, draw())
    expected = (base.float() + (others[0] - base.float())).bfloat16()
    assert torch.equal(merged, expected)
    assert moved > 0.9 * base.numel() and swallowed / moved > 0.9
    _, _, none = merged_weight(Recipe("task-arithmetic", (1.0,)), base.float(), others, draw())
    assert none == 0


def dense_sum(parts: list[LowRank], weights: tuple[float, ...]) -> torch.Tensor:
    return sum(weight * part.dense() for part, weight in zip(parts, weights, strict=True))  # type: ignore[return-value]


def test_sums_of_updates_are_exact_whatever_the_ranks_and_gauges() -> None:
    parts, weights = [low_rank(1, 4), low_rank(2, 2, scale=0.5)], (0.7, 0.3)
    adapters = [LoraAdapter({"layer": part}) for part in parts]
    merged = merge_adapters(Recipe("task-arithmetic", weights), adapters, None).adapter.modules["layer"]
    assert merged.rank == 6 and merged.scale == 1.0
    torch.testing.assert_close(merged.dense(), dense_sum(parts, weights), rtol=1e-12, atol=1e-12)
    turn = torch.randn(4, 4, dtype=torch.float64) + 3 * torch.eye(4, dtype=torch.float64)
    turned = LowRank(parts[0].up @ turn, torch.linalg.inv(turn) @ parts[0].down, parts[0].scale)
    for method in ("task-arithmetic", "ties", "soup"):
        recipe = Recipe(method, weights, density=1.0)  # type: ignore[arg-type]
        one = merge_adapters(recipe, adapters, 6).adapter.modules["layer"].dense()
        other = (
            merge_adapters(recipe, [LoraAdapter({"layer": turned}), adapters[1]], 6).adapter.modules["layer"].dense()
        )
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_merge_cut_to_a_rank_is_the_best_of_that_rank() -> None:
    parts, weights = [low_rank(1, 4), low_rank(2, 4)], (0.7, 0.3)
    done = merge_adapters(Recipe("task-arithmetic", weights), [LoraAdapter({"layer": part}) for part in parts], 4)
    whole = dense_sum(parts, weights)
    values = torch.linalg.svdvals(whole)
    lost = whole - done.adapter.modules["layer"].dense()
    assert float(lost.norm()) == pytest.approx(float((values[4:] ** 2).sum().sqrt()), rel=1e-9)
    assert done.lost == pytest.approx(float((values[4:] ** 2).sum() / (values**2).sum()), rel=1e-6)


def test_equal_adapters_with_weights_of_one_in_sum_are_one_adapter() -> None:
    """PEFT's `linear` gives N times the adapter here."""
    one = low_rank(3, 3)
    merged = merge_adapters(Recipe("soup", (1.0, 1.0)), [LoraAdapter({"layer": one})] * 2, 3).adapter.modules["layer"]
    torch.testing.assert_close(merged.dense(), one.dense(), rtol=1e-9, atol=1e-9)


def test_ties_of_updates_is_ties_of_the_dense_updates() -> None:
    parts = [low_rank(1, 3), low_rank(2, 3)]
    recipe = Recipe("ties", (1.0, 1.0), density=0.4)
    done = merge_adapters(recipe, [LoraAdapter({"layer": part}) for part in parts], 10)
    expected = merged_update(recipe, [part.dense() for part in parts], draw())
    torch.testing.assert_close(done.adapter.modules["layer"].dense().float(), expected, rtol=1e-4, atol=1e-5)


def test_what_does_not_belong_together_is_refused() -> None:
    one, other = low_rank(1, 2), low_rank(2, 2, outputs=9)
    with pytest.raises(UserError, match="Layer 'layer' is 9 x 10 and 12 x 10"):
        merge_adapters(Recipe("soup", (1.0, 1.0)), [LoraAdapter({"layer": one}), LoraAdapter({"layer": other})], None)
    named = [LoraAdapter({"layer": one}, {"base_model_name_or_path": name}) for name in ("a", "b")]
    with pytest.raises(UserError, match="different bases, a and b"):
        merge_adapters(Recipe("soup", (1.0, 1.0)), named, None)


def save_models(tmp_path: Path, count: int = 2, size: float = 1e-2) -> list[Path]:
    paths = []
    for number in range(count):
        torch.manual_seed(number)
        model = load_model("lab").model()
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.add_(torch.randn_like(tensor) * size)
        paths.append(tmp_path / f"model-{number}")
        model.save_pretrained(paths[-1])
        load_model("lab").tokenizer().save_pretrained(paths[-1])
    return paths


def test_models_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cli.main import main

    paths = save_models(tmp_path)
    given = ["merge", *map(str, paths)]
    assert main([*given, "--out", str(tmp_path / "soup"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["entries moved"] > 0
    merged = dict(load_model(str(tmp_path / "soup")).model().named_parameters())
    models = [dict(load_model(str(path)).model().named_parameters()) for path in paths]
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, (models[0][name] + models[1][name]) / 2)
    arguments = ["--method", "task-arithmetic", "--weights", "1,-1", "--base", "lab", "--out", str(tmp_path / "ta")]
    assert main([*given, *arguments]) == 0
    start = dict(load_model("lab").model().named_parameters())
    for name, tensor in load_model(str(tmp_path / "ta")).model().named_parameters():
        torch.testing.assert_close(tensor, start[name] + models[0][name] - models[1][name], rtol=1e-4, atol=1e-5)
    capsys.readouterr()
    for wrong, words in [
        (["--method", "tise"], "Did you mean 'ties'?"),
        (["--method", "ties"], "name it with --base"),
        (["--weights", "1"], "1 numbers for 2 sources"),
        (["--density", "0"], "--density=0.0 is not possible"),
    ]:
        assert main([*given, *wrong, "--out", str(tmp_path / "x")]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_adapters_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cli.main import main

    modules = {
        "model.layers.0.self_attn.q_proj": low_rank(1, 2, 128, 128),
        "model.layers.0.mlp.down_proj": low_rank(2, 4, 128, 384),
    }
    single = {name: replace(one, up=one.up.float(), down=one.down.float()) for name, one in modules.items()}
    for number in range(2):
        LoraAdapter(single).write(tmp_path / str(number))
    assert main(["merge", str(tmp_path / "0"), str(tmp_path / "1"), "--out", str(tmp_path / "out"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["rank"] == 8 and row["as"] == "updates"
    for name, module in LoraAdapter.read(tmp_path / "out").modules.items():
        torch.testing.assert_close(module.dense(), single[name].dense(), rtol=1e-5, atol=1e-4)
    assert main(["merge", str(tmp_path / "0"), "lab", "--out", str(tmp_path / "y")]) == 2
    assert "is no adapter" in capsys.readouterr().err


def test_rescalings_are_merged_around_one(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from methods.transforms.merge_adapters import merge_rescalings

    for number, value in enumerate((1.2, 0.6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_file({"layer.ia3_l": torch.full((4, 1), value)}, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    merge_rescalings(Recipe("task-arithmetic", (1.0, 1.0)), [tmp_path / "0", tmp_path / "1"], tmp_path / "out")
    merged = load_file(tmp_path / "out" / "adapter_model.safetensors")["layer.ia3_l"]
    torch.testing.assert_close(merged, torch.full((4, 1), 0.8))
