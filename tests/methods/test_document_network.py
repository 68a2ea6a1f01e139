"""Doc-to-LoRA's network: its size, its start, and what its factors do to a model."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch

from harness.adapters import merged, open_adapter
from harness.errors import UserError
from harness.generated import GeneratedAdapters
from harness.generator_model import GeneratorModel
from harness.models import load_model
from harness.plan import refusal
from harness.registry import load_method, load_task
from methods.generators.document_generator import DocumentGenerator
from methods.generators.document_network import DocumentNetwork, DocumentShape
from methods.generators.reading import read
from methods.generators.targets import Kind

GEMMA = DocumentShape(
    width=2304,
    layers=26,
    kinds=(Kind("down_proj", 2304, 9216, tuple(f"layers.{i}.mlp.down_proj" for i in range(26)), tuple(range(26))),),
    rank=8,
    latent=512,
    latents=8,
    blocks=8,
    heads=4,
)
IDS = torch.arange(3, 27)[None]


SIZES = {"rank": 4, "latent": 32, "latents": 4, "blocks": 2, "heads": 2}
TEXTS = [[5, 6, 7, 8], [9, 10, 11], [12, 13]]


def generator(moved: bool = True, **changes: object) -> GeneratorModel:
    """The lab's reader with a network as it is drawn, or with every tensor moved from where it starts."""
    handle = load_model("lab-reader")
    base = handle.model().eval()
    torch.manual_seed(0)
    options = {"targets": ["down_proj"], "longest": 16, "together": 8, "reader": "per-layer", **SIZES, **changes}
    network = DocumentGenerator(base, **options)
    for tensor in network.parameters() if moved else ():
        tensor.data += 0.05 * torch.randn_like(tensor)
    return GeneratorModel("doc-to-lora", base, network, handle.tokenizer()).eval()


def document(model: GeneratorModel, *documents: list[list[int]]) -> GeneratedAdapters:
    """The adapters of documents, given as their chunks."""
    with torch.no_grad():
        return model.hypernetwork.write_chunks(model.base, documents)


def logits(
    model: GeneratorModel, adapters: GeneratedAdapters, rows: list[int], ids: torch.Tensor = IDS
) -> torch.Tensor:
    with torch.no_grad(), model.applied(adapters) as layout:
        layout.arrange(torch.tensor(rows))
        return model.base(ids.expand(len(rows), -1)).logits


def dense(adapters: GeneratedAdapters, row: int) -> dict[str, torch.Tensor]:
    """Every module's update as a matrix."""
    return {name: module.dense() for name, module in adapters.adapter(row, None).modules.items()}


@pytest.mark.parametrize(("blocks", "millions"), [(8, 309.47), (9, 315.24)])
def test_the_size_is_the_table_s(blocks: int, millions: float) -> None:
    with torch.device("meta"):
        made = DocumentNetwork(replace(GEMMA, blocks=blocks))
    d, latent, layers, both, rank = 2304, 512, 26, 2304 + 9216, 8
    block = 2 * latent * 2048 + 2 * latent * latent + 3 * latent * 2048 + 5 * latent
    wanted = (
        2 * d * 4 * d + 4 * d * latent
        + (blocks + 1) * block + 2 * 8 * latent
        + layers * (2 * latent * 2048 + 2048 + latent) + 4 * latent
        + layers * latent * both
        + layers * rank * both + 2 * layers * rank
    )  # fmt: skip
    count = sum(tensor.numel() for tensor in made.parameters())
    assert count == wanted
    assert round(count / 1e6, 2) == millions


def test_a_chunk_s_adapter_has_the_table_s_size() -> None:
    with torch.device("meta"):
        made = DocumentNetwork(GEMMA)
        factors = made(torch.empty(1, 26, 5, 2304), torch.ones(1, 5, dtype=torch.long))
    assert factors.numel() == made.constant().numel() == 2_396_160
    assert GEMMA.scale == pytest.approx(45.25, abs=0.01)


