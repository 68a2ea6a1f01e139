"""vLLM inside this process: one engine at a time, whose weights and adapters are given as tensors.

It starts from a model's configuration with empty weights, so that what answers is always what it was last given; each
giving has a number, and every worker is asked for it around every batch. On one device the worker is in this process
and takes the tensors as they are; a model that is spread over several has a worker process for each, and they read the
tensors in shared memory. Run processes end with their run, and the workers with them: nothing has to be given back.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import count
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import ValidationError

from harness.engines.shared_tensors import given
from harness.engines.vllm_worker import Named
from harness.errors import UserError, is_out_of_memory

if TYPE_CHECKING:
    from harness.lora_files import LoraAdapter

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM has room for; an adapter takes the next one up."""
_CACHE_BYTES = 2**30  # keys and values on a processor
_GPU_SHARE = 0.3  # of a GPU's memory: the policy and its optimiser live there too (TRL's share for the same case)
_SEQUENCES = 256
_running: Server | None = None


class Server:
    """A running vLLM engine of one architecture on so many devices, with room for `slots` adapters of rank `rank` at
    once."""

    def __init__(self, model: Any, rank: int, slots: int, devices: int = 1) -> None:
        self.likeness = likeness(model)
        self.rank, self.slots, self.devices = rank, slots, devices
        self.version = 0
        self._numbers = count(1)
        self._eager = model.device.type == "cpu"
        with tempfile.TemporaryDirectory() as folder, _random_state_kept(), self._compiled_or_not():
            _configuration(model).save_pretrained(folder)
            self.engine = _start(folder, model, rank, slots, devices)
        if self._eager and devices > 1:
            self.engine.collective_rpc("settle")
        self.positions: int = self.engine.llm_engine.model_config.max_model_len
        """Tokens of prompt and answer together at most."""

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Answer with these weights from now on; RuntimeError if the model has one that is not among them."""
        self.version += 1
        with self._for_workers(weights) as named:
            lacking = self.engine.collective_rpc("take_weights", args=(named, self.version))
        if any(lacking):
            raise RuntimeError(f"vLLM's model has {max(lacking)[0]!r}, which the policy did not give")

    def adapt(self, adapters: Sequence[LoraAdapter]) -> list[Any] | None:
        """Hold these adapters and no other: what names each in `answer`; None if vLLM has no place for a module."""
        from vllm.lora.request import LoRARequest

        numbers = [next(self._numbers) for _ in adapters]
        with ExitStack() as kept:
            tensors = {
                number: kept.enter_context(self._for_workers(_tensors(adapter).items()))
                for number, adapter in zip(numbers, adapters, strict=True)
            }
            unserved = self.engine.collective_rpc("take_adapters", args=(tensors, self.rank))
        if any(unserved):
            return None
        # The path is never read: the worker holds the adapter already, and one that it lost is an error there.
        return [LoRARequest(f"adapter {number} of weights {self.version}", number, "in-memory") for number in numbers]

    def answer(self, prompts: Sequence[Sequence[int]], parameters: Any, requests: Sequence[Any] | None) -> list[Any]:
        """vLLM's outputs in the order of the prompts, all by the weights last given."""
        self._assert_version()
        given = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        with self._compiled_or_not():
            outputs: list[Any] = self.engine.generate(given, parameters, use_tqdm=False, lora_request=requests)
        self._assert_version()
        return outputs

    def fits(self, model: Any, rank: int, slots: int, devices: int) -> bool:
        """Whether this engine can serve such a model with such adapters, spread like that."""
        spread_alike = self.devices == devices and self.likeness == likeness(model)
        return spread_alike and self.rank >= rank and self.slots >= slots

    def close(self) -> None:
        """Stop the engine; the process can start another."""
        self.engine.llm_engine.engine_core.shutdown()
        del self.engine

    def _for_workers(self, named: Iterable[tuple[str, torch.Tensor]]) -> AbstractContextManager[Named]:
        """The tensors as the workers can have them."""
        return nullcontext(named) if self.devices == 1 else given(named)

    def _assert_version(self) -> None:
        held = self.engine.collective_rpc("tell_version")
        if not self.version or held != [self.version] * self.devices:
            raise RuntimeError(f"vLLM holds weights number {held}, not {self.version} that it was given last")

    def _compiled_or_not(self) -> Any:
        """On a processor compiling vLLM's small functions takes longer than running them ever does."""
        return torch.compiler.set_stance("force_eager") if self._eager else nullcontext()


