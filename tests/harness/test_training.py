"""Training options: what overrides what, what is refused before anything is computed, and what they do in real runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.contracts import Pipeline, Train
from harness.errors import UserError
from harness.events import read_events
from harness.plan import training_refusal
from harness.record import RunDirectory
from harness.registry import load_method
from harness.spec import EvaluationProtocol
from harness.training import EarlyStopping, Training, read_training
from tests.conftest import PROTOCOL, make_spec, run_to_end


def run(runs: Path, method: str = "sft", steps: int = 4, **options: object) -> RunDirectory:
    spec = make_spec(method, steps=steps).model_copy(update={"training": Training.model_validate(options)})
    return run_to_end(spec, runs)


def logged(directory: RunDirectory, name: str) -> list[float]:
    events = [event for event in read_events(directory.events) if event["kind"] == "metrics"]
    return [event["values"][name] for event in events]


def test_what_is_given_goes_before_what_the_stage_has() -> None:
    stage = Training(accumulation=4, max_grad_norm=0.2, early_stopping=EarlyStopping(patience=3))
    both = Training(max_grad_norm=0.0, early_stopping=False).over(stage)
    assert both.given() == {"accumulation": 4, "max_grad_norm": 0.0, "early_stopping": False}
    settled = both.settled()
    assert (settled.accumulation, settled.max_grad_norm, settled.early_stopping) == (4, 0.0, None)
    nothing = Training().settled()
    assert (nothing.accumulation, nothing.max_grad_norm, nothing.gradient_checkpointing) == (1, 1.0, False)


def test_a_number_is_a_patience() -> None:
    assert read_training({"early_stopping": 2}).early_stopping == EarlyStopping(patience=2)
    assert Training(early_stopping=2, accumulation=4).text() == "accumulation 4, early stopping after 2 points"
    with pytest.raises(UserError, match="early_stopping=0 is not possible"):
        read_training({"early_stopping": 0})


def test_a_stage_says_what_options_it_brings() -> None:
    (stage,) = load_method("sft").stages
    assert isinstance(stage, Train) and "training" not in stage.describe()
    own = Train(stage.objective, stage.parameterisation, stage.optimiser, training=Training(accumulation=2))
    assert own.describe()["training"] == {"accumulation": 2}


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        (
            "es",
            {"accumulation": 2, "schedule": "linear"},
            "accumulation and schedule refused: this method trains without",
        ),
        ("es", {"early_stopping": 1}, None),
        ("base", {"early_stopping": 1}, "early_stopping refused: this method does not train"),
        ("sft", {"accumulation": 64}, "an update of 'sft' has 32 rows; use 32 at most"),
        ("grpo", {"accumulation": 256}, "an update of 'grpo' has 128 rows"),
        ("sft-es", {"accumulation": 2}, None),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(method: str, options: dict[str, object], said: str | None) -> None:
    reason = training_refusal(load_method(method), Training.model_validate(options), PROTOCOL)
    assert (reason is None) if said is None else (reason is not None and said in reason)


def test_early_stopping_needs_a_curve_even_where_the_recipe_asks_for_it() -> None:
    (stage,) = load_method("sft").stages
    assert isinstance(stage, Train)
    stopping = Training(early_stopping=EarlyStopping())
    own = Pipeline.of(Train(stage.objective, stage.parameterisation, stage.optimiser, training=stopping))
    without = EvaluationProtocol(curve_points=0)
    assert "set curve_points above 0" in (training_refusal(own, Training(), without) or "")
    assert training_refusal(own, Training(early_stopping=False), without) is None
    assert training_refusal(own, Training(), PROTOCOL) is None


def test_schedule_and_warmup(runs: Path) -> None:
    rates = {
        shape: logged(run(runs, schedule=shape, warmup_steps=2), "learning_rate")
        for shape in ("constant", "linear", "cosine")
    }
    peak = 1e-3  # a rate is set before the step before it is counted: the last one has used 2 of 4 steps
    assert rates["constant"] == pytest.approx([0.5 * peak, peak, peak, peak])
    assert rates["linear"] == pytest.approx([0.5 * peak, peak, 0.75 * peak, 0.5 * peak])
    assert rates["cosine"] == pytest.approx([0.5 * peak, peak, 0.853553 * peak, 0.5 * peak], rel=1e-5)


def test_clipping(runs: Path) -> None:
    digests = {norm: run(runs, max_grad_norm=norm).read_result().weights_digest for norm in (0.0, 1e-3, 1.0)}
    usual = run_to_end(make_spec("sft"), runs).read_result().weights_digest
    assert digests[1.0] == usual and len(set(digests.values())) == 3


def test_checkpointed_activations_give_the_same_weights(runs: Path) -> None:
    kept, recomputed = run(runs, gradient_checkpointing=False), run(runs, gradient_checkpointing=True)
    assert kept.read_result().weights_digest == recomputed.read_result().weights_digest
    assert kept.read_result().meters.flops == recomputed.read_result().meters.flops
