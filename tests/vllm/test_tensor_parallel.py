"""vLLM with its copy of a model spread over two processes: the answers of one, by the weights of every update."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.contracts import Completion, Prompt, Resources, Sampling
from harness.engines import vllm_server
from harness.engines.adapted import AdaptedEngine
from harness.engines.population import PopulationEngine
from harness.engines.vllm import VLLMEngine
from harness.engines.vllm_adapted import VLLMAdapted
from harness.engines.vllm_form import plain_weights
from harness.engines.vllm_population import VLLMPopulation, as_member
from harness.engines.vllm_server import Server, server_for
from harness.errors import UserError
from harness.models import load_model
from harness.policy import Policy
from harness.registry import load_task
from harness.worker import DONE, work
from tests import letters
from tests.conftest import place
from tests.contracts.test_methods import rows
from tests.vllm.test_adapters import adapted
from tests.vllm.test_engine import UNEVEN, assert_agreement, embedded, policy, tokens
from tests.vllm.test_population import population
from tests.vllm.test_runs import ROOT, spec_of

__all__ = ["policy"]  # a fixture
GREEDY = Sampling(24, 0.0)
LEVEL = load_task("countdown", level="L2")
MANY: list[Prompt] = [LEVEL.prompt(item) for item in LEVEL.items("test", 100)]


@pytest.fixture(scope="module")
def alone(policy: Policy) -> list[Completion]:
    """What vLLM answers in one process."""
    return VLLMEngine(policy).generate(MANY, GREEDY, 0)


@pytest.fixture(scope="module")
def spread(policy: Policy, alone: list[Completion]) -> Policy:
    """The same policy for two processes, with room for all adapters here: they start once."""
    named = set(Path("/dev/shm").glob("vllm_dist_*"))
    server_for(policy.model, 32, 4, devices=2)
    assert set(Path("/dev/shm").glob("vllm_dist_*")) <= named, "memory that nobody would give back"
    return replace(policy, tensor_parallel=2)


@pytest.fixture
def moved(spread: Policy) -> Iterator[Policy]:
    """The policy after an update."""
    kept = {name: tensor.detach().clone() for name, tensor in spread.model.named_parameters()}
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in spread.model.parameters():
            tensor.add_(0.01 * torch.randn(tensor.shape, generator=drawn))
    yield spread
    with torch.no_grad():
        for name, tensor in spread.model.named_parameters():
            tensor.copy_(kept[name])


def running() -> Server:
    assert vllm_server._running is not None
    return vllm_server._running


def test_two_processes_answer_as_one(spread: Policy, alone: list[Completion]) -> None:
    found = VLLMEngine(spread).generate(MANY, GREEDY, 0)
    assert running().devices == 2
    assert assert_agreement(spread, MANY, found, alone) <= 1
    for mine, other in zip(found, alone, strict=True):
        if mine.token_ids == other.token_ids:
            assert (mine.text, mine.truncated) == (other.text, other.truncated)
            assert mine.logprobs == pytest.approx(other.logprobs, abs=1e-3)


def test_what_is_sampled_follows_from_the_seed(spread: Policy) -> None:
    first, again, other = (VLLMEngine(spread).generate(UNEVEN, Sampling(24, 1.0), seed) for seed in (1, 1, 2))
    assert tokens(first) == tokens(again) != tokens(other)


def test_both_answer_by_the_weights_as_they_are_now(moved: Policy, alone: list[Completion]) -> None:
    found = VLLMEngine(moved).generate(MANY, GREEDY, 0)
    assert tokens(found) != tokens(alone)
    assert_agreement(moved, MANY, found, embedded(moved).generate(MANY, GREEDY, 0))


def test_a_process_with_other_weights_answers_nothing(spread: Policy) -> None:
    VLLMEngine(spread).generate(UNEVEN[:1], GREEDY, 0)
    server = running()
    with pytest.raises(RuntimeError, match="which the policy did not give"):
        server.load(plain_weights(spread.model)[:-1])
    with pytest.raises(RuntimeError, match=r"vLLM holds weights number \[0, 0\]"):
        server.answer([[1, 2]], None, None)
    server.load(plain_weights(spread.model))

    def forget(worker: Any) -> None:
        worker.worker.held_version *= worker.worker.rank != 1

    server.engine.collective_rpc(forget)
    with pytest.raises(RuntimeError, match=rf"vLLM holds weights number \[{server.version}, 0\]"):
        server.answer([[1, 2]], None, None)


@pytest.mark.parametrize("part", ["lora", "dora"])
def test_an_adapter_answers_as_it_does_embedded(part: str, spread: Policy) -> None:
    """Served as a LoRA, and merged."""
    made = replace(adapted(part, 1, 0.2), tensor_parallel=2)
    found = VLLMEngine(made).generate(UNEVEN, GREEDY, 0)
    assert running().devices == 2 and tokens(found) != tokens(VLLMEngine(spread).generate(UNEVEN, GREEDY, 0))
    assert_agreement(made, UNEVEN, found, embedded(made).generate(UNEVEN, GREEDY, 0))


@pytest.mark.parametrize(("method", "sigma"), [("lora-es", 0.3), ("eggroll", 0.02), ("es", 0.02)])
def test_a_population_answers_as_it_does_embedded(method: str, sigma: float, spread: Policy) -> None:
    made, members = population(method, 4, sigma)
    found = VLLMPopulation(replace(made, tensor_parallel=2)).generate(members, 4, UNEVEN, GREEDY, 0)
    assert running().devices == 2 and len({str(tokens(one)) for one in found}) == 4
    own = PopulationEngine(made.model, made.tokenizer).generate(members, 4, UNEVEN, GREEDY, 0)
    for member in range(4):
        with as_member(made.model, members, member, 4):
            assert_agreement(made, UNEVEN, found[member], own[member])


def test_a_run_is_scored_by_the_weights_it_ends_with(spread: Policy, runs: Path) -> None:
    spec = spec_of("grpo")
    directory = place(spec, runs)
    assert work(directory.path, Resources(tensor_parallel=2)) == DONE, directory.error.read_text()
    assert running().devices == 2
    handle = load_model(str(directory.model))
    final = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    task = load_task("countdown", level="L0")
    prompts = [task.prompt(item) for item in task.items("val", spec.evaluation.items)]
    sampling = Sampling(spec.evaluation.max_new_tokens or task.max_new_tokens, 0.0, stop=task.stop)
    given = [str(row["completion"]) for row in rows(directory)]
    assert given == [answer.text for answer in embedded(final).generate(prompts, sampling, 0)]
    result = directory.read_result()
    assert result.weights_digest != spread.digest()
    spent = result.meters.train_seconds + result.meters.generate_seconds + result.meters.evaluate_seconds
    both = spent + result.meters.overhead_seconds
    assert both == pytest.approx(2 * (result.finished_at - result.started_at), rel=0.1)


def test_a_model_that_cannot_be_dealt_out_is_refused_in_a_sentence(policy: Policy) -> None:
    before = running()
    with pytest.raises(UserError, match=r"vLLM cannot serve this model here: Total number of attention heads \(4\)"):
        vllm_server._start(str(policy.start), policy.model, 0, 0, 3)
    assert running() is before


def test_a_sweep_file_asks_for_it_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "model: lab\ntask: {name: countdown, level: L0}\nmethods: [grpo]\nbudget: {steps: 1}\n"
        "final: {seeds: [1], items: 6}\nevaluation: {engine: vllm, curve_points: 0, max_new_tokens: 24}\n"
        "resources: {tensor_parallel: 2}\n"
    )
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from cli.main import main; sys.exit(main())",
    ]
    done = subprocess.run([*command, "sweep", "s.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = tmp_path.glob("runs/*/*/*/result.json")
    assert json.loads((result.parent / "environment.json").read_text())["tensor_parallel"] == 2
    assert " ERROR " not in (result.parent / "output.log").read_text()


def test_each_prompt_has_the_adapter_of_its_text(spread: Policy) -> None:
    generator = letters.policy()
    texts = [("reverse", "which is largest?")[index % 2] for index in range(len(UNEVEN))]
    found = VLLMAdapted(replace(generator, tensor_parallel=2)).generate(UNEVEN, texts, GREEDY, 0)
    assert running().devices == 2
    assert tokens(found) == tokens(
        AdaptedEngine(generator.model, generator.tokenizer).generate(UNEVEN, texts, GREEDY, 0)
    )
