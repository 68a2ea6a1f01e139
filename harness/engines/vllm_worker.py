"""What a vLLM worker can do beyond vLLM's own: take weights and adapters as tensors, and say which weights it has.

Named to vLLM as `worker_extension_cls`, so that its methods are reached by `collective_rpc`. Weights come under the
names of a transformers checkpoint and are copied into place, nothing is written to disk; of weights that lack a part of
the model no number is held, so that nothing answers by them. Where a model is spread over several workers, each is
given all of it and takes its part.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from harness.engines.shared_tensors import SharedTensors

Named = Iterable[tuple[str, torch.Tensor]] | SharedTensors


class WeightsExtension:
    """Mixed into vLLM's worker class."""

    model_runner: Any
    vllm_config: Any
    held_version: int = 0
    """The number of the weights that are in place; 0 before any came."""

    @torch.no_grad()
    def take_weights(self, named: Named, version: int) -> list[str]:
        """Copy every weight into place. Returns what the model has and was not among them: then they do not count."""
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

        self.held_version = 0
        model = self.model_runner.get_model()
        wanted = {name.replace(".base_layer.", ".") for name, _ in model.named_parameters()}
        with set_current_vllm_config(self.vllm_config):
            initialize_layerwise_reload(model)
            loaded = model.load_weights(_there(named))
            finalize_layerwise_reload(model, self.model_runner.model_config)
            for module in model.modules():
                if isinstance(module, ParallelLMHead):
                    # A head that is tied to the embedding has a packed copy of its own on a processor, which no
                    # reload renews.
                    module.quant_method.process_weights_after_loading(module)
        self.model_runner.reset_lora_state()
        if not wanted - loaded:
            self.held_version = version
        return sorted(wanted - loaded)

    @torch.no_grad()
    def take_adapters(self, adapters: Mapping[int, Named], rank: int) -> list[str]:
        """Hold these adapters and no other, by number; their scale lies in B. Returns modules that it cannot serve."""
        from vllm.lora.lora_model import LoRAModel
        from vllm.lora.peft_helper import PEFTHelper

        manager = self.model_runner.lora_manager
        manager.remove_all_adapters()
        held = manager._adapter_manager
        mapper = getattr(held.model, "hf_to_vllm_mapper", None)
        unknown: set[str] = set()
        for number, tensors in adapters.items():
            adapter = LoRAModel.from_lora_tensors(
                number,
                dict(_there(tensors)),
                PEFTHelper(r=rank, lora_alpha=rank, target_modules=[]),
                device="cpu",
                dtype=manager.lora_config.lora_dtype,
                model_vocab_size=manager.vocab_size,
                weights_mapper=mapper.get_rename_mapper() if mapper is not None else None,
            )
            held.add_adapter(adapter)
            unknown |= set(adapter.loras) - set(held.modules)
        if unknown:
            manager.remove_all_adapters()
        return sorted(unknown)

    def tell_version(self) -> int:
        """The number of the weights in place."""
        return self.held_version

    def settle(self) -> None:
        """On a processor, when all worker processes have started: compile nothing (see `Server`), and take its name
        from the memory over which they reduce, which vLLM would leave behind."""
        torch.compiler.set_stance("force_eager")
        for name in Path("/dev/shm").glob(f"{os.environ['VLLM_DIST_IDENT']}-*"):
            name.unlink(missing_ok=True)  # another worker may have been first


def _there(named: Named) -> Iterable[tuple[str, torch.Tensor]]:
    return named.read() if isinstance(named, SharedTensors) else named
