"""The registry: what is registered, what is refused, and in which words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated

import pytest
from pydantic import Field

from harness import registry
from harness.contracts import Pipeline
from harness.errors import UserError
from harness.parameters import Search
from harness.registry import components, find_method, find_task, load_method, load_task, method, methods, task, tasks


@pytest.fixture(autouse=True)
def _leave_no_trace() -> Iterator[None]:
    """Whatever a test registers is forgotten after it."""
    methods()
    before = dict(registry._METHODS), dict(registry._TASKS)
    yield
    for table, old in zip((registry._METHODS, registry._TASKS), before, strict=True):
        table.clear()
        table.update(old)


def one_sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text
    return text


def test_nothing_is_listed_by_hand() -> None:
    assert {"base", "sft", "dpo", "grpo", "es", "lora-es"} <= set(methods())
    assert "countdown" in tasks()
    assert list(methods()) == sorted(methods()) and list(tasks()) == sorted(tasks())
    assert {"sft", "dpo", "grpo", "task-reward"} <= set(components("objectives"))


def test_every_objective_of_a_method_is_listed() -> None:
    used = {stage.objective.name for entry in methods().values() for stage in entry.create().stages}
    assert used == set(components("objectives"))
    assert {"full", "lora"} <= set(components("parameterisations"))
    assert {"adamw", "evolution"} <= set(components("optimisers"))


def test_every_entry_says_what_it_is() -> None:
    for entry in [*methods().values(), *tasks().values()]:
        assert entry.summary.endswith("."), entry.name
        assert entry.version >= 1
        for parameter in entry.parameters.values():
            assert parameter.help, (entry.name, parameter.name)


@pytest.mark.parametrize(
    ("find", "asked", "nearest", "listing"),
    [
        (find_method, "grop", "grpo", "beyondrl list methods"),
        (find_method, "lora_es", "lora-es", "beyondrl list methods"),
        (find_task, "count-down", "countdown", "beyondrl list tasks"),
        (load_method, "sfft", "sft", "beyondrl list methods"),
        (load_task, "cuntdown", "countdown", "beyondrl list tasks"),
    ],
)
def test_an_unknown_name_gets_the_nearest_match(find, asked: str, nearest: str, listing: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as error:
        find(asked)
    text = one_sentence(error)
    assert repr(asked) in text and f"Did you mean {nearest!r}?" in text and listing in text


def test_a_name_like_no_other_gets_the_whole_list() -> None:
    with pytest.raises(UserError) as error:
        find_method("zzzzzzzz")
    assert "There is: apo, base, " in one_sentence(error)


def test_an_unknown_parameter_gets_the_nearest_match() -> None:
    with pytest.raises(UserError, match=r"'learnin_rate'.*Did you mean 'learning_rate'"):
        load_method("sft", learnin_rate=1e-3)
    with pytest.raises(UserError, match="Did you mean 'level'"):
        load_task("countdown", lvel="L1")


@pytest.mark.parametrize(
    ("name", "parameters", "key"),
    [
        ("sft", {"learning_rate": 0.0}, "learning_rate"),
        ("sft", {"batch_size": 0}, "batch_size"),
        ("sft", {"batch_size": "many"}, "batch_size"),
        ("sft", {"schedule": "cosine"}, "schedule"),
        ("dpo", {"sampling_share": 1.0}, "sampling_share"),
        ("es", {"population": 1}, "population"),
    ],
)
def test_an_impossible_value_is_refused_by_name_and_value(name: str, parameters: dict[str, object], key: str) -> None:
    with pytest.raises(UserError) as error:
        load_method(name, **parameters)
    assert key in one_sentence(error) and repr(parameters[key]) in str(error.value)


def test_resolving_adds_every_default() -> None:
    entry = find_method("sft")
    resolved = entry.resolve({"batch_size": 4})
    assert resolved.name == "sft" and resolved.version == entry.version
    assert resolved.parameters.keys() == entry.parameters.keys()
    assert resolved.parameters["batch_size"] == 4
    assert resolved.parameters["learning_rate"] == entry.parameters["learning_rate"].default
    assert entry.resolve(resolved.parameters) == resolved


def test_what_is_resolved_can_be_created_again() -> None:
    for entry in [*methods().values(), *tasks().values()]:
        entry.create(**entry.resolve({}).parameters)


def test_a_method_is_a_function_with_annotated_defaults() -> None:
    @method("made-here", version=3, source="nowhere")
    def made(rank: Annotated[int, Field(ge=1), Search(2, 32, log=True), "rank of nothing"] = 8) -> Pipeline:
        """Nothing at all."""
        return Pipeline(few_shot=rank)

    entry = find_method("made-here")
    rank = entry.parameters["rank"]
    assert (entry.version, entry.summary, entry.source) == (3, "Nothing at all.", "nowhere")
    assert (rank.default, rank.help, rank.search) == (8, "rank of nothing", Search(2, 32, log=True))
    assert load_method("made-here", rank=2).few_shot == 2
    with pytest.raises(UserError, match="rank=0"):
        load_method("made-here", rank=0)


def test_a_parameter_without_a_default_is_refused() -> None:
    with pytest.raises(TypeError, match="'rank' needs a vetted default"):

        @method("no-default", version=1)
        def no_default(rank: int) -> Pipeline:
            return Pipeline()

    with pytest.raises(TypeError, match="'level' needs a vetted default"):

        @task("no-default", version=1)
        class NoDefault:
            def __init__(self, level: str) -> None: ...

    assert "no-default" not in methods() and "no-default" not in tasks()


def test_two_of_one_name_are_refused() -> None:
    def sft() -> Pipeline:
        return Pipeline()

    class Countdown:
        pass

    with pytest.raises(UserError) as error:
        method("sft", version=1)(sft)
    assert "methods.recipes.sft" in one_sentence(error) and __name__ in str(error.value)
    with pytest.raises(UserError, match="Two tasks are called 'countdown'"):
        task("countdown", version=1)(Countdown)
    assert find_method("sft").module == "methods.recipes.sft"


def test_two_of_one_name_in_one_module_are_refused() -> None:
    def first() -> Pipeline:
        return Pipeline()

    def second() -> Pipeline:
        return Pipeline(few_shot=1)

    method("twice", version=1)(first)
    with pytest.raises(UserError, match="Two methods are called 'twice'"):
        method("twice", version=1)(second)


def test_a_task_without_a_constructor_has_no_parameters() -> None:
    @task("bare", version=2)
    class Bare:
        """A task that needs nothing."""

    assert find_task("bare").parameters == {}
    made = load_task("bare")
    assert (made.name, made.version) == ("bare", 2)


def test_looking_things_up_loads_no_torch() -> None:
    """Listings answer quickly because nothing heavy is imported for them."""
    program = (
        "import sys; from harness.registry import methods, tasks; "
        "[(e.parameters, e.create()) for e in [*methods().values(), *tasks().values()]]; "
        "sys.exit(len([m for m in ('torch', 'transformers', 'trl', 'peft') if m in sys.modules]))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
