"""Populations on vLLM against the project's own population engine."""

from __future__ import annotations

import pytest
import torch

from harness.contracts import Sampling
from harness.engines.population import PopulationEngine
from harness.engines.side_path import Members
from harness.engines.vllm_population import VLLMPopulation, as_member
from harness.engines.vllm_server import Server
from harness.models import load_model
from harness.policy import Policy, digest_of
from harness.registry import load_method
from methods.optimisers.perturbation import Perturbation
from tests.vllm.test_engine import UNEVEN, assert_agreement

GREEDY = Sampling(24, 0.0)


def population(method: str, count: int, sigma: float) -> tuple[Policy, Members]:
    """A policy and a generation of the method's own noise over what it searches."""
    handle = load_model("lab")
    stage = load_method(method).stages[0]
    policy = stage.parameterisation.attach(Policy(handle.model().eval(), handle.tokenizer(), handle.path), 0)  # type: ignore[union-attr]
    policy.model.eval()
    master = {name: tensor.detach().float().clone() for name, tensor in policy.tensors().items()}
    optimiser = stage.optimiser  # type: ignore[union-attr]
    shapes = {name: tensor.shape for name, tensor in master.items()}
    search = Perturbation(7, shapes, count, optimiser.kind, optimiser.rank, optimiser.mirrored)  # type: ignore[attr-defined]
    search.begin(0)
    return policy, search.members(master, sigma, range(count), policy.tensors())


@pytest.mark.parametrize(
    ("method", "sigma", "batches"),
    [("lora-es", 0.3, 1), ("eggroll", 0.02, 1), ("kron-lora+es", 0.3, 1), ("es", 0.02, 4), ("ia3+es", 0.3, 4)],
)
def test_members_answer_as_on_the_population_engine(
    method: str, sigma: float, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Low-rank members in one multi-LoRA batch, all others one after another; the policy is left as it was."""
    policy, members = population(method, 4, sigma)
    before = digest_of(policy.model.named_parameters())
    asked: list[int] = []
    answer = Server.answer

    def counted(server: Server, prompts: list, *rest: object) -> list:
        asked.append(len(prompts))
        return answer(server, prompts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Server, "answer", counted)
    mine = VLLMPopulation(policy).generate(members, 4, UNEVEN, GREEDY, 0)
    assert len(asked) == batches and sum(asked) == 4 * len(UNEVEN)
    own = PopulationEngine(policy.model, policy.tokenizer).generate(members, 4, UNEVEN, GREEDY, 0)
    assert digest_of(policy.model.named_parameters()) == before
    assert len({str([answer.token_ids for answer in one]) for one in mine}) == 4
    for member in range(4):
        with as_member(policy.model, members, member, 4):
            assert_agreement(policy, UNEVEN, mine[member], own[member])


def test_a_member_without_noise_answers_as_the_policy() -> None:
    policy, members = population("eggroll", 2, 0.0)
    first, second = VLLMPopulation(policy).generate(members, 2, UNEVEN, GREEDY, 0)
    plain = PopulationEngine(policy.model, policy.tokenizer).generate({}, 1, UNEVEN, GREEDY, 0)[0]
    for one in (first, second):
        assert_agreement(policy, UNEVEN, one, plain)


def test_every_member_samples_with_the_same_seeds() -> None:
    policy, members = population("lora-es", 2, 0.0)
    same = {name: torch.cat([own[:1], own[:1]]) for name, own in members.items() if isinstance(own, torch.Tensor)}
    first, second = VLLMPopulation(policy).generate(same, 2, UNEVEN, Sampling(24, 1.0), 5)
    assert [answer.token_ids for answer in first] == [answer.token_ids for answer in second]
