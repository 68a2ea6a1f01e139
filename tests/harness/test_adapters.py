"""Adapters as files and as models: opened, merged, evaluated, exported, and refused where they do not belong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.adapters import merged, open_adapter
from harness.errors import UserError
from harness.export import export
from harness.lora_files import LoraAdapter, LowRank
from harness.models import load_model
from harness.parts import load_parameterisation
from harness.policy import Policy
from harness.registry import find_method
from tests.conftest import make_spec, run_to_end

IDS = torch.arange(3, 19)[None]


def saved(folder: Path, name: str, **settings: object) -> torch.nn.Module:
    """An adapter of the lab model with tensors that do something, saved."""
    handle = load_model("lab")
    policy = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    policy = load_parameterisation(name, **settings).attach(policy, 0)
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in policy.tensors().values():
            tensor.add_(torch.randn_like(tensor) * 0.05)
    policy.save(folder)
    return policy.model.eval()


@pytest.mark.parametrize(
    ("name", "mergeable"), [("lora", True), ("kron-lora", True), ("prompt", False), ("moa", False)]
)
def test_an_adapter_directory_is_a_model(name: str, mergeable: bool, tmp_path: Path) -> None:
    settings = {"rank": 2} if name != "prompt" else {"tokens": 4}
    expected = saved(tmp_path / "adapter", name, **settings)(IDS).logits
    handle = load_model(str(tmp_path / "adapter"))
    model = handle.model().eval()
    assert hasattr(model, "peft_config") != mergeable
    assert (model(IDS).logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert handle.revision != load_model("lab").revision and handle.linear_layers() == load_model("lab").linear_layers()
    result = run_to_end(make_spec("base", model=str(tmp_path / "adapter")), tmp_path / "runs").read_result()
    assert result.score.items == 6


def test_nothing_is_trained_on_what_cannot_be_merged(tmp_path: Path) -> None:
    saved(tmp_path, "prompt", tokens=2)
    handle = load_model(str(tmp_path))
    policy = Policy(handle.model(), handle.tokenizer(), handle.path)
    for name in ("full", "lora"):
        with pytest.raises(UserError, match="cannot be merged"):
            load_parameterisation(name).attach(policy, 0)


def test_merged_weights_are_the_base_plus_the_update(tmp_path: Path) -> None:
    saved(tmp_path, "lora", rank=2)
    adapter = LoraAdapter.read(tmp_path)
    base = dict(load_model("lab").model().named_modules())
    for name, module in merged(open_adapter(load_model("lab").model(), tmp_path)).named_modules():
        if name in adapter.modules:
            expected = base[name].weight.double() + adapter.modules[name].dense()
            torch.testing.assert_close(module.weight.double(), expected, rtol=1e-6, atol=1e-6)


def test_an_adapter_for_another_base_names_the_layer(tmp_path: Path) -> None:
    module = LowRank(torch.zeros(64, 2), torch.zeros(2, 64), 1.0)
    LoraAdapter({"model.layers.0.self_attn.q_proj": module}).write(tmp_path)
    with pytest.raises(UserError, match=r"does not fit this model.*q_proj"):
        open_adapter(load_model("lab").model(), tmp_path)
    with pytest.raises(UserError, match="does not say which base"):
        load_model(str(tmp_path))
    with pytest.raises(UserError, match="no PEFT adapter"):
        open_adapter(load_model("lab").model(), tmp_path / "nothing")


def test_kron_lora_is_exported_as_a_lora_that_peft_alone_can_open(tmp_path: Path) -> None:
    from peft import PeftModel

    directory = run_to_end(make_spec("kron-lora+sft"), tmp_path / "runs")
    folder = export(directory.path, "lora", tmp_path / "lora")
    plain = PeftModel.from_pretrained(load_model("lab").model(), str(folder)).eval()
    own = open_adapter(load_model("lab").model(), directory.model).eval()
    expected = own(IDS).logits
    assert (plain(IDS).logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert plain.peft_config["default"].r == 8


def test_an_adapter_of_a_4_bit_base_is_not_merged_into_another(tmp_path: Path) -> None:
    """Its record is that of a run which needs a GPU; its files are a LoRA's."""
    directory = run_to_end(make_spec("lora+sft"), tmp_path / "runs")
    spec = directory.read_spec()
    quantised = spec.model_copy(update={"method": find_method("qlora+sft").resolve({})})
    directory.spec.write_text(quantised.model_dump_json())
    with pytest.raises(UserError, match="'qlora' cannot be merged into whole weights that answer as this run was"):
        export(directory.path, "hf", tmp_path / "whole")
    assert not (tmp_path / "whole").exists()
    assert (export(directory.path, "peft", tmp_path / "adapter") / "adapter_config.json").exists()
    directory.spec.write_text(spec.model_dump_json())
    assert (export(directory.path, "hf", tmp_path / "whole") / "config.json").exists()


