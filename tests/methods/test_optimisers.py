"""Memory-efficient optimisers: against Adam where they must equal it, and in runs that are killed and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.contracts import Resources
from harness.errors import UserError
from harness.models import load_model
from harness.parts import load_parameterisation
from harness.plan import refusal
from harness.policy import Policy
from harness.registry import find_method, load_method, load_task
from harness.worker import DONE, work
from methods.generators.document_generator import DocumentGenerator
from methods.optimisers.adam_mini import block_adam
from methods.optimisers.galore import back, project, projected_adam, subspace
from methods.optimisers.muon import matrices, orthogonal, orthogonal_momentum
from tests.conftest import kill_when, make_spec, place, run_to_end

HERE = ["galore+sft", "muon+sft", "adafactor+sft", "adam-mini+sft", "lora-plus+sft"]
SETTINGS: dict[str, dict[str, object]] = {"galore+sft": {"rank": 8, "gap": 2}, "lora-plus+sft": {"rank": 4}}


def steps(make: object, start: torch.Tensor, gradients: list[torch.Tensor]) -> torch.Tensor:
    tensor = torch.nn.Parameter(start.clone())
    built = make(tensor)  # type: ignore[operator]
    for gradient in gradients:
        tensor.grad = gradient.clone()
        built.step()
    return tensor.detach()


def adam(tensor: torch.Tensor) -> torch.optim.Optimizer:
    return torch.optim.AdamW([tensor], lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_galore_at_full_rank_is_adam_in_a_turned_basis(shape: tuple[int, int]) -> None:
    """Projected and back is the gradient itself at full rank; without a rank it is Adam to the bit of rounding."""
    gradients = [torch.randn(*shape) for _ in range(3)]
    basis = subspace(gradients[0], 6)
    torch.testing.assert_close(back(project(gradients[1], basis), basis, shape), gradients[1], rtol=1e-4, atol=1e-5)
    start = torch.randn(*shape)
    plain = {"rank": None, "gap": None, "scale": 1.0}
    own = steps(lambda t: projected_adam([{"params": [t], **plain}], 0.1), start, gradients)
    torch.testing.assert_close(own, steps(adam, start, gradients), rtol=1e-5, atol=1e-6)


def test_galore_moves_in_the_subspace_only_and_keeps_small_moments() -> None:
    gradient = torch.randn(6, 9)
    tensor = torch.nn.Parameter(torch.zeros(6, 9))
    built = projected_adam([{"params": [tensor], "rank": 2, "gap": 5, "scale": 0.25}], 0.1)
    for _ in range(3):
        tensor.grad = gradient + 0.1 * torch.randn(6, 9)
        built.step()
    assert int(torch.linalg.matrix_rank(tensor.detach())) == 2
    assert built.state[tensor]["mean"].shape == (2, 9)
    u = torch.linalg.svd(gradient).U[:, :2]
    tensor_in = u @ u.T @ tensor.detach()
    assert (tensor_in - tensor.detach()).norm() < 0.5 * tensor.detach().norm()


def test_adam_mini_with_a_block_an_entry_is_adam() -> None:
    gradients, start = [torch.randn(12) for _ in range(4)], torch.randn(12)
    own = steps(lambda t: block_adam([{"params": [t], "blocks": 12}], 0.1), start, gradients)
    torch.testing.assert_close(own, steps(adam, start, gradients), rtol=1e-5, atol=1e-6)


def test_adam_mini_keeps_one_second_moment_a_block() -> None:
    tensor = torch.nn.Parameter(torch.zeros(4, 3))
    built = block_adam([{"params": [tensor], "blocks": 2}], 0.1)
    tensor.grad = torch.tensor([[1.0], [1.0], [2.0], [2.0]]).expand(4, 3).clone()
    built.step()
    torch.testing.assert_close(built.state[tensor]["square"], torch.tensor([0.01, 0.04]))
    torch.testing.assert_close(tensor.detach(), torch.full((4, 3), -0.1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
def test_muon_is_torchs_on_a_matrix(shape: tuple[int, int]) -> None:
    """torch's computes in bfloat16: three steps from one start agree to three hundredths of what moved."""
    gradients, start = [torch.randn(*shape) for _ in range(3)], torch.randn(*shape)
    own = steps(lambda t: orthogonal_momentum([{"params": [t], "muon": True}], 0.1), start, gradients)
    theirs = steps(
        lambda t: torch.optim.Muon([t], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"), start, gradients
    )
    assert (own - theirs).norm() < 0.03 * (theirs - start).norm()


def test_orthogonal_keeps_the_directions_and_levels_the_sizes() -> None:
    matrix = torch.randn(10, 24)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonal(matrix) @ vh.T
    assert float(inner.diagonal().min()) > 0.6 and float(inner.diagonal().max()) < 1.3
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), rtol=0, atol=1e-4)
    stack = torch.stack([matrix, 100 * torch.randn(10, 24)])
    torch.testing.assert_close(orthogonal(stack)[0], orthogonal(matrix))
    torch.testing.assert_close(orthogonal(matrix.T), orthogonal(matrix).T)