def test_an_early_exit_reads_one_state_and_writes_every_layer() -> None:
    early = replace(GEMMA, reader="early-exit")
    assert list(early.states_read()) == [6]
    with torch.device("meta"):
        made = DocumentNetwork(early)
        factors = made(torch.empty(2, 1, 5, 2304), torch.ones(2, 5, dtype=torch.long))
    assert made.perceiver.latents.shape[0] == made.perceiver.queries.shape[0] == 208
    assert factors.down["down_proj"].shape == (2, 26, 8, 9216)


@pytest.mark.parametrize("kind", ["per-layer", "early-exit"])
def test_activations_are_the_blocks_inputs(kind: str) -> None:
    model = generator(reader=kind)
    shape = model.hypernetwork.network.shape
    found, mask = read(model.base, shape.kinds, [[5, 6, 7, 8], [9, 10]], shape.states_read())
    with torch.no_grad():
        every = model.base(torch.tensor([[5, 6, 7, 8]]), output_hidden_states=True).hidden_states
        alone = model.base(torch.tensor([[9, 10]]), output_hidden_states=True).hidden_states
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    for place, state in enumerate(shape.states_read()):
        torch.testing.assert_close(found[0, place], every[state][0])
        torch.testing.assert_close(found[1, place, :2], alone[state][0])


def test_the_start_is_the_base_model_and_no_dead_saddle() -> None:
    model = generator(moved=False)
    network = model.hypernetwork.network
    adapters = model.hypernetwork.write_chunks(model.base, [TEXTS])
    assert torch.equal(logits(model, adapters, [0]), model.base(IDS).logits)
    with model.applied(adapters):
        torch.log_softmax(model.base(IDS).logits, -1)[..., 7].sum().backward()
    for up in (*network.scale_up, *network.constant_up):
        assert up.grad.abs().max() > 0
    assert all(tensor.grad is None for tensor in model.base.parameters())


def test_both_factors_zero_is_a_dead_saddle() -> None:
    """Why A is not zero at the start: where A and B both are, no gradient reaches either."""
    model = generator(moved=False)
    network = model.hypernetwork.network
    with torch.no_grad():
        for tensor in (*network.scale_down, *network.constant_down):
            tensor.zero_()
    with model.applied(model.hypernetwork.write_chunks(model.base, [TEXTS])):
        torch.log_softmax(model.base(IDS).logits, -1)[..., 7].sum().backward()
    assert all(tensor.grad is None or not tensor.grad.any() for tensor in network.parameters())


def test_a_gate_decides_how_far_a_chunk_is_written() -> None:
    """Open it writes what there would be without a gate, shut nothing; the constant adapter stays."""
    plain, gated = generator(), generator(gated=True)
    network = gated.hypernetwork.network
    with torch.no_grad():
        for name, tensor in plain.hypernetwork.network.state_dict().items():
            network.state_dict()[name].copy_(tensor)
        network.gate.zero_()
        network.gate_bias.fill_(40.0)
        wide_open = document(gated, TEXTS)
        network.gate_bias.fill_(-40.0)
        shut, constant = document(gated, TEXTS, TEXTS[:1]), network.constant()
    written = document(plain, TEXTS)
    assert wide_open.ranks == written.ranks == (16,) and shut.ranks == (4, 4)
    assert wide_open.opened.tolist() == pytest.approx([1.0]) and shut.opened.tolist() == [0.0, 0.0]
    for layer, (name, update) in enumerate(dense(written, 0).items()):
        torch.testing.assert_close(dense(wide_open, 0)[name], update)
        down, up = constant.down["model.layers.*.mlp.down_proj"], constant.up["model.layers.*.mlp.down_proj"]
        alone = network.shape.scale * up[0, layer].T.double() @ down[0, layer].double()
        torch.testing.assert_close(dense(shut, 0)[name].double(), alone, atol=1e-6, rtol=1e-5)
        assert (update - dense(shut, 0)[name]).abs().max() > 1e-3


