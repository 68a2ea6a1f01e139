"""Several stages in one run: what they share, what each starts from, what each is charged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from harness import load_method, load_model, registry
from harness.context import StageContext
from harness.contracts import Pipeline, Sampling, Train
from harness.engines.hf import HFEngine
from harness.events import EventLog, read_events
from harness.export import export
from harness.meters import MeterBank
from harness.policy import Policy
from harness.record import Meters, RunDirectory
from harness.registry import load_task
from harness.run_context import RunContext, stage_start
from harness.spec import Budget
from methods.parameterisations.lora import lora
from tests.conftest import PROTOCOL, QUICK, make_spec, place, run_to_end


def start() -> Policy:
    handle = load_model("lab")
    return Policy(handle.model().eval(), handle.tokenizer(), handle.path)


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    spec = make_spec("sft").model_copy(update={"budget": Budget(steps=10)})
    directory = place(spec, tmp_path)
    log = EventLog(directory.events)
    return RunContext(spec, directory, load_task("countdown", level="L0"), MeterBank(Meters()), log)


def test_a_stage_starts_from_the_last_one_with_its_adapter_merged(run: RunContext) -> None:
    policy = lora(rank=2, alpha=4.0).attach(start(), seed=0)
    with torch.no_grad():
        for tensor in policy.tensors().values():
            tensor.normal_(0, 0.05)
    ids = torch.arange(3, 19)[None]
    expected = policy.model(ids).logits
    folder = run.hand_over(1, policy, [])
    handed = load_model(str(folder)).model().eval()
    assert torch.allclose(handed(ids).logits, expected, atol=1e-4)
    assert not torch.allclose(start().model(ids).logits, expected, atol=1e-2)
    assert stage_start(run.directory, 1) is not None and stage_start(run.directory, 0) is None


def test_a_stage_ends_at_its_share_and_the_next_has_the_rest(run: RunContext) -> None:
    first = StageContext(run, 0, start(), ends=0.3)
    run.meters.count(steps=2)
    assert not first.exhausted() and first.spent() == pytest.approx(2 / 3)
    run.meters.count(steps=1)
    assert first.exhausted() and first.stopped_by == "steps" and first.spent() == 1.0
    second = StageContext(run, 1, start(), begun=0.3)
    assert second.spent() == pytest.approx(0.0, abs=1e-9) and not second.exhausted()
    run.meters.count(steps=7)
    assert second.exhausted() and second.spent() == 1.0


def test_every_stage_is_charged_its_own(tmp_path: Path) -> None:
    result = run_to_end(make_spec("sft-grpo"), tmp_path).read_result()
    supervised, reinforced = result.stages
    assert supervised.meters.generated_tokens == 0 < reinforced.meters.generated_tokens
    for name in ("steps", "flops", "trained_tokens", "generated_tokens"):
        total = sum(getattr(stage.meters, name) for stage in result.stages)
        assert total == pytest.approx(getattr(result.meters, name))
    assert supervised.description["share"] == 0.5 and "share" not in reinforced.description


def test_the_reference_of_a_later_stage_is_where_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DPO after SFT pulls towards the tuned model, not towards the base."""
    starts = []
    own = StageContext.reference

    def noted(stage: StageContext) -> object:
        starts.append((stage.index, stage.policy.start))
        reference = own(stage)
        for (name, one), other in zip(reference.named_parameters(), stage.policy.model.parameters(), strict=True):
            assert torch.equal(one, other), name
        return reference

    monkeypatch.setattr(StageContext, "reference", noted)
    run_to_end(make_spec("sft-dpo"), tmp_path)
    assert [index for index, _ in starts] == [1]
    assert starts[0][1].name == "start"


def test_a_share_is_part_of_what_a_stage_is() -> None:
    (stage,) = load_method("sft").stages
    assert isinstance(stage, Train)
    assert replace(stage, share=0.25).describe() == {"share": 0.25, **stage.describe()}