def test_muon_leaves_to_adam_what_is_no_matrix() -> None:
    gradients, start = [torch.randn(12) for _ in range(4)], torch.randn(12)
    own = steps(lambda t: orthogonal_momentum([{"params": [t], "muon": False}], 0.1), start, gradients)
    torch.testing.assert_close(own, steps(adam, start, gradients), rtol=1e-5, atol=1e-6)
    model = load_model("lab").model()
    kinds = {name.rpartition(".layers.")[2].partition(".")[2] for name in matrices(model)}
    attention, mlp = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
    wanted = {f"self_attn.{name}.weight" for name in attention} | {f"mlp.{name}.weight" for name in mlp}
    assert kinds == wanted


def test_muon_knows_a_hypernetworks_matrices() -> None:
    sizes = {"rank": 2, "latent": 8, "latents": 2, "blocks": 1, "heads": 1}
    network = DocumentGenerator(load_model("lab").model(), ["down_proj"], 32, 4, "per-layer", **sizes).network
    found = set(matrices(network))
    assert {"heads.0", "mixer.first", "perceiver.project.gate.weight"} <= found
    left = {name for name, _ in network.named_parameters()} - found
    assert {"perceiver.latents", "perceiver.queries", "mixer.first_bias", "constant_up.0", "scale_up.0"} <= left
    assert all("norm" in name or "before" in name or "after" in name for name in left if ".weight" in name)


def test_vectors_of_a_mixture_are_no_matrices_to_muon() -> None:
    handle = load_model("lab")
    policy = load_parameterisation("moa").attach(Policy(handle.model(), handle.tokenizer(), handle.path), 0)
    prompts = [name for name in policy.tensors() if name.endswith("prompt.vectors")]
    assert prompts and not set(prompts) & set(matrices(policy.model))
    assert any("moa_mixture" in name for name in matrices(policy.model))


@pytest.mark.parametrize("name", ["lora", "dora"])
def test_lora_plus_gives_b_its_own_rate(name: str, tmp_path: Path) -> None:
    """And nothing else, DoRA's magnitudes neither."""
    (stage,) = load_method(f"{name}+lora-plus+sft", ratio=8.0, learning_rate=1e-3, rank=2).stages
    assert stage.optimiser.name == "lora-plus" and stage.parameterisation.name == name
    from harness.context import StageContext
    from harness.events import EventLog
    from harness.meters import MeterBank
    from harness.record import Meters
    from harness.run_context import RunContext

    spec = make_spec("lora-plus+sft")
    directory = place(spec, tmp_path)
    run = RunContext(
        spec, directory, load_task("countdown", level="L0"), MeterBank(Meters()), EventLog(directory.events)
    )
    handle = load_model("lab")
    policy = stage.parameterisation.attach(Policy(handle.model(), handle.tokenizer(), handle.path), 0)
    built, _ = stage.optimiser.create(StageContext(run, 0, policy))
    rates = {id(t): group["initial_lr"] for group in built.param_groups for t in group["params"]}
    for name, tensor in policy.tensors().items():
        assert rates[id(tensor)] == pytest.approx(8e-3 if "lora_B" in name else 1e-3)


@pytest.mark.parametrize("name", HERE)
def test_killed_and_resumed_equals_uninterrupted(name: str, tmp_path: Path) -> None:
    spec = make_spec(name, **SETTINGS.get(name, {}))
    whole = run_to_end(spec, tmp_path / "whole")
    directory = place(spec, tmp_path / "killed")
    kill_when(directory, lambda run: any(run.checkpoint.glob("stage-0/*-2/state.json")))
    assert work(directory.path, Resources()) == DONE
    assert directory.read_result().weights_digest == whole.read_result().weights_digest
    assert directory.read_result().stages[0].description["optimiser"]["name"] == name.partition("+")[0]


def test_what_an_optimiser_cannot_move_is_refused_in_the_plan() -> None:
    task = load_task("countdown", level="L0")
    for name, words in [
        ("lora+galore+sft", "'galore' moves full, not 'lora'"),
        ("ia3+lora-plus+sft", "moves dora or lora or qlora or rslora, not 'ia3'"),
        ("lora+adam-mini+sft", "'adam-mini' moves full"),
    ]:
        reason = refusal(find_method(name).create(), task)
        assert reason is not None and words in reason and "adamw" in reason
    with pytest.raises(UserError, match="no place for 'galore'"):
        find_method("galore+es")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["adamw-8bit+sft", "lora+paged-adamw+sft"])
def test_what_needs_a_gpu_says_so(name: str) -> None:
    reason = refusal(find_method(name).create(), load_task("countdown", level="L0"))
    assert reason is not None and "bitsandbytes" in reason and "use adamw" in reason
