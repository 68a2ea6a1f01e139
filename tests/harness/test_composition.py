"""`PART+METHOD`: any method over any parameterisation, without a file of its own."""

from __future__ import annotations

import pytest

from harness.contracts import Train
from harness.errors import UserError
from harness.parameters import Search
from harness.registry import find_method, load_method, load_task
from harness.spec import Component


def trains(name: str, **parameters: object) -> list[Train]:
    return [stage for stage in load_method(name, **parameters).stages if isinstance(stage, Train)]


@pytest.mark.parametrize("method", ["sft", "dpo", "grpo", "kto", "es", "rft", "sft-grpo"])
def test_every_full_stage_gets_the_parameterisation(method: str) -> None:
    own, plain = trains(f"lora+{method}", rank=3), trains(method)
    assert len(own) == len(plain)
    for stage, before in zip(own, plain, strict=True):
        assert stage.parameterisation.name == "lora" and stage.parameterisation.describe()["rank"] == 3
        assert stage.objective == before.objective and stage.share == before.share


def test_learning_rates_and_perturbations_are_the_methods_times_the_factor() -> None:
    plain, own = find_method("sft-grpo").parameters, find_method("lora+sft-grpo").parameters
    for name in ("learning_rate", "grpo_learning_rate"):
        assert own[name].default == pytest.approx(10 * plain[name].default, rel=1e-12)
        before, now = plain[name].search, own[name].search
        assert isinstance(before, Search) and isinstance(now, Search) and now.log
        assert (now.low, now.high) == pytest.approx((10 * before.low, 10 * before.high), rel=1e-12)
    assert find_method("lora+es").parameters["sigma"].default == pytest.approx(0.1)
    assert own["temperature"].default == plain["temperature"].default
    (stage,) = trains("lora+sft")
    assert stage.optimiser.describe()["learning_rate"] == pytest.approx(2e-4)


def test_the_versions_of_all_parts_enter_the_identity() -> None:
    resolved = find_method("lora+sft").resolve({"rank": 4})
    assert isinstance(resolved, Component) and resolved.name == "lora+sft"
    assert resolved.version == 1000 * find_method("sft").version + 1
    assert find_method("lora+sft").resolve(resolved.parameters) == resolved
    assert {"learning_rate", "batch_size", "rank", "alpha", "targets"} <= set(resolved.parameters)


def test_what_a_composition_replaces_is_the_method_itself() -> None:
    assert find_method("full+sft") is find_method("sft") and find_method("adamw+grpo") is find_method("grpo")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lroa+sft", "'lroa'. Did you mean 'lora'?"),
        ("lora+stf", "'stf'. Did you mean 'sft'?"),
        ("lora+lora-es", "it trains lora. Nearest that can: lora+es."),
        ("lora+base", "it trains nothing"),
        ("lora+dora+sft", "2 parameterisations, lora and dora: keep one"),
        ("pftt:vera+sft", "No family of parameterisations is called 'pftt'. Did you mean 'peft'?"),
    ],
)
def test_what_cannot_be_says_why_and_what_can(name: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        find_method(name)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_part_of_a_wrong_name_or_value_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'rank'"):
        load_method("lora+sft", rnak=4)
    with pytest.raises(UserError, match="rank=0"):
        load_method("lora+sft", rank=0)


def test_clashing_parameters_get_the_name_of_the_part() -> None:
    """`temperature` is the method's; a part of the same name is asked for by its own."""
    from harness import parts
    from harness.parts import parameterisation
    from methods.parameterisations.full import full

    @parameterisation("warm", version=1)
    def warm(temperature: float = 0.5) -> object:
        """Clashes."""
        return full()

    try:
        found = find_method("warm+grpo").parameters
        assert found["temperature"].default == 1.0 and found["warm_temperature"].default == 0.5
    finally:
        del parts._PARAMETERISATIONS["warm"]


def test_a_composition_is_planned_like_any_method() -> None:
    from harness.plan import refusal

    task = load_task("countdown", level="L0")
    assert refusal(load_method("lora+grpo"), task) is None
    reason = refusal(load_method("lora+sft"), load_task("conciseness"))
    assert reason is None or "needs" in reason
