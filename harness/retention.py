"""Retention: what a run lost on probes it was not trained on, and how far it moved from its start.

Probes (tasks with their own items) are scored before the first stage and after the last one, by the run's own
evaluation protocol and random stream, so that the two can be paired. Distance is the forward KL divergence to the
start on the new task's questions: the mean over prompts of sum_t [log pi_0 - log pi], with y sampled once from pi_0
('RL's Razor', Shenfeld et al. 2025, arXiv 2509.04259: the quantity that predicts forgetting). Nothing of this is
charged to the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.contracts import Completion, Sampling, Task, TextTask
from harness.engines.choice import engine_of
from harness.engines.hf import encode
from harness.engines.likelihood import token_likelihoods
from harness.evaluate import evaluate
from harness.policy import Policy
from harness.ranks import ALONE, Ranks
from harness.record import ProbeResult, RetentionResult, Score
from harness.registry import find_task
from harness.spec import Probe, Retention, RunSpec
from harness.streams import stream


@dataclass(frozen=True)
class Before:
    """The start policy's scores, and what it said to the new task's questions."""

    scores: list[Score]
    prompts: list[list[int]]
    completions: list[Completion]


def measure_before(spec: RunSpec, wanted: Retention, task: Task, policy: Policy, ranks: Ranks = ALONE) -> Before:
    """Score the untouched start policy and sample the texts that the divergence is measured on."""
    protocol = spec.evaluation
    items = task.items(protocol.split, wanted.kl_prompts) if wanted.kl_prompts else []
    prompts = [task.prompt(item) for item in items]
    limit = protocol.max_new_tokens or task.max_new_tokens
    engine = engine_of("hf", policy, ranks=ranks)
    completions = engine.generate(prompts, Sampling(limit), stream(spec.seed, "retention")) if prompts else []
    ids = [encode(policy.tokenizer, prompt) for prompt in prompts]
    return Before([_score(spec, probe, policy, ranks=ranks) for probe in wanted.probes], ids, completions)


def measure_after(
    spec: RunSpec,
    wanted: Retention,
    before: Before,
    policy: Policy,
    told: bool = False,
    cut: bool = False,
    ranks: Ranks = ALONE,
) -> RetentionResult:
    """Score the final policy on the same probes and texts; `told` and `cut` are those of `harness.evaluate`."""
    probes = [
        ProbeResult(
            label=probe.label,
            task=probe.task.name,
            before=old.accuracy,
            after=new.accuracy,
            items=new.items,
            measures={name: (old.measures[name], new.measures[name]) for name in old.measures if name in new.measures},
        )
        for probe, old, new in zip(
            wanted.probes,
            before.scores,
            (_score(spec, probe, policy, told, cut, ranks) for probe in wanted.probes),
            strict=True,
        )
    ]
    if not before.completions or policy.kind == "generator":  # a generator is no one policy that could diverge
        return RetentionResult(probes=probes)
    texts = [(ids, answer.token_ids) for ids, answer in zip(before.prompts, before.completions, strict=True)]
    now = token_likelihoods(policy.model, texts)
    ratios = [sum(a.logprobs) - b.logprob for a, b in zip(before.completions, now, strict=True)]
    mean = sum(ratios) / len(ratios)
    spread = sum((ratio - mean) ** 2 for ratio in ratios) / max(1, len(ratios) - 1)
    return RetentionResult(
        probes=probes,
        kl_per_sequence=mean,
        kl_per_token=sum(ratios) / sum(len(answer.token_ids) for answer in before.completions),
        kl_standard_error=math.sqrt(spread / len(ratios)),
        kl_prompts=len(ratios),
    )


def _score(
    spec: RunSpec, probe: Probe, policy: Policy, told: bool = False, cut: bool = False, ranks: Ranks = ALONE
) -> Score:
    task = find_task(probe.task.name).create(**probe.task.parameters)
    as_task = spec.model_copy(
        update={"evaluation": spec.evaluation.model_copy(update={"max_new_tokens": None, "samples": 1})}
    )
    told = told and isinstance(task, TextTask)
    return evaluate(as_task, task, policy, probe.split, probe.items, few_shot=0, told=told, cut=cut, ranks=ranks)[0]