def test_what_is_no_lora_has_no_form_as_one(tmp_path: Path) -> None:
    model = saved(tmp_path, "ia3")
    with pytest.raises(UserError, match="IA3 adapter is no sum of low-rank updates"):
        LoraAdapter.of(model)


@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_virtual_tokens_decode_with_a_cache_as_without(name: str, tmp_path: Path) -> None:
    """Left padding, a given cache and positions give the logits of one pass over the text alone."""
    from transformers import DynamicCache

    model = saved(tmp_path, name, tokens=3)
    whole = model(IDS).logits
    assert whole.shape[1] == IDS.shape[1]
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), IDS[:, :9]], 1)
    mask = torch.cat([torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 9, dtype=torch.long)], 1)
    cache = DynamicCache(config=model.config)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    first = model(
        padded, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    torch.testing.assert_close(first.logits[:, -1], whole[:, 8], rtol=1e-4, atol=1e-4)
    longer = torch.cat([mask, torch.ones(1, 1, dtype=torch.long)], 1)
    step = model(
        IDS[:, 9:10], attention_mask=longer, position_ids=torch.tensor([[9]]), past_key_values=cache, use_cache=True
    )
    torch.testing.assert_close(step.logits[:, 0], whole[:, 9], rtol=1e-4, atol=1e-4)
    labelled = model(input_ids=IDS, labels=IDS)
    expected = torch.nn.functional.cross_entropy(whole[0, :-1], IDS[0, 1:])
    torch.testing.assert_close(labelled.loss, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("peft:vera", {"rr": 4}, "Did you mean 'r'"),
        ("peft:verra", {}, "Did you mean 'vera'"),
        ("peft:lokr", {"r": "many"}, "r='many'"),
        ("peft:poly", {}, "needs a task's number"),
        ("peft:kron_lora", {}, "No type of PEFT"),
    ],
)
def test_pefts_types_are_checked_by_their_own_fields(name: str, settings: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as error:
        load_parameterisation(name, **settings)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["prompt", "prefix", "moa", "moa-sparse", "kron-lora", "ia3", "steering"])
def test_both_engines_answer_as_a_loop_without_a_cache(name: str, tmp_path: Path) -> None:
    """Greedy: two members of a population, and the engine of evaluation, against a whole pass for every token."""
    from harness.contracts import Sampling
    from harness.engines.hf import HFEngine, encode
    from harness.engines.population import PopulationEngine

    quick = {"prompt": {"tokens": 3}, "prefix": {"tokens": 3}, "ia3": {}, "steering": {}}.get(name, {"rank": 2})
    model = saved(tmp_path, name, **quick)
    tokenizer = load_model("lab").tokenizer()
    prompts = ["3 5 8 3", "1 2", "9 8 7 6 5 4 3"]
    sampling = Sampling(max_new_tokens=6, temperature=0.0)
    tensors = {one: t for one, t in model.named_parameters() if t.requires_grad}
    other = {one: t.detach() + 0.3 * torch.randn_like(t) for one, t in tensors.items()}
    own = {one: t.detach().clone() for one, t in tensors.items()}
    engine = PopulationEngine(model, tokenizer)
    members = {one: torch.stack([own[one], other[one]]) for one in own}
    if engine.group_size(1, members, len(prompts)) >= 2:
        answers = engine.generate(members, 2, prompts, sampling, 0)
    else:
        answers = [
            engine.generate({k: v[None] for k, v in m.items()}, 1, prompts, sampling, 0)[0] for m in (own, other)
        ]
    evaluated = HFEngine(model, tokenizer).generate(prompts, sampling, 0)
    assert [one.token_ids for one in evaluated] == [one.token_ids for one in answers[0]]
    for values, answered in zip((own, other), answers, strict=True):
        with torch.no_grad():
            for one, tensor in tensors.items():
                tensor.copy_(values[one])
            for prompt, answer in zip(prompts, answered, strict=True):
                ids = encode(tokenizer, prompt)
                for token in answer.token_ids:
                    logits = model(torch.tensor([ids])).logits[0, -1]
                    assert logits[token] >= logits.max() - 1e-3
                    ids = [*ids, token]
