"""What every registered parameterisation must keep, tested for real with supervised fine-tuning on the lab model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.adapters import is_adapter, open_adapter
from harness.errors import UserError
from harness.export import export
from harness.models import load_model
from harness.parts import load_parameterisation, parameterisations
from harness.policy import Policy
from harness.registry import find_method, load_method, load_task
from tests.conftest import QUICK_PARTS, Finished, kill_when, make_spec, place, quick

NEEDS_GPU = {"qlora"}
NEEDS_ADAPTERS = {"mole", "generated"}  # tried with them in tests/methods/test_mole.py and test_text_to_lora.py
EVERY = [name for name in parameterisations() if name not in {"full", *NEEDS_GPU, *NEEDS_ADAPTERS}] + ["peft:hira"]
IDS = torch.arange(3, 19)[None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One uninterrupted run of every parameterisation."""
    return Finished(tmp_path_factory.mktemp("finished"), lambda name: make_spec(f"{name}+sft"))


def is_adapters(name: str, adapted: object) -> bool:
    """Whether a tensor is the adapter's: the start model has none of that name."""
    plain = name.replace("base_model.model.", "").replace("base_layer.", "")
    return plain not in START


START = set(dict(load_model("lab").model().named_parameters()))


def start() -> Policy:
    handle = load_model("lab")
    return Policy(handle.model().eval(), handle.tokenizer(), handle.path)


@pytest.mark.parametrize("name", EVERY)
def test_attached_twice_under_one_seed_is_the_same(name: str) -> None:
    made = [load_parameterisation(name, **QUICK_PARTS.get(name, {})).attach(start(), seed) for seed in (1, 1, 2)]
    assert made[0].digest() == made[1].digest()
    assert made[0].kind == "adapter" and 0 < made[0].trainable_parameters < made[0].total_parameters
    with made[0].model.disable_adapter():
        assert torch.equal(made[0].model(IDS).logits, start().model(IDS).logits)


@pytest.mark.parametrize("name", EVERY)
def test_killed_and_resumed_equals_uninterrupted(name: str, finished: Finished, runs: Path) -> None:
    from harness.contracts import Resources
    from harness.worker import DONE, work

    directory = place(make_spec(f"{name}+sft"), runs)
    several = len(load_method(f"{name}+sft", **quick(f"{name}+sft")).stages) > 1
    when = "stage-1/*/state.json" if several else "stage-0/*-2/state.json"
    kill_when(directory, lambda run: any(run.checkpoint.glob(when)))
    assert work(directory.path, Resources()) == DONE
    assert directory.read_result().resumed == 1
    assert directory.read_result().weights_digest == finished[name].read_result().weights_digest


@pytest.mark.parametrize("name", EVERY)
def test_only_the_adapter_changes(name: str, finished: Finished) -> None:
    """What is saved is what was declared; with it switched off the model is bit for bit the start model."""
    directory = finished[name]
    stages = directory.read_result().stages
    assert is_adapter(directory.model)
    adapted = open_adapter(load_model("lab").model(), directory.model).eval()
    with adapted.disable_adapter():
        assert torch.equal(adapted(IDS).logits, start().model(IDS).logits)
    assert not torch.allclose(adapted(IDS).logits, start().model(IDS).logits, atol=1e-4)
    declared = load_parameterisation(name, **QUICK_PARTS.get(name, {})).attach(start(), 0)
    assert stages[0].trainable_parameters == declared.trainable_parameters
    saved = sum(p.numel() for n, p in adapted.named_parameters() if is_adapters(n, adapted))
    assert saved >= stages[-1].trainable_parameters > 0


@pytest.mark.parametrize("name", EVERY)
def test_export_and_reload_gives_the_same_logits(name: str, finished: Finished, tmp_path: Path) -> None:
    directory = finished[name]
    folder = export(directory.path, "peft", tmp_path / "peft")
    reloaded = open_adapter(load_model("lab").model(), folder).eval()
    again = open_adapter(load_model("lab").model(), directory.model).eval()
    assert torch.equal(reloaded(IDS).logits, again(IDS).logits)
    if load_parameterisation(name, **QUICK_PARTS.get(name, {})).mergeable:
        whole = load_model(str(export(directory.path, "hf", tmp_path / "hf"))).model().eval()
        merged, apart = whole(IDS).logits, reloaded(IDS).logits
        assert (merged - apart).abs().max() <= 1e-5 * apart.abs().max()  # float32: a merge rounds once a weight
    else:
        with pytest.raises(UserError, match=r"cannot be merged.*--to peft"):
            export(directory.path, "hf", tmp_path / "hf")
        assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("name", sorted(NEEDS_GPU))
def test_what_needs_a_gpu_says_so(name: str) -> None:
    from harness.plan import refusal

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    reason = refusal(find_method(f"{name}+sft").create(), load_task("countdown", level="L0"))
    assert reason is not None and "bitsandbytes" in reason and "use lora" in reason
