"""MoA: a heterogeneous mixture of adapters in every decoder block, weighted token by token.

arXiv 2506.05928, section 3. Experts of a block: a LoRA on each attention layer and on the feed-forward block's last
layer, a parallel adapter beside the feed-forward block, and (Soft only) prompt vectors that every query attends to
apart. One router a block reads the block's input (the residual stream) and gives each expert a gate
g = sigmoid(router(x)), not normalised: y = f(x) + sum g_i E_i(x) at each expert's own site. Sparse keeps an expert only
where g_i reaches Gamma(x) = Gamma_max sigmoid(w x + b) and computes it for those tokens alone. `threshold` says how
Gamma learns: `released` as in the published code (a hard comparison, so never), `subtract` weights by (g - Gamma)+,
`straight-through` compares and lets the gradient of g - Gamma through (of the tokens that are computed). Gates depend
on the input, so nothing can be merged. Order of gates: attention's layers with the prompt before the last, down,
parallel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import PeftType
from torch import nn

from harness.errors import UserError
from methods.tuners.blocks import attention_name, blocks, feed_forward_name
from methods.tuners.experts import LowRankExpert, ParallelAdapter, PromptExpert, Router
from methods.tuners.layers import Unmergeable, WrappingTuner
from methods.tuners.registration import register

THRESHOLDS = ("released", "subtract", "straight-through")


@dataclass
class MoaConfig(PeftConfig):
    """`sparse` takes the threshold and leaves out the prompt expert, `router_width` 0 makes the router linear."""

    r: int = 8
    alpha: float = 8.0
    width: int = 16
    prompt_tokens: int = 10
    router_width: int = 4
    sparse: bool = False
    threshold: str = "released"
    largest_threshold: float = 0.5
    target_modules: Any = None
    exclude_modules: Any = None
    layers_to_transform: Any = None
    layers_pattern: Any = None
    bias: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("MOA")


class Mixture(nn.Module):
    """The experts and the router of one block."""

    def __init__(self, block: nn.Module, config: MoaConfig, model_config: Any) -> None:
        super().__init__()
        attention, inner = (block.get_submodule(find(block)) for find in (attention_name, feed_forward_name))
        self.sparse, self.threshold_kind, self.largest = config.sparse, config.threshold, config.largest_threshold
        hidden = int(model_config.hidden_size)
        prompt = not config.sparse and config.prompt_tokens > 0
        sites = attention_sites(attention, prompt)
        down = down_site(inner, hidden)
        self.order = [*sites[:3], *(["prompt"] if prompt else []), *sites[3:], "down", "parallel"]
        layers = {**{name: attention.get_submodule(name) for name in sites}, "down": inner.get_submodule(down)}
        self.lora = nn.ModuleDict(
            {name: LowRankExpert(layer.in_features, layer.out_features, config.r, config.alpha / config.r)
             for name, layer in layers.items()}
        )  # fmt: skip
        self.parallel = ParallelAdapter(hidden, config.width)
        self.prompt = PromptExpert(hidden, config.prompt_tokens, attention, model_config) if prompt else None
        self.router = Router(hidden, len(self.order), config.router_width)
        self.threshold = nn.Linear(hidden, 1) if config.sparse else None
        self.down_name = down

    def gates(self, x: torch.Tensor) -> torch.Tensor:
        """The weight of every expert for every token, [..., experts]; exactly zero where Sparse leaves one out."""
        g = torch.sigmoid(self.router(x.to(self.router.dtype)))
        if self.threshold is None:
            return g
        gamma = self.largest * torch.sigmoid(self.threshold(x.to(self.threshold.weight.dtype)))
        if self.threshold_kind == "subtract":
            return torch.relu(g - gamma)
        keep = (g >= gamma).to(g.dtype)
        if self.threshold_kind == "straight-through":
            distance = g - gamma
            keep = keep + distance - distance.detach()
        return g * keep

    def added_to(self, output: torch.Tensor, name: str, gates: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """output + g_i E_i(x); in Sparse, E_i is computed for the tokens whose gate is not zero, and for no others."""
        expert: Any = self.parallel if name == "parallel" else self.lora[name]
        gate = gates[..., self.order.index(name), None]
        inputs = inputs.to(expert.dtype)
        if not self.sparse or gate.is_meta:  # without values no gate is known to be zero
            return output + expert.weighted(inputs, gate).to(output.dtype)
        weight = gate.reshape(-1, 1)
        chosen = weight[:, 0].nonzero()[:, 0]
        if not len(chosen):
            return output
        if len(chosen) == len(weight):
            return output + expert.weighted(inputs, gate).to(output.dtype)
        added = expert.weighted(inputs.reshape(-1, inputs.shape[-1])[chosen], weight[chosen])
        flat = output.reshape(-1, output.shape[-1])
        return flat.index_add(0, chosen, added.to(output.dtype)).view_as(output)


class MoaLayer(Unmergeable, nn.Module, BaseTunerLayer):
    """A decoder block with mixtures: its own forward pass, with experts added at their sites by hooks."""

    why_unmergeable = "its gates depend on the input, so no weight can hold them"
    adapter_layer_names = ("moa_mixture",)
    other_param_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: MoaConfig, key: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.moa_mixture = nn.ModuleDict()
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self._gates: dict[str, torch.Tensor] = {}
        self._seen: dict[str, Any] = {}
        self._hooked = False
        self.update_layer(adapter_name, config, key)

    def update_layer(self, adapter_name: str, config: MoaConfig, key: str) -> None:
        mixture = Mixture(self.base_layer, config, config_of(config))
        device = next(self.base_layer.parameters()).device
        self.moa_mixture[adapter_name] = mixture.to(device)
        if not self._hooked:
            self._hook(mixture)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.disable_adapters:
            return self.base_layer(hidden, *args, **kwargs)
        self._gates = {
            name: self.moa_mixture[name].gates(hidden) for name in self.active_adapters if name in self.moa_mixture
        }
        try:
            return self.base_layer(hidden, *args, **kwargs)
        finally:
            self._gates, self._seen = {}, {}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)

    def _hook(self, mixture: Mixture) -> None:
        """Let the block's inner layers ask for what is to be added; bound methods, so that a deep copy has its own."""
        self._hooked = True
        block = self.base_layer
        attention, inner = (block.get_submodule(find(block)) for find in (attention_name, feed_forward_name))

        for name in mixture.lora:
            layer = inner.get_submodule(mixture.down_name) if name == "down" else attention.get_submodule(name)
            layer.register_forward_hook(partial(self._added, name))
        inner.register_forward_hook(partial(self._added, "parallel"))
        if mixture.prompt is not None:
            attention.register_forward_pre_hook(self._attention_begins, with_kwargs=True)
            attention.get_submodule("q_proj").register_forward_hook(self._query_seen)
            attention.get_submodule("o_proj").register_forward_pre_hook(self._prompt_added)

    def _added(self, name: str, module: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        for adapter, gates in self._gates.items():
            output = self.moa_mixture[adapter].added_to(output, name, gates, inputs[0])
        return output if self._gates else None

    def _attention_begins(self, module: Any, inputs: Any, keywords: dict[str, Any]) -> None:
        if self._gates:
            self._seen = {"position": keywords.get("position_embeddings")}

    def _query_seen(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        if self._gates:
            self._seen["query"] = output

    def _prompt_added(self, module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if not self._gates:
            return None
        block = self.base_layer
        attention = block.get_submodule(attention_name(block))
        result = inputs[0]
        for adapter, gates in self._gates.items():
            mixture = self.moa_mixture[adapter]
            gate = gates[..., mixture.order.index("prompt"), None]
            saved, self._gates = self._gates, {}  # keys and values of the prompt are the frozen layers' alone
            try:
                added = mixture.prompt(attention, self._seen["query"], self._seen["position"])
            finally:
                self._gates = saved
            result = result + (gate * added).to(result.dtype)
        return (result, *inputs[1:])


def attention_sites(attention: nn.Module, prompt: bool) -> list[str]:
    """Names of the attention's linear layers; UserError if the prompt expert cannot be put into them."""
    sites = [name for name, module in attention.named_modules() if isinstance(module, nn.Linear)]
    if prompt and not {"q_proj", "k_proj", "v_proj", "o_proj"} <= set(sites):
        raise UserError("moa's prompt expert needs q_proj, k_proj, v_proj and o_proj: use prompt_tokens=0.")
    return sites


def down_site(inner: nn.Module, hidden: int) -> str:
    """Name of the feed-forward layer that leads back to the hidden size."""
    found = [n for n, m in inner.named_modules() if isinstance(m, nn.Linear) and m.out_features == hidden]
    if not found:
        raise UserError("moa finds no linear layer that leads out of the feed-forward block of this model.")
    return found[-1]


def config_of(config: MoaConfig) -> Any:
    return config._model_config  # type: ignore[attr-defined] -- set by the model below


class MoaModel(WrappingTuner):
    """PEFT's model of the type MOA."""

    prefix = "moa_"
    tuner_layer_cls = MoaLayer

    def _prepare_adapter_config(self, peft_config: MoaConfig, model_config: dict[str, Any]) -> MoaConfig:
        if peft_config.target_modules is None:
            path, layers = blocks(self.model)
            peft_config.target_modules = [f"{path}.{index}" for index in range(len(layers))]
        peft_config._model_config = self.model.config  # type: ignore[attr-defined]
        return peft_config


register("moa", MoaConfig, MoaModel, "moa_")
