"""Kron-LoRA against the dense Kronecker product, its closed forms, and PEFT's LoKr."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoKrConfig, PeftModel, get_peft_model
from torch import nn

from harness.errors import UserError
from methods.parameterisations.kron_lora import kron_lora
from methods.tuners.kron_lora import KronLoraConfig, nearest_divisor

SHAPES = [(16, 16), (16, 24), (24, 16)]
FACTORS = [(1, 1), (2, 4), (2, 8), (4, 2)]


class Net(nn.Module):
    """One linear layer called `layer`, in double precision."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def adapted(inputs: int, outputs: int, inner: int, outer: int, rank: int = 2, alpha: float = 6.0) -> PeftModel:
    torch.manual_seed(0)
    config = KronLoraConfig(r=rank, alpha=alpha, inner=inner, outer=outer, target_modules=["layer"])
    model = get_peft_model(Net(inputs, outputs), config).double()
    layer = model.base_model.model.layer
    with torch.no_grad():
        layer.kron_up["default"].normal_()
    return model


def parts(model: PeftModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    layer = model.base_model.model.layer
    return layer.kron_left["default"], layer.kron_up["default"], layer.kron_down["default"], layer.scaling["default"]


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize(("inner", "outer"), FACTORS)
def test_forward_and_gradients_are_those_of_the_dense_product(
    inputs: int, outputs: int, inner: int, outer: int
) -> None:
    model = adapted(inputs, outputs, inner, outer)
    left, up, down, scale = parts(model)
    x = torch.randn(3, 5, inputs, dtype=torch.float64)
    weight = model.base_model.model.layer.base_layer.weight
    own = model(x)
    gradients = torch.autograd.grad((own**2).sum(), [left, up, down])
    dense = scale * torch.kron(left, (up @ down).contiguous())
    expected = x @ (weight + dense).T
    torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)
    for one, other in zip(gradients, torch.autograd.grad((expected**2).sum(), [left, up, down]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    swapped = x @ (weight + scale * torch.kron((up @ down).contiguous(), left)).T
    assert inner * outer == 1 or not torch.allclose(own, swapped)


def test_one_by_one_is_lora_scaled_by_its_entry() -> None:
    model = adapted(16, 12, 1, 1)
    left, up, down, scale = parts(model)
    x = torch.randn(4, 16, dtype=torch.float64)
    weight = model.base_model.model.layer.base_layer.weight
    torch.testing.assert_close(model(x), x @ weight.T + scale * left.item() * (x @ down.T @ up.T))


@pytest.mark.parametrize(("inner", "outer"), FACTORS)
def test_rank_singular_values_and_norm(inner: int, outer: int) -> None:
    model = adapted(16, 24, inner, outer)
    left, up, down, scale = parts(model)
    layer = model.base_model.model.layer
    dense = scale * torch.kron(left, (up @ down).contiguous())
    products = (
        torch.outer(torch.linalg.svdvals(left), torch.linalg.svdvals(up @ down)).flatten().sort(descending=True)[0]
    )
    rank = int(torch.linalg.matrix_rank(dense))
    assert rank == min(inner, outer) * 2 == kron_lora(2, inner=inner, outer=outer).rank_of(24, 16, 16)
    torch.testing.assert_close(torch.linalg.svdvals(dense)[:rank], scale * products[:rank])
    torch.testing.assert_close(torch.linalg.norm(dense), scale * torch.linalg.norm(left) * torch.linalg.norm(up @ down))
    torch.testing.assert_close(layer.get_delta_weight("default").double(), dense, rtol=1e-5, atol=1e-6)


def test_it_is_exactly_a_lora_of_the_rank_inner_times_r() -> None:
    model = adapted(16, 24, 2, 4, rank=3)
    left, up, down, scale = parts(model)
    b, a, s = model.base_model.model.layer.lora_factors("default")
    assert b.shape == (24, 6) and a.shape == (6, 16)
    torch.testing.assert_close(s * b @ a, scale * torch.kron(left, (up @ down).contiguous()), rtol=1e-12, atol=1e-12)


def test_with_equal_factors_it_is_pefts_lokr() -> None:
    model = adapted(16, 24, 4, 4, rank=2, alpha=6.0)
    left, up, down, _ = parts(model)
    config = LoKrConfig(r=2, alpha=6.0, decompose_factor=4, decompose_both=False, target_modules=["layer"])
    other = get_peft_model(Net(16, 24), config).double()
    lokr = other.base_model.model.layer
    with torch.no_grad():
        lokr.base_layer.weight.copy_(model.base_model.model.layer.base_layer.weight)
        lokr.lokr_w1["default"].copy_(left)
        lokr.lokr_w2_a["default"].copy_(up)
        lokr.lokr_w2_b["default"].copy_(down)
    x = torch.randn(7, 16, dtype=torch.float64)
    torch.testing.assert_close(model(x), other(x), rtol=1e-12, atol=1e-12)


def test_the_start_is_the_base_and_the_first_gradient_reaches_b1() -> None:
    torch.manual_seed(0)
    base = Net(16, 16)
    x = torch.randn(2, 16)
    before = base(x)
    model = get_peft_model(base, KronLoraConfig(r=2, inner=2, outer=4, target_modules=["layer"]))
    assert torch.equal(model(x), before)
    model(x).sum().backward()
    left, up, down, _ = parts(model)
    assert up.grad.abs().sum() > 0 and left.grad.abs().sum() == 0 and down.grad.abs().sum() == 0


def test_saved_and_loaded_bitwise_with_its_factors_on_record(tmp_path: Path) -> None:
    model = adapted(16, 24, 2, 4).float()
    model.save_pretrained(tmp_path)
    base = Net(16, 24)
    base.layer.weight.data.copy_(model.base_model.model.layer.base_layer.weight)
    again = PeftModel.from_pretrained(base, tmp_path, is_trainable=True)  # torch multiplies frozen factors another way
    kept = model.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in again.state_dict().items())
    x = torch.randn(5, 16)
    assert torch.equal(again(x), model(x))
    assert again.peft_config["default"].factors == {"layer": [2, 4]}


def test_merge_and_unmerge() -> None:
    model = adapted(16, 24, 2, 4).float()
    x = torch.randn(5, 16)
    apart = model(x)
    before = model.base_model.model.layer.base_layer.weight.clone()
    model.merge_adapter()
    torch.testing.assert_close(model(x), apart, rtol=1e-5, atol=1e-5)
    model.unmerge_adapter()
    torch.testing.assert_close(model.base_model.model.layer.base_layer.weight, before, rtol=1e-6, atol=1e-6)


def test_no_dense_update_is_ever_made_in_a_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
            out = function(*arguments, **(keywords or {}))
            if isinstance(out, torch.Tensor) and out.untyped_storage().nbytes() == out.numel() * out.element_size():
                sizes.append(out.numel())
            return out

    model = adapted(256, 512, 2, 16, rank=4)
    x = torch.randn(2, 256, dtype=torch.float64)
    model.base_model.model.layer.base_layer.weight.requires_grad_(False)
    with Watch():
        layer = model.base_model.model.layer
        layer.added(x, "default").sum().backward()
    assert max(sizes) < 256 * 512 / 16


def test_operations_are_those_of_the_closed_form() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = adapted(64, 96, 2, 4, rank=3).float()
    tokens = torch.randn(5, 64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.base_model.model.layer.added(tokens, "default")
    assert counter.get_total_flops() == 5 * 2 * 3 * (64 + 2 * 4 + 96)


def test_published_counts_follow_from_the_rule() -> None:
    """Mistral-7B with its head (2, 16): 5.71M; DistilBERT (2, 4) without its trained head: 249,120."""
    assert nearest_divisor(4096) == 16 and nearest_divisor(768) == 4
    count = kron_lora(8).count
    attention = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096)]
    layer = [*attention, (14336, 4096), (14336, 4096), (4096, 14336)]
    explicit = kron_lora(8, inner=2, outer=16).count
    assert 32 * sum(explicit(*shape, 4096) for shape in layer) + explicit(32000, 4096, 4096) == 5_708_448
    assert sum(count(*shape, 4096) for shape in layer) == sum(explicit(*shape, 4096) for shape in layer)
    distil = [(768, 768)] * 4 + [(3072, 768), (768, 3072)]
    assert 6 * sum(count(*shape, 768) for shape in distil) == 249_120