def test_a_shut_chunk_leaves_no_ranks_and_changes_no_other_s() -> None:
    """What is left out adds nothing: the logits are those of the same factors with the shut chunks in their places."""
    model = generator(gated=True)
    network, kinds = model.hypernetwork.network, model.hypernetwork.network.shape.kinds
    with torch.no_grad():
        opened = network(*read(model.base, kinds, TEXTS, network.shape.states_read())).opened
        least, middle = torch.logit((opened + 0.1) / 1.1).sort().values[:2]
        network.gate_bias -= (least + middle) / 2 - math.log(0.1)  # the least open is shut now, the others are not
    stay = [text for place, text in enumerate(TEXTS) if place != int(opened.argmin())]
    whole = document(model, TEXTS)
    assert whole.ranks == (12,)
    torch.testing.assert_close(logits(model, whole, [0]), logits(model, document(model, stay), [0]), atol=1e-4, rtol=0)
    several = document(model, TEXTS, stay[:1])
    assert several.ranks == (12, 8)
    torch.testing.assert_close(logits(model, several, [0]), logits(model, whole, [0]), atol=1e-4, rtol=0)


def test_a_gate_is_learnt_from_the_chunk() -> None:
    model = generator(gated=True)
    network = model.hypernetwork.network
    with torch.no_grad():
        opened = network._opened(torch.randn(2, network.shape.layers, 1, 4, 32))
    assert opened.shape == (2,) and 0 < opened.min() < opened.max() < 1
    with model.applied(model.hypernetwork.write_chunks(model.base, [TEXTS])):
        torch.log_softmax(model.base(IDS).logits, -1)[..., 7].sum().backward()
    assert network.gate.grad.abs().max() > 0 and network.gate_bias.grad.abs().max() > 0


def test_chunks_side_by_side_are_the_sum_of_their_updates_and_the_constant_once() -> None:
    model = generator()
    network, kinds = model.hypernetwork.network, model.hypernetwork.network.shape.kinds
    whole = dense(document(model, TEXTS), 0)
    with torch.no_grad():
        chunks = network(*read(model.base, kinds, TEXTS, network.shape.states_read()))
        constant = network.constant()
    for kind in kinds:
        for layer, module in enumerate(kind.modules):
            wanted = torch.zeros(kind.outputs, kind.inputs, dtype=torch.float64)
            for factors, row in [(chunks, 0), (chunks, 1), (chunks, 2), (constant, 0)]:
                down, up = factors.down[kind.name][row, layer], factors.up[kind.name][row, layer]
                wanted += network.shape.scale * up.T.double() @ down.double()
            torch.testing.assert_close(whole[module], wanted, atol=1e-8, rtol=1e-6)
            assert wanted.abs().max() > 1e-3


def test_the_order_of_chunks_and_ranks_of_zeros_do_not_matter() -> None:
    model = generator()
    alone = logits(model, document(model, TEXTS), [0])
    assert (alone - model.base(IDS).logits).abs().max() > 0.1
    torch.testing.assert_close(logits(model, document(model, TEXTS[::-1]), [0]), alone, atol=1e-4, rtol=1e-4)
    padded = document(model, TEXTS, [[7]] * 5)
    assert padded.ranks == (16, 24) and padded.adapter(0, None).modules.popitem()[1].rank == 16
    torch.testing.assert_close(logits(model, padded, [0]), alone, atol=1e-4, rtol=1e-4)


def test_padding_does_not_reach_the_network_and_rows_do_not_see_each_other() -> None:
    model = generator()
    texts = [[[5, 6, 7]], [[8, 9, 10, 11, 12, 13, 14]]]
    together = document(model, *texts)
    for row, text in enumerate(texts):
        for name, module in dense(document(model, text), 0).items():
            torch.testing.assert_close(dense(together, row)[name], module, atol=1e-6, rtol=1e-4)
    both = logits(model, together, [0, 0, 1])
    for place, row in enumerate([0, 0, 1]):
        torch.testing.assert_close(
            both[place], logits(model, document(model, texts[row]), [0])[0], atol=1e-4, rtol=1e-4
        )


