"""Context distillation: its loss, its teacher, its means, and one document learnt by heart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.contracts import Item, Resources, Sampling
from harness.engines.adapted import AdaptedEngine
from harness.errors import UserError
from harness.events import read_events
from harness.generators import build_generator
from harness.micro_batches import split_rows
from harness.models import load_model
from harness.plan import refusal
from harness.policy import digest_of
from harness.registry import find_task, load_method, load_task
from harness.spec import EvaluationProtocol
from harness.worker import DONE, work
from methods.generators.adapter_table import name_of
from methods.objectives.context_distillation import mean_size
from methods.objectives.document_batches import DocumentBatches
from methods.objectives.document_questions import asked_about
from methods.objectives.rows_of_answers import answer_rows
from methods.objectives.top_k import cross_entropy, mean_of_means, top_k
from methods.optimisers.adamw import adamw
from tasks.facts.document import Document
from tests.conftest import make_spec, place, prepare, run_to_end

MakeStage = Callable[..., Any]


def test_all_tokens_stored_is_the_full_kl_and_its_gradient() -> None:
    torch.manual_seed(0)
    teacher, student = torch.randn(5, 40), torch.randn(5, 40, requires_grad=True)
    own = cross_entropy(student, *top_k(teacher, 40)).mean()
    (gradient,) = torch.autograd.grad(own, student)
    p = torch.softmax(teacher, -1)
    kl = (p * (p.log() - torch.log_softmax(student, -1))).sum(-1).mean()
    (wanted,) = torch.autograd.grad(kl, student)
    entropy = -(p * p.log()).sum(-1).mean()
    torch.testing.assert_close(own, kl + entropy)
    torch.testing.assert_close(gradient, wanted)


def test_the_tail_is_left_out_and_nothing_made_to_sum_to_one() -> None:
    torch.manual_seed(0)
    teacher, student = torch.randn(5, 400), torch.randn(5, 400)
    ids, logprobs = top_k(teacher, 16)
    assert ids.shape == (5, 16)
    mass = logprobs.exp().sum(-1)
    assert (mass < 0.9).all()
    torch.testing.assert_close(mass, torch.softmax(teacher, -1).gather(-1, ids).sum(-1))
    full = torch.log_softmax(student, -1)
    torch.testing.assert_close(cross_entropy(student, ids, logprobs), -(logprobs.exp() * full.gather(-1, ids)).sum(-1))


def test_a_document_of_many_questions_and_a_long_answer_weigh_no_more() -> None:
    """Tokens 1, 3 (question 0) and 5 (question 1) of document 0, tokens 7, 7, 7, 11 (question 2) of document 1."""
    losses = torch.tensor([1.0, 3.0, 5.0, 7.0, 7.0, 7.0, 11.0])
    question, document = torch.tensor([0, 0, 1, 2, 2, 2, 2]), torch.tensor([0, 0, 1])
    assert mean_of_means(losses, question, document).item() == pytest.approx(((2 + 5) / 2 + 8) / 2)


def test_padding_of_prompts_and_answers_leaves_logits_equal(make_stage: MakeStage) -> None:
    base = make_stage("d2l").policy.model.base
    prompts, answers = [[5, 6, 7], [8, 9, 10, 11, 12, 13]], [[20, 21, 22, 0], [23, 0]]
    with torch.no_grad():
        together = answer_rows(prompts, answers, base.device).logits(base)
        alone = [answer_rows([p], [a], base.device).logits(base) for p, a in zip(prompts, answers, strict=True)]
        plain = base(torch.tensor([[5, 6, 7, 20, 21, 22]])).logits[0, 2:]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone[0], plain, atol=1e-4, rtol=1e-4)


def test_the_teacher_sees_the_document_and_the_student_does_not(make_stage: MakeStage) -> None:
    stage = make_stage("d2l")
    task = load_task("facts", level="F0")
    documents = task.documents("train", 8)
    asked = asked_about(stage, documents, "teacher", 5)
    tokenizer = stage.policy.tokenizer
    assert [one.text for one in asked] == [document.text for document in documents]
    right = 0
    for document, one in zip(documents, asked, strict=True):
        assert len(one.questions) == len(document.items) == 2
        for item, question in zip(document.items, one.questions, strict=True):
            prompt = tokenizer.decode(question.prompt)
            assert item.data["question"] in prompt and document.text.strip() not in prompt
            assert [len(place) for place in question.ids] == [5] * len(question.answer)
            assert [place[0] for place in question.ids] == question.answer  # greedy: the likeliest is the one taken
            right += task.grade(item, tokenizer.decode(question.answer, skip_special_tokens=True)).correct
    assert right >= 15
    meters = stage.run.meters.read()
    assert meters.generated_tokens > 0 and meters.rollouts == 16


def test_gold_answers_are_one_token_of_probability_one(make_stage: MakeStage) -> None:
    stage = make_stage("d2l")
    asked = asked_about(stage, load_task("facts", level="F0").documents("train", 4), "gold", 16)
    assert all(question.ids == [[one] for one in question.answer] for one in asked for question in one.questions)
    assert all(value == [0.0] for one in asked for question in one.questions for value in question.logprobs)
    assert stage.run.meters.read().flops == 0


def test_a_document_longer_than_the_window_has_no_teacher(make_stage: MakeStage) -> None:
    stage = make_stage("d2l")
    stage.run.task = load_task("facts", level="F6", context="none")
    with pytest.raises(UserError, match="No document fits into the model's window"):
        replace(_objective(stage), documents=3).trainer(stage, adamw(1e-3))


def _objective(stage: Any) -> Any:
    return load_method("d2l", **stage.run.spec.method.parameters).stages[0].objective


def test_first_documents_of_one_chunk_then_all_cut_as_drawn(make_stage: MakeStage) -> None:
    """Every document once a pass; the same update is the same batch."""
    stage = make_stage("d2l", steps=10)
    task = load_task("facts", level="F0", windows=0.1, lengths="up-to")
    asked = asked_about(stage, task.documents("train", 40), "gold", 1)
    batches = DocumentBatches(stage, asked, 4, 1, alone=0.5, most_chunks=8, shortest=8)
    chunks = [chunk for number in range(4) for chunk in batches.batch(number)["chunks"]]
    assert {len(one) for one in chunks} == {1} and max(len(one[0]) for one in chunks) <= 32
    stage.run.meters.count(steps=5)
    later = [batches.batch(number) for number in range(10)]
    assert later == [batches.batch(number) for number in range(10)]
    texts = [stage.policy.tokenizer.decode([*chain(*one)]) for batch in later for one in batch["chunks"]]
    assert sorted(texts) == sorted(one.text for one in asked)
    assert len({len(one) for batch in later for one in batch["chunks"]}) > 3
    assert {len(one) for batch in later for one in batch["questions"]} == {1}


def test_joined_documents_are_read_side_by_side_and_asked_of_all(make_stage: MakeStage) -> None:
    """Nothing is lost or read twice, the first phase joins nothing, and nobody is joined with who contradicts it."""
    stage = make_stage("d2l", steps=10)
    task = load_task("facts", level="F0", facts="1-4", absent=0.5)
    asked = asked_about(stage, task.documents("train", 60), "gold", 1)
    batches = DocumentBatches(stage, asked, 30, 2, alone=0.5, joined=6)
    alone = DocumentBatches(stage, asked, 30, 2, alone=0.5)
    assert batches.batch(0) == alone.batch(0)
    stage.run.meters.count(steps=5)
    sizes = set()
    for number in range(12):
        one, many = alone.batch(number), batches.batch(number)
        assert many == batches.batch(number) and len(many["chunks"]) == len(many["questions"])
        for kind in ("chunks", "questions"):
            assert sorted(map(str, chain(*many[kind]))) == sorted(map(str, chain(*one[kind])))
        of = {str(chunks[0]): questions for chunks, questions in zip(one["chunks"], one["questions"], strict=True)}
        for chunks, questions in zip(many["chunks"], many["questions"], strict=True):
            assert questions == [*chain(*(of[str(chunk)] for chunk in chunks))]
        sizes |= {len(chunks) for chunks in many["chunks"]}
        for questions in many["questions"]:
            told: dict[tuple[int, ...], list[int]] = {}
            for question in questions:
                assert told.setdefault(tuple(question.prompt), question.answer) == question.answer
    assert min(sizes) == 1 and 5 <= max(sizes) <= 7


def test_documents_grow_from_the_shortest_to_the_longest(make_stage: MakeStage) -> None:
    """Never beyond the limit of their time, in the first phase never beyond a chunk; then all once a pass."""
    stage = make_stage("d2l", steps=20)
    task = load_task("facts", level="F0", windows=0.1, lengths="up-to")
    asked = asked_about(stage, task.documents("train", 200), "gold", 1)
    tokenize = stage.policy.tokenizer
    begins = len(tokenize("").input_ids)
    lengths = sorted(len(tokenize(one.text, add_special_tokens=False).input_ids) for one in asked)
    chunk = max(length for length in lengths if length <= 32 - begins)
    batches = DocumentBatches(stage, asked, 4, 1, alone=0.5, growing=0.8, most_chunks=8, shortest=8)
    for spent in range(20):
        read = [sum(len(part) - begins for part in one) for one in batches.batch(spent)["chunks"]]
        assert len(read) == len(set(map(str, batches.batch(spent)["chunks"]))) == 4
        longest = chunk if spent < 10 else lengths[-1]
        if spent < 16:
            assert max(read) <= max(lengths[3], lengths[0] + spent / 16 * (longest - lengths[0]))
        assert batches.batch(spent) == batches.batch(spent)
        stage.run.meters.count(steps=1)
    after = [len(part) - begins for number in range(50) for one in batches.batch(number)["chunks"] for part in one]
    assert sum(after) == sum(lengths)


def test_gold_answers_distil_documents_beyond_the_window(make_stage: MakeStage) -> None:
    stage = make_stage("context-distillation", answers="gold")
    stage.run.task = load_task("facts", level="F6", context="none")
    objective = load_method("context-distillation", **stage.run.spec.method.parameters).stages[0].objective
    objective.trainer(stage, adamw(1e-2))
    held = set(stage.policy.model.hypernetwork.place)
    assert held == {name_of(stage.run.task.text(item)) for item in stage.run.task.items("val", len(held))}


def test_under_the_control_another_document_is_read(make_stage: MakeStage) -> None:
    stage = make_stage("d2l")
    documents = load_task("facts", level="F0").documents("train", 12)
    asked = asked_about(stage, documents, "gold", 1)
    stage.run.spec = stage.run.spec.model_copy(update={"control": "shuffled"})
    batches = DocumentBatches(stage, asked, 12, 2)
    prompts = {str(sorted(one.prompt for one in some.questions)): some.text for some in asked}
    batch = batches.batch(0)
    read = [stage.policy.tokenizer.decode([*chain(*one)]) for one in batch["chunks"]]
    own = [prompts[str(sorted(one.prompt for one in some))] for some in batch["questions"]]
    assert sorted(read) == sorted(own) and not any(a == b for a, b in zip(read, own, strict=True))


def test_the_mean_size_leaves_padding_out(make_stage: MakeStage) -> None:
    model = make_stage("d2l").policy.model
    for tensor in model.hypernetwork.parameters():
        tensor.data += 0.1
    with torch.no_grad():
        long, short = [[5, 6, 7]] * 4, [[5, 6, 7]]
        apart = [model.hypernetwork.write_chunks(model.base, [one]) for one in (long, short)]
        both = model.hypernetwork.write_chunks(model.base, [long, short])
        ranks = [adapters.ranks[0] for adapters in apart]
        wanted = sum(rank * mean_size(adapters) for rank, adapters in zip(ranks, apart, strict=True)) / sum(ranks)
        torch.testing.assert_close(mean_size(both), wanted)


def test_gates_are_taught_to_shut_after_the_first_phase(make_stage: MakeStage) -> None:
    """Until then the loss is the distance; then `gate` times the openings' mean is added, and the gates' gradient is
    that of half a batch and the other half as of the whole."""
    stage = make_stage("d2l", steps=10, gate=0.5, alone=0.5, joined=3, l1=0.0)
    model, objective = stage.policy.model, _objective(stage)
    network = model.hypernetwork.network
    for tensor in network.parameters():
        tensor.data += 0.1 * torch.randn_like(tensor)
    documents = load_task("facts", level="F0").documents("train", 12)
    batches = DocumentBatches(stage, asked_about(stage, documents, "gold", 1), 12, 2, alone=0.5, joined=3)
    loss, values = objective.loss(stage, batches.batch(0))
    assert 0 < values["open"] < 1 and float(loss) == pytest.approx(values["distance"])
    stage.run.meters.count(steps=5)
    batch = batches.batch(5)
    loss, values = objective.loss(stage, batch)
    assert float(loss) == pytest.approx(values["distance"] + 0.5 * values["open"])
    loss.backward()
    whole = network.gate_bias.grad.clone()
    network.zero_grad()
    parts = split_rows(batch, 2)
    assert [len(part["chunks"]) for part, _ in parts] != [len(batch["chunks"])]
    for part, share in parts:
        (share * objective.loss(stage, part)[0]).backward()
    torch.testing.assert_close(network.gate_bias.grad, whole, atol=1e-6, rtol=1e-4)


def test_a_gate_that_is_shut_can_open_again(make_stage: MakeStage) -> None:
    """Where the answer needs the document, the gradient opens a gate that is shut."""
    stage = make_stage("d2l", gate=0.0, alone=0.5, l1=0.0)
    network = stage.policy.model.hypernetwork.network
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.add_(0.1 * torch.randn_like(tensor))
        network.gate_bias.fill_(-4.0)
    documents = load_task("facts", level="F0").documents("train", 4)
    batch = DocumentBatches(stage, asked_about(stage, documents, "gold", 1), 4, 2).batch(0)
    loss, values = _objective(stage).loss(stage, batch)
    loss.backward()
    assert values["open"] == 0.0 and network.gate_bias.grad.abs().item() > 0


def test_gates_are_learnt_by_two_processes_where_one_has_nothing_to_compute(runs: Path) -> None:
    """Documents that are joined to one leave the other process without a micro-batch: neither waits for the other."""
    prepare()
    changed = {"gate": 0.5, "alone": 0.4, "joined": 8, "batch_size": 2, "l1": 0.0}
    alone = run_to_end(make_spec("d2l", steps=5, **changed), runs)
    both = place(make_spec("d2l", steps=5, **changed, seed=0), runs.parent / "both")
    assert work(both.path, Resources(processes=2)) == DONE
    figures = [
        [event["values"] for event in read_events(one.events) if event["kind"] == "metrics"] for one in (alone, both)
    ]
    assert len(figures[0]) == len(figures[1]) == 5
    for one, other in zip(*figures, strict=True):
        assert other["open"] == pytest.approx(one["open"], rel=1e-3)
        assert other["distance"] == pytest.approx(one["distance"], rel=1e-3)


def test_gates_without_a_first_phase_are_refused() -> None:
    task, model = load_task("facts"), load_model("lab-reader").reference()
    assert "alone is 0: give one" in str(refusal(load_method("d2l", gate=0.1, alone=0.0), task, model))
    assert refusal(load_method("d2l", gate=0.0, alone=0.0), task, model) is None


def told(first: str, second: str) -> Document:
    """A document of two facts, with the question about each."""
    text = f" the code of lamp is {first}. leo lives in {second}."
    asked = [("what is the code of lamp?", first), ("where does leo live?", second)]
    data = [{"document_id": text, "document": text, "question": q, "answers": [a], "further": []} for q, a in asked]
    return Document(text, text, tuple(Item(f"{text}{one['question']}", "train", one) for one in data))


def test_two_documents_learnt_by_heart_are_told_apart_and_the_base_is_not_touched(make_stage: MakeStage) -> None:
    """The same questions, other answers: all right under a document's own adapter, none under the other's."""
    stage = make_stage("d2l", rank=4, latent=32, latents=4)
    model, task = stage.policy.model, load_task("facts", level="F0", context="none")
    before = digest_of(model.base.named_parameters())
    documents = [told("109", "oslo"), told("658", "lima")]
    objective = _objective(stage)
    batches = DocumentBatches(stage, asked_about(stage, documents, "teacher", 16), 2, 16)
    optimiser = torch.optim.AdamW(model.hypernetwork.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(150):
        objective.loss(stage, batches.batch(step))[0].backward()
        optimiser.step()
        optimiser.zero_grad()
    engine = AdaptedEngine(model, stage.policy.tokenizer)
    items = [item for document in documents for item in document.items]

    def right(first: str, second: str) -> int:
        prompts = [task.prompt_with(item, "") for item in items]
        answers = engine.generate(prompts, [first] * 2 + [second] * 2, Sampling(12, 0.0, 1.0, "\n"), 0)
        return sum(task.grade(item, answer.text).correct for item, answer in zip(items, answers, strict=True))

    own, other = (document.text for document in documents)
    assert (right(own, other), right(other, own)) == (4, 0)
    assert digest_of(model.base.named_parameters()) == before
    assert all(tensor.grad is None for tensor in model.base.parameters())


def test_each_distilled_document_has_its_own_adapter_and_no_other_is_written_for(make_stage: MakeStage) -> None:
    stage = make_stage("context-distillation")
    model = stage.policy.model
    model.hypernetwork.hold([["one"], ["two", "again"]], 0)
    for tensor in model.hypernetwork.up:
        tensor.data += torch.randn_like(tensor)
    written = model.write(["two", "three", "one"])
    name = "model.layers.0.mlp.down_proj"
    assert torch.equal(written.up[name][0], model.hypernetwork.up[0][1])
    assert torch.equal(written.up[name][2], model.hypernetwork.up[0][0])
    assert not written.up[name][1].any()
    assert torch.equal(model.write(["again"]).down[name], model.write(["two"]).down[name])
    with pytest.raises(UserError, match="'three' is none of the 3 that this run trained adapters for"):
        model.write_to_keep(["three"])
    again = build_generator("adapter-table", model.base, dict(model.hypernetwork.configuration))
    again.load_state_dict(model.hypernetwork.state_dict())
    assert torch.equal(again.write(model.base, None, ["one"]).up[name][0], model.hypernetwork.up[0][0])


@pytest.mark.parametrize("method", ["d2l", "context-distillation"])
def test_documents_of_a_folder_in_squad_s_format(method: str, runs: Path) -> None:
    data = {"data": str(Path(__file__).parents[1] / "tasks/data/squad"), "context": "none"}
    protocol = EvaluationProtocol(split="test", items=6, curve_points=0)
    spec = make_spec(method, steps=2, evaluation=protocol)
    spec = spec.model_copy(update={"task": find_task("facts").resolve(data)})
    result = run_to_end(spec, runs).read_result()
    assert result.meters.steps == 2 and {"exact", "f1", "mismatched"} <= set(result.score.measures)