def test_the_closed_form_counts_what_is_attached() -> None:
    model = adapted(16, 24, 2, 4, rank=3)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == kron_lora(3, inner=2, outer=4).count(24, 16, 16)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"inner": 3, "outer": 4},
            "inner=3 does not divide the 16 inputs of layer 'layer'; possible are 1, 2, 4, 8, 16",
        ),
        ({"inner": 2, "outer": 5}, "outer=5 does not divide the 24 outputs of layer 'layer'"),
        (
            {"inner": 2, "outer": 4, "r": 9},
            "rank 9 is above the right factor of layer 'layer' (6 x 8); possible are 1 to 6",
        ),
    ],
)
def test_factors_that_do_not_fit_name_the_layer(settings: dict[str, int], words: str) -> None:
    with pytest.raises(UserError) as error:
        get_peft_model(Net(16, 24), KronLoraConfig(target_modules=["layer"], **settings))
    assert words in str(error.value)


def test_a_plan_refuses_what_does_not_fit() -> None:
    from harness.models import load_model
    from harness.plan import refusal
    from harness.registry import load_method, load_task

    task, model = load_task("countdown", level="L0"), load_model("lab").reference()
    assert refusal(load_method("kron-lora+sft", rank=4, outer=4), task, model) is None
    reason = refusal(load_method("kron-lora+sft", rank=4, outer=3), task, model)
    assert reason is not None and "outer=3 does not divide the 128 outputs of layer 'model.layers.0." in reason
    reason = refusal(load_method("lora+sft", rank=129), task, model)
    assert reason is not None and "rank 129 is above the dimension of layer" in reason and "1 to 128" in reason


def test_matched_controls_follow_from_the_closed_forms() -> None:
    from harness.models import load_model
    from harness.parts import load_parameterisation
    from harness.policy import Policy

    def attached(name: str, **settings: object) -> Policy:
        handle = load_model("lab")
        return load_parameterisation(name, **settings).attach(
            Policy(handle.model(), handle.tokenizer(), handle.path), 0
        )

    kron = attached("kron-lora", rank=8, outer=4).trainable_parameters
    same_size = attached("lora", match="parameters:kron-lora,rank=8,outer=4")
    one_rank = attached("lora", rank=1).trainable_parameters
    assert abs(same_size.trainable_parameters - kron) <= one_rank / 2
    same_rank = attached("lora", match="rank:kron-lora,rank=8,outer=4")
    assert same_rank.model.peft_config["default"].r == 16