def test_chunks_read_one_by_one_give_what_chunks_read_together_give() -> None:
    batched, one_by_one = generator(together=8), generator(together=1)
    documents = [TEXTS, [[20, 21, 22]]]
    first, second = document(batched, *documents), document(one_by_one, *documents)
    assert first.ranks == second.ranks
    for name, part in first.up.items():
        torch.testing.assert_close(second.up[name], part, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(second.down[name], first.down[name], atol=1e-5, rtol=1e-4)


def test_one_chunk_is_the_document_and_a_longer_one_than_the_window_is_cut() -> None:
    model = generator()
    text = " the code of lamp is 109. rosa lives in oslo."
    ids = model.tokenizer(text).input_ids
    assert model.hypernetwork.chunks(model.tokenizer, text) == [ids]
    whole = model.write([text])
    assert torch.equal(logits(model, whole, [0]), logits(model, document(model, [ids]), [0]))
    assert torch.equal(logits(model, model.write([text]), [0]), logits(model, whole, [0]))
    long = text * 120
    assert len(model.tokenizer(long).input_ids) > model.base.config.max_position_embeddings
    chunks = model.hypernetwork.chunks(model.tokenizer, long)
    assert max(map(len, chunks)) <= 16 and [*chain(*chunks)] == model.tokenizer(long).input_ids
    fresh, warned = load_model("lab-reader").tokenizer(), []
    handler = logging.Handler()
    handler.emit = lambda record: warned.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(handler)
    try:
        assert model.hypernetwork.chunks(fresh, long) == chunks and not warned
        fresh(long)
        assert len(warned) == 1 and "longer than the specified maximum" in warned[0]
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    with torch.no_grad():
        assert model.write([long]).ranks == (4 * (len(chunks) + 1),)
    with pytest.raises(UserError, match="empty"):
        model.write([""])


def test_afterwards_it_is_the_base_bit_for_bit_and_applied_twice_it_is_not_doubled() -> None:
    model = generator()
    before, adapters = model.base(IDS).logits, document(model, TEXTS)
    once = logits(model, adapters, [0])
    with model.applied(adapters):
        assert torch.equal(logits(model, adapters, [0]), once)
    assert torch.equal(model.base(IDS).logits, before)


def test_functional_equals_the_peft_directory_equals_merged(tmp_path: Path) -> None:
    model = generator()
    adapters, rank = document(model, [[5, 6, 7, 8], [9, 10]], [[3]]), 3 * 4
    functional = logits(model, adapters, [0])
    adapters.adapter(0, "lab-reader").write(tmp_path)
    opened = open_adapter(load_model("lab-reader").model().eval(), tmp_path).eval()
    layer = opened.base_model.model.model.layers[0].mlp.down_proj
    assert layer.lora_A["default"].weight.shape == (rank, layer.in_features)
    assert layer.lora_B["default"].weight.shape == (layer.out_features, rank)
    assert layer.scaling["default"] == pytest.approx(2 * 4**1.5)
    assert opened.active_peft_config.lora_alpha == pytest.approx(2 * 4**1.5 * rank)
    with torch.no_grad():
        torch.testing.assert_close(opened(IDS).logits, functional, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(merged(opened)(IDS).logits, functional, atol=1e-4, rtol=1e-4)


def test_any_linear_layers_by_name() -> None:
    model = generator(targets=["q_proj", "down_proj"])
    assert [kind.name for kind in model.hypernetwork.network.shape.kinds] == [
        "model.layers.*.self_attn.q_proj",
        "model.layers.*.mlp.down_proj",
    ]
    assert (logits(model, document(model, TEXTS), [0]) - model.base(IDS).logits).abs().max() > 0.1
    with pytest.raises(UserError, match=r"is called 'dwn_proj'\. Did you mean 'down_proj'"):
        generator(targets=["dwn_proj"])


def test_sizes_that_cannot_be_are_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="longer than the model's window of 1024"):
        generator(longest=1025)
    with pytest.raises(UserError, match="latent 32 does not divide into 3 heads"):
        generator(heads=3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"targets": "down_proj,dwn"}, "lab-reader has no layer called 'dwn'; there are down_proj, gate_proj"),
        ({"longest": 2000}, "chunks of 2000 tokens are longer than the window of lab-reader, 1024"),
        ({"latent": 30}, "latent 30 does not divide into 4 heads"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_planned(given: dict[str, object], said: str) -> None:
    task, model = load_task("facts"), load_model("lab-reader").reference()
    assert refusal(load_method("d2l"), task, model) is None
    assert said in str(refusal(load_method("d2l", **given), task, model))


def test_a_task_without_documents_is_refused() -> None:
    said = str(refusal(load_method("d2l"), load_task("countdown"), load_model("lab").reference()))
    assert "'context-distillation' needs documents" in said