def test_a_stage_ends_at_its_own_budget_and_the_run_at_its(run: RunContext) -> None:
    run.meters.count(steps=2, rollouts=5)
    before = run.meters.read()
    stage = StageContext(run, 1, start(), begun=0.2, own_budget=Budget(steps=4, rollouts=100), before=before)
    run.meters.count(steps=3, rollouts=10)
    assert not stage.exhausted() and stage.spent() == pytest.approx(3 / 4)
    run.meters.count(steps=1)
    assert stage.exhausted() and stage.stopped_by == "steps" and stage.spent() == 1.0
    large = StageContext(run, 1, start(), begun=0.2, own_budget=Budget(rollouts=1000), before=before)
    assert large.spent() == pytest.approx((0.6 - 0.2) / 0.8)
    run.meters.count(steps=4)
    assert large.exhausted(), "a stage's own budget lies inside the run's"


def test_a_stages_own_budget_in_a_run(tmp_path: Path) -> None:
    """Three updates of the first stage by its own limit, the rest of the run's budget for the second."""
    first, second = load_method("sft-grpo", **QUICK["sft-grpo"]).stages
    assert isinstance(first, Train) and isinstance(second, Train)
    own = Pipeline.of(replace(first, share=None, budget=Budget(steps=3)), second)
    assert own.stages[0].describe()["budget"] == {"steps": 3.0}
    registry.method("own-budget", version=1)(lambda: own)
    try:
        result = run_to_end(make_spec("own-budget", steps=5), tmp_path).read_result()
    finally:
        registry._METHODS.pop("own-budget")
    assert [stage.meters.steps for stage in result.stages] == [3, 2]


def test_the_policy_is_scored_after_every_stage(tmp_path: Path) -> None:
    """On val and the curve's items, charged to nobody; without a curve it is not."""
    directory = run_to_end(make_spec("sft-es", steps=4), tmp_path)
    supervised, evolved = directory.read_result().stages
    curve = {e["step"]: e for e in read_events(directory.events) if e["kind"] == "curve" and e["stage"] == 1}
    assert supervised.score is not None and evolved.score is not None
    assert (supervised.score.split, supervised.score.items) == ("val", PROTOCOL.curve_items)
    assert evolved.score.accuracy == curve[max(curve)]["accuracy"]
    without = make_spec("sft-es", steps=4, evaluation=PROTOCOL.model_copy(update={"curve_points": 0}))
    plain = run_to_end(without, tmp_path).read_result()
    assert [stage.score for stage in plain.stages] == [None, None]
    assert plain.meters.flops == directory.read_result().meters.flops
    assert plain.weights_digest == directory.read_result().weights_digest


def test_an_adapter_keeps_the_weights_of_earlier_stages_beside_it(runs: Path, tmp_path: Path) -> None:
    """Exported, reloaded or opened by PEFT, the model of `lora+sft-dpo` answers as the run's own final policy did."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = run_to_end(make_spec("lora+sft-dpo"), runs)
    answers = [row["completion"] for row in pq.read_table(run.samples).to_pylist()]
    whole = load_model(str(export(run.path, "hf", tmp_path / "hf")))
    adapter = load_model(str(run.model))
    base = AutoModelForCausalLM.from_pretrained(json.loads(adapter_file(run).read_text())["base_model_name_or_path"])
    for model in (whole.model(), adapter.model(), PeftModel.from_pretrained(base, str(run.model))):
        assert greedy(run, model) == answers
    ids = torch.arange(3, 19)[None]
    on_the_start = PeftModel.from_pretrained(load_model("lab").model(), str(run.model)).eval()
    assert not torch.allclose(on_the_start(ids).logits, whole.model().eval()(ids).logits, atol=1e-3)


def adapter_file(run: RunDirectory) -> Path:
    return run.model / "adapter_config.json"


def greedy(run: RunDirectory, model: Any) -> list[str]:
    """What `model` answers to the questions of the run's evaluation."""
    spec = run.read_spec()
    task = load_task(spec.task.name, **spec.task.parameters)
    prompts = [task.prompt(item) for item in task.items(spec.evaluation.split, spec.evaluation.items)]
    sampling = Sampling(spec.evaluation.max_new_tokens or task.max_new_tokens, 0.0, stop=task.stop)
    engine = HFEngine(model.eval(), load_model("lab").tokenizer())
    return [one.text for one in engine.generate(prompts, sampling, 0)]
