"""Self-Instruct: the form found, every filter on its own, what is learnt, and a model that cannot write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.context import StageContext
from harness.contracts import Completion
from harness.errors import UserError
from harness.events import read_events
from harness.models import load_model
from harness.policy import Policy
from harness.registry import load_method, load_task
from methods.objectives.instruction_form import form_of
from methods.objectives.self_instruct import SelfInstruct, rouge_l
from tests.conftest import writer

Stages = Callable[..., StageContext]
SEEDS = [("2,3=5", "2+3"), ("4,6=24", "4*6")]


def objective(novelty: float = 0.7) -> SelfInstruct:
    return SelfInstruct(
        batch_size=4, seeds=64, examples=8, shots=1, novelty=novelty, temperature=1.0, sampling_share=0.5
    )


def completion(text: str, truncated: bool = False) -> Completion:
    return Completion(text, [1], [0.0], truncated)


def test_the_form_is_what_all_questions_share() -> None:
    form = form_of(["Solve 12+1 now.\nAnswer:", "Solve 19-2 now.\nAnswer:", "Solve 1*4 now.\nAnswer:"])
    assert (form.opening, form.closing) == ("Solve", " now.\nAnswer:")
    assert form.body("Solve 12+1 now.\nAnswer:") == " 12+1" and form.prompt(" 7") == "Solve 7 now.\nAnswer:"
    assert form.show([(" 1", " one")], "<end>") == "Solve 1 now.\nAnswer: one<end>Solve"
    assert form.read(" 3+4 now.\nAnswer: 7") == (" 3+4", " 7")
    for bad in (" 3+4 now.", " now.\nAnswer: 7", " 3+4 now.\nAnswer: ", " 3 now.\nAnswer: 3 now.\nAnswer: 3"):
        assert form.read(bad) is None


@pytest.mark.parametrize("chat", [False, True])
def test_questions_without_a_common_end_are_marked_by_words(chat: bool) -> None:
    said = ["who wrote it?", "name a river", "why"]
    prompts: list[Any] = [[{"role": "user", "content": text}] for text in said] if chat else said
    form = form_of(prompts)
    assert form.marked and form.prompt("so") == ([{"role": "user", "content": "so"}] if chat else "so")
    shown = form.show([("name a river", "Elbe")], "<end>")
    text = shown if isinstance(shown, str) else shown[-1]["content"]
    assert "Question: name a river\nAnswer: Elbe" in text and "<end>" not in text
    begun = "Question: " if chat else " "
    assert form.read(f"{begun}name a lake\nAnswer: Garda\n") == ("name a lake", "Garda")
    assert form.read(f"{begun}name a lake") is None
    assert form.read(f"{begun}a\nAnswer: b\n\nQuestion: c\nAnswer: d") is None


def test_every_filter_has_its_say() -> None:
    form = form_of(["2,3=5>", "4,6=24>"])
    judged = objective().judged
    assert judged(form, completion("7,8=15>7+8"), SEEDS, []) == (("7,8=15", "7+8"), "accepted")
    assert judged(form, completion("7,8=15>7+8", truncated=True), SEEDS, [])[1] == "cut off"
    assert judged(form, completion("7,8=15"), SEEDS, [])[1] == "without the form"
    assert judged(form, completion("7>7+8"), SEEDS, [])[1] == "too short or long"
    assert judged(form, completion("7,8=15>7+8" + 9 * "+0"), SEEDS, [])[1] == "too short or long"
    assert judged(form, completion("2,3=6>2*3"), SEEDS, [])[1] == "accepted"  # two of three words: 0.67
    assert objective(0.6).judged(form, completion("2,3=6>2*3"), SEEDS, [])[1] == "not new"
    assert judged(form, completion("2,3=5>5-0"), SEEDS, [])[1] == "not new"
    assert judged(form, completion("7,8=15>7+8"), SEEDS, [("7,8=15", "8+7")])[1] == "not new"


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence() -> None:
    """Lin 2004: of 'police kill the gunman' and 'police killed the gunman', three of four words are in common order."""
    assert rouge_l("Police killed the gunman", "police kill the gunman") == pytest.approx(0.75)
    assert rouge_l("a b c d", "d c b a") == pytest.approx(0.25)
    assert rouge_l("a b c", "a x b y c z") == pytest.approx(2 * 3 / 9)
    assert rouge_l("+ -", "+ *") == pytest.approx(0.5) and rouge_l("", "a") == 0.0


def test_what_was_written_is_learnt_beside_the_seeds(make_stage: Stages) -> None:
    stage = make_stage("self-instruct")
    handle = load_model(writer())
    stage.policy = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    written = load_method("self-instruct", **stage.run.spec.method.parameters).stages[0].objective  # type: ignore[union-attr]
    form, pool = written.grown(stage)  # type: ignore[attr-defined]
    task = stage.task
    items = task.items("train", 64)
    seeds = [(form.body(task.prompt(item)), task.demonstration(item)) for item in items]
    assert pool[: len(items)] == seeds and len(pool) == len(items) + 8
    for place, (body, _) in enumerate(pool[len(items) :], start=len(items)):
        assert max(rouge_l(body, other) for other, _ in pool[:place]) < 0.7
    before = stage.run.meters.read()
    assert before.generated_tokens > 0
    assert written.grown(stage)[1] == pool  # type: ignore[attr-defined]
    again = stage.run.meters.read()
    assert again.generated_tokens == 2 * before.generated_tokens  # kept, and charged like the first time
    noted = [event for event in read_events(stage.run.directory.events) if event["kind"] == "written"]
    assert len(noted) == 1 and noted[0]["kept"] == 8 == noted[0]["verdicts"]["accepted"]


def test_a_model_that_cannot_write_says_so_in_one_sentence(make_stage: Stages) -> None:
    """The lab model was never trained on questions, only on answers to them."""
    stage = make_stage("self-instruct")
    stage.run.task = load_task("sudoku", level="S0")
    handle = load_model("lab")
    stage.policy = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    with pytest.raises(
        UserError, match=r"wrote no acceptable example of sudoku in 512 requests \(.*cpt first"
    ) as error:
        objective().grown(stage)
    assert "\n" not in str(error.value)