def server_for(model: Any, rank: int = 0, slots: int = 0, devices: int = 1) -> Server:
    """The engine of this process if it fits, else a new one in its place with room for at least as much; the model is
    spread over `devices`."""
    global _running
    rank = next((room for room in RANKS if room >= rank), rank) if rank else 0
    if _running is not None:
        if _running.fits(model, rank, slots, devices):
            return _running
        if _running.likeness == likeness(model):
            rank, slots = max(rank, _running.rank), max(slots, _running.slots)
        _close()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    _running = Server(model, rank, slots, devices)
    return _running


def _close() -> None:
    """At this process's end, before its children are ended: vLLM would report that as a mishap of theirs."""
    global _running
    if _running is not None:
        _running.close()
        _running = None


def likeness(model: Any) -> tuple[str, str, str]:
    """What two models have in common that one engine can serve."""
    return _configuration(model).to_json_string(use_diff=False), str(model.dtype), str(model.device)


def _configuration(model: Any) -> Any:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not base.config.architectures:
        base.config.architectures = [type(base).__name__]
    return base.config


def _start(folder: str, model: Any, rank: int, slots: int, devices: int) -> Any:
    # vLLM has no other way to be told these. In this process: so that weights are given as the tensors they are.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # threads are the run's, not one for every core
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if devices > 1:
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"  # a fork of a process that has used torch may hang
        # Each worker's threads; where it is not set, vLLM sets those of this process too, which trains.
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        Finalize(None, _close, exitpriority=1)
    from vllm import LLM

    on_gpu = model.device.type == "cuda"
    memory = {"gpu_memory_utilization": _GPU_SHARE} if on_gpu else {"kv_cache_memory_bytes": _CACHE_BYTES}
    lora = {"enable_lora": True, "max_lora_rank": rank, "max_loras": slots} if slots else {}
    try:
        return LLM(
            model=folder,
            load_format="dummy",
            skip_tokenizer_init=True,
            generation_config="vllm",
            dtype=str(model.dtype).removeprefix("torch."),
            max_model_len=-1,
            max_num_seqs=_SEQUENCES,
            enable_prefix_caching=False,  # what is kept would be of other weights
            enforce_eager=not on_gpu,
            disable_log_stats=True,
            worker_extension_cls="harness.engines.vllm_worker.WeightsExtension",
            tensor_parallel_size=devices,
            distributed_executor_backend="mp" if devices > 1 else None,
            **memory,
            **lora,
        )
    except (ValueError, NotImplementedError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        reason = said.removeprefix("Value error, ").strip().split("\n")[0].rstrip(".")
        raise UserError(f"vLLM cannot serve this model here: {reason}. Use the engine hf.") from error


def _tensors(adapter: LoraAdapter) -> dict[str, torch.Tensor]:
    """PEFT's names, the scale in B: vLLM knows one alpha an adapter, so patterns and rsLoRA are resolved here."""
    found: dict[str, torch.Tensor] = {}
    for name, update in adapter.modules.items():
        found[f"base_model.model.{name}.lora_A.weight"] = update.down.clone()
        found[f"base_model.model.{name}.lora_B.weight"] = update.up * update.scale
    return found


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """vLLM seeds the process's own generators when it starts; a run's must go on as if nothing had happened."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
