"""Tasks of lm-evaluation-harness here and there: the same model gets the same score, and a mistake one sentence."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import load_model, load_task
from harness.contracts import Likelihood, LikelihoodTask, Task
from harness.engines.hf import HFEngine
from harness.errors import UserError
from harness.evaluate import evaluate
from harness.policy import Policy
from harness.record import Score
from harness.registry import find_method, find_task
from harness.spec import Budget, EvaluationProtocol, RunSpec
from tests.contracts.test_tasks import HOSTILE

N = 24
NAMES = ("Ann", "Bob", "Eve", "Tom")


def _choice(rng: random.Random) -> dict[str, Any]:
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    choices = [str(a + b), f"{a + b + 1} or so", str(a + b + 2)]
    gold = rng.randrange(3)
    choices[0], choices[gold] = choices[gold], choices[0]
    return {"question": f"{rng.choice(NAMES)} has {a} and {b}", "choices": choices, "gold": gold}


def _sum(rng: random.Random) -> dict[str, Any]:
    a, b = rng.randint(1, 99), rng.randint(1, 9)
    return {"numbers": f"{a},{b}={a + b}>", "answer": str(a + b)}


def _sentence(rng: random.Random) -> dict[str, Any]:
    words = " ".join(rng.choice(("one", "two", "three", "apples", "of", "has")) for _ in range(rng.randint(4, 30)))
    return {"text": words, "last": " " + rng.choice(("apples", "one"))}


def _long(rng: random.Random) -> dict[str, Any]:
    """Some of these are longer than the lab model's window of 1024 tokens."""
    words = " ".join(rng.choice(("one", "two", "three", "apples", "of", "has")) for _ in range(rng.randint(5, 1500)))
    return {"page": words}


YAML = {
    "sums_choice": (
        _choice,
        "output_type: multiple_choice\ntraining_split: train\nvalidation_split: validation\ntest_split: test\n"
        "doc_to_text: '{{question}}. Sum:'\ndoc_to_choice: choices\ndoc_to_target: gold\n"
        "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
        "  - {metric: acc_norm, aggregation: mean, higher_is_better: true}\n",
    ),
    "sums_written": (
        _sum,
        "output_type: generate_until\ntraining_split: train\ntest_split: test\nnum_fewshot: 2\n"
        "description: 'Sums.\\n\\n'\ndoc_to_text: numbers\ndoc_to_target: answer\ntarget_delimiter: ''\n"
        "generation_kwargs: {until: ['.', '#', ';'], max_gen_toks: 12, do_sample: false}\n"
        "filter_list:\n"
        "  - name: strict\n    filter: [{function: regex, regex_pattern: '= ?([0-9]+)'}, {function: take_first}]\n"
        "  - name: flexible\n    filter: [{function: regex, group_select: -1, regex_pattern: '([0-9]+)'}, "
        "{function: take_first}]\n"
        "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}\n",
    ),
    "last_word": (
        _sentence,
        "output_type: loglikelihood\ntest_split: test\ndoc_to_text: text\ndoc_to_target: last\n"
        "metric_list:\n  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}\n"
        "  - {metric: acc, aggregation: mean, higher_is_better: true}\n",
    ),
    "pages": (
        _long,
        "output_type: loglikelihood_rolling\ntest_split: test\ndoc_to_text: ''\ndoc_to_target: page\n"
        "metric_list:\n  - {metric: word_perplexity}\n  - {metric: byte_perplexity}\n  - {metric: bits_per_byte}\n",
    ),
    "fits_choice": (
        _choice,
        "output_type: multiple_choice\nvalidation_split: validation\ntraining_split: train\n"
        "doc_to_text: question\ndoc_to_choice: choices\ndoc_to_target: gold\nnum_fewshot: 3\n"
        "metric_list:\n  - {metric: acc_norm}\n  - {metric: acc}\n  - {metric: mcc, aggregation: matthews_corrcoef}\n",
    ),
}


def write_task(folder: Path, name: str, rows: dict[str, list[dict[str, Any]]], body: str) -> None:
    files = {}
    for split, records in rows.items():
        file = folder / f"{name}-{split}.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        files[split] = str(file)
    head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {json.dumps(files)}}}\n"
    (folder / f"{name}.yaml").write_text(head + body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tasks of all four kinds with their data."""
    path = tmp_path_factory.mktemp("lm-eval")
    datasets.disable_progress_bars()
    for name, (row, body) in YAML.items():
        rng = random.Random(name)
        counts = {"train": 5 if row is _long else 200, "validation": N, "test": 5 if row is _long else N}
        rows = {split: [row(rng) for _ in range(count)] for split, count in counts.items()}
        write_task(path, name, rows, body)
    return path


@pytest.fixture(scope="module")
def policy() -> Policy:
    handle = load_model("lab")
    return Policy(handle.model(), handle.tokenizer(), handle.path)


def ours(name: str, policy: Policy, n: int = N, **parameters: Any) -> tuple[Task, Score, list[dict[str, Any]]]:
    spec = RunSpec(
        method=find_method("base").resolve({}),
        task=find_task(name).resolve(parameters),
        model=load_model("lab").reference(),
        budget=Budget(steps=1),
        seed=0,
        evaluation=EvaluationProtocol(items=n),
    )
    task = load_task(name, **parameters)
    score, rows = evaluate(spec, task, policy, "test", n, 0)
    return task, score, rows


def theirs(folder: Path, name: str, policy: Policy, **options: Any) -> dict[str, Any]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=1),
        tasks=[name],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        **options,
    )
    assert found is not None
    return found


@pytest.mark.parametrize("shots", [None, 2])
@pytest.mark.parametrize("name", ["sums_choice", "fits_choice"])
def test_multiple_choice_scores_are_theirs(folder: Path, policy: Policy, name: str, shots: int | None) -> None:
    there = theirs(folder, name, policy, num_fewshot=shots)
    _, score, rows = ours(f"lm-eval:{name}", policy, include=str(folder), shots=shots)
    metrics = there["results"][name]
    assert score.measures["acc"] == metrics["acc,none"]
    assert score.measures["acc_norm"] == metrics["acc_norm,none"]
    assert score.accuracy == metrics["acc_norm,none" if name == "fits_choice" else "acc,none"]
    samples = sorted(there["samples"][name], key=lambda sample: sample["doc_id"])
    assert [row["prompt"] for row in rows] == [sample["arguments"][0][0] for sample in samples]
    assert 0 < score.accuracy < 1


@pytest.mark.parametrize("shots", [None, 4])
def test_written_scores_are_theirs(folder: Path, policy: Policy, shots: int | None) -> None:
    there = theirs(folder, "sums_written", policy, num_fewshot=shots)
    metrics = there["results"]["sums_written"]
    for metric in ("exact_match,strict", "exact_match,flexible"):
        given = {"include": str(folder), "shots": shots, "metric": metric}
        task, score, rows = ours("lm-eval:sums_written", policy, **given)
        assert score.accuracy == metrics[metric]
        assert score.measures == {key: metrics[key] for key in ("exact_match,flexible", "exact_match,strict")}
    samples = sorted(
        (s for s in there["samples"]["sums_written"] if s["filter"] == "strict"), key=lambda s: s["doc_id"]
    )
    assert [row["prompt"] for row in rows] == [sample["arguments"][0][0] for sample in samples]
    assert [row["parsed"] for row in rows] == [sample["resps"][0][0] for sample in samples]
    assert task.max_new_tokens == 12 and task.stop == "."
    assert any(row["completion"] for row in rows)


def test_last_word_scores_are_theirs(folder: Path, policy: Policy) -> None:
    metrics = theirs(folder, "last_word", policy)["results"]["last_word"]
    task, score, _ = ours("lm-eval:last_word", policy, include=str(folder))
    assert score.accuracy == score.measures["acc"] == metrics["acc,none"]
    items = task.items("test")
    answers = _likelihoods(task, policy)
    assert task.summary(items, answers)["perplexity"] == pytest.approx(metrics["perplexity,none"], rel=1e-6)
    mean = sum(answer[0].logprob for answer in answers) / len(answers)
    assert score.measures["logprob"] == pytest.approx(mean) and score.measures["tokens"] >= 1


def test_perplexities_are_theirs(folder: Path, policy: Policy) -> None:
    there = theirs(folder, "pages", policy)
    metrics = there["results"]["pages"]
    task, score, rows = ours("lm-eval:pages", policy, 5, include=str(folder))
    summary = task.summary(task.items("test"), _likelihoods(task, policy))
    for name in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        assert summary[name] == pytest.approx(metrics[f"{name},none"], rel=1e-6)
    assert score.measures["words"] > 100 and max(json.loads(r["measures"])["tokens"] for r in rows) > 1024
    assert score.accuracy == 0 and {row["reason"] for row in rows} == {"no_accuracy"}
    assert "verifier" not in task.offers


@pytest.mark.parametrize("name", ["pages", "last_word", "fits_choice"])
def test_their_likelihoods_give_their_figures_to_the_last_digit(folder: Path, policy: Policy, name: str) -> None:
    """What remains between the figures above is the rounding of a batch of one row against a batch of many."""
    there = theirs(folder, name, policy)
    task = load_task(f"lm-eval:{name}", include=str(folder))
    samples = sorted(there["samples"][name], key=lambda sample: sample["doc_id"])
    answers = []
    for sample in samples:
        responses = [response[0] for response in sample["resps"]]
        pairs = [(one, False) if name == "pages" else one for one in responses]
        answers.append([Likelihood(logprob, 1, greedy) for logprob, greedy in pairs])
    summary = task.summary(task.items("test"), answers)
    figures = there["results"][name]
    assert summary == {key: figures[f"{key},none"] for key in summary}
    assert len(summary) == len([key for key in figures if key.endswith(",none")]) / 2


def _likelihoods(task: Any, policy: Policy) -> list[list[Likelihood]]:
    engine = HFEngine(policy.model, policy.tokenizer)
    return [engine.likelihoods(task.continuations(item)) for item in task.items("test")]


def test_likelihoods_are_theirs_where_tokens_join(policy: Policy) -> None:
    """Blanks, an empty context, and a continuation whose first letter joins the context's last token."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    pairs = [("3,5=", "8>"), ("one two ", "three"), ("", "apples of"), ("a\n", "b"), ("app", "les"), ("1", "2" * 30)]
    pairs += [("x " * 2000, "one two")]
    model = HFLM(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=1)
    expected = model.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    found = HFEngine(policy.model, policy.tokenizer).likelihoods(pairs)
    for one, (logprob, greedy) in zip(found, expected, strict=True):
        assert one.logprob == pytest.approx(logprob, rel=1e-5) and one.greedy == greedy


@pytest.mark.parametrize(
    ("pair", "problem"), [(("one", ""), "adds no token"), (("one", "x " * 2000), "the window 1024")]
)
def test_a_likelihood_that_has_no_meaning_is_refused(policy: Policy, pair: tuple[str, str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        HFEngine(policy.model, policy.tokenizer).likelihoods([pair])


def test_kinds_follow_the_file(folder: Path) -> None:
    kinds = {name: isinstance(load_task(f"lm-eval:{name}", include=str(folder)), LikelihoodTask) for name in YAML}
    assert kinds == {name: name != "sums_written" for name in YAML}


@pytest.mark.parametrize("name", ["sums_choice", "sums_written", "fits_choice"])
def test_splits_are_disjoint_and_gold_is_right(folder: Path, name: str) -> None:
    metric = "exact_match,flexible" if name == "sums_written" else None
    task, other = (load_task(f"lm-eval:{name}", include=str(folder), metric=metric) for _ in range(2))
    seen: set[str] = set()
    for split in ("test", "val", "train"):
        items = task.items(split)
        assert items and not seen & {str(task.prompt(item)) for item in items}
        seen |= {str(task.prompt(item)) for item in items}
        assert len({item.id for item in items}) == len(items)
        assert list(other.items(split, 2)) == list(items[:2]) == list(task.items(split, 2))
        for item in items[:6]:
            gold = task.demonstration(item)
            grade = task.grade(item, gold)
            assert grade.correct and grade.reward == 1 and grade.parsed in gold
            assert not task.grade(item, str(task.prompt(item))).correct


def test_a_target_that_the_scorer_refuses_is_no_demonstration(folder: Path) -> None:
    task = load_task("lm-eval:sums_written", include=str(folder), metric="exact_match,strict")
    with pytest.raises(UserError, match="its own scorer refuses the target"):
        task.demonstration(task.items("test", 1)[0])


def test_worked_examples_of_training_items_are_others(folder: Path) -> None:
    task = load_task("lm-eval:sums_written", include=str(folder))
    for item in task.items("train"):
        shown, _, question = str(task.prompt(item)).rpartition("\n\n")
        assert question == item.data["doc"]["numbers"] and question not in shown


def test_a_question_of_the_test_is_in_no_other_split(tmp_path: Path) -> None:
    rows = [_sum(random.Random(place)) for place in range(120)]
    splits = {"train": rows[:110] + rows[:5], "test": [*rows[100:], rows[119]]}
    write_task(tmp_path, "overlap", splits, YAML["sums_written"][1].replace("num_fewshot: 2", "num_fewshot: 0"))
    task = load_task("lm-eval:overlap", include=str(tmp_path))
    test, others = task.items("test"), [*task.items("train"), *task.items("val")]
    assert [item.data["doc"] for item in test] == splits["test"]
    assert len({item.id for item in test}) == 21
    asked = {row["numbers"] for row in rows[100:]}
    assert not asked & {item.data["doc"]["numbers"] for item in others}
    assert len(others) == len({row["numbers"] for row in rows[:100]} - asked)


@pytest.mark.parametrize("name", ["sums_choice", "sums_written", "last_word", "pages"])
def test_hostile_text_is_wrong(folder: Path, name: str) -> None:
    task = load_task(f"lm-eval:{name}", include=str(folder))
    item = task.items("test", 1)[0]
    for text in HOSTILE.values():
        grade = task.grade(item, text)
        assert not grade.correct and grade.reward == 0 and grade.reason != "ok"
        assert grade == task.grade(item, text)


@given(text=st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_is_graded(folder: Path, text: str) -> None:
    for name in ("sums_written", "sums_choice"):
        task = _TASKS.setdefault(name, load_task(f"lm-eval:{name}", include=str(folder)))
        assert task.grade(task.items("test", 1)[0], text).reason


_TASKS: dict[str, Task] = {}


def test_a_choice_is_graded_by_equality(folder: Path) -> None:
    task = load_task("lm-eval:sums_choice", include=str(folder))
    item = task.items("test", 1)[0]
    choices, gold = item.data["doc"]["choices"], item.data["doc"]["gold"]
    assert task.demonstration(item) == f" {choices[gold]}"
    assert task.grade(item, f" {choices[gold]}\n").correct
    assert task.grade(item, choices[gold - 1]).reason == "wrong_choice"
    assert task.grade(item, choices[gold] + " perhaps").reason == "no_choice"
    assert task.grade(item, " ").reason == "empty"


def test_a_threshold_decides(tmp_path: Path) -> None:
    rows = [_sum(random.Random(place)) for place in range(4)]
    body = YAML["sums_written"][1].split("filter_list")[0].replace("num_fewshot: 2", "num_fewshot: 0")
    (tmp_path / "near.py").write_text(
        "def score(doc, results):\n    return {'near': 1 / (1 + abs(int(doc['answer']) - int('0' + results[0])))}\n"
    )
    body += "process_results: !function near.score\nmetric_list:\n"
    body += "  - {metric: near, aggregation: mean, higher_is_better: true}\n"
    write_task(tmp_path, "nearly", {"train": rows, "test": rows}, body)
    before = find_task("lm-eval:nearly").resolve({"include": str(tmp_path)}).data
    task = load_task("lm-eval:nearly", include=str(tmp_path), threshold=0.5)
    item = task.items("test", 1)[0]
    answer = int(item.data["doc"]["answer"])
    assert task.grade(item, str(answer + 1)).correct and not task.grade(item, str(answer + 2)).correct
    assert task.grade(item, str(answer + 1)).measures == {"near": 0.5}
    assert task.grade(item, "x").reason == "scorer_failed: ValueError"
    assert find_task("lm-eval:nearly").resolve({"include": str(tmp_path)}).data == before


def refused(folder: Path, name: str, match: str, **parameters: Any) -> None:
    with pytest.raises(UserError, match=match) as error:
        load_task(f"lm-eval:{name}", include=str(folder), **parameters).items("test", 1)
    assert "\n" not in str(error.value)


def test_mistakes_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    refused(folder, "sums_choice", "metric of sums_choice is called 'accc'. Did you mean 'acc'", metric="accc")
    refused(folder, "fits_choice", "'mcc' is no number for each question", metric="mcc")
    refused(tmp_path, "x", "holds no task file")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", "x", "is no folder")
    (tmp_path / "broken.yaml").write_text("task: x\n  doc: [\n")
    refused(tmp_path, "x", r"broken.yaml, line 2: not YAML")
    (tmp_path / "broken.yaml").write_text("group: many\ntask: [one, two]\n")
    refused(tmp_path, "many", "'many' is a group of lm-eval tasks: .* for example one, two")
    for line, match in [
        ("unsafe_code: true", "executes what the model wrote"),
        ("repeats: 4", "grades 4 answers together"),
        ("output_type: generate", "Did you mean 'generate_until'"),
        ("doc_to_image: picture", "images or sound"),
        ("class: !function own.Own", "program of its own"),
    ]:
        (tmp_path / "broken.yaml").write_text(f"task: x\n{line}\n")
        refused(tmp_path, "x", match)


def test_data_outside_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    write_task(tmp_path, "inside", {"test": [_sum(random.Random(0))]}, YAML["sums_written"][1])
    (tmp_path / "deeper").mkdir()
    text = (tmp_path / "inside.yaml").read_text()
    (tmp_path / "deeper" / "inside.yaml").write_text(text)
    refused(tmp_path / "deeper", "inside", "put the file into")


def test_bad_data_is_named(tmp_path: Path) -> None:
    body = YAML["sums_written"][1].replace("num_fewshot: 2", "num_fewshot: 0").replace("training_split: train\n", "")
    write_task(tmp_path, "bad", {"test": [{"numbers": "1,2=3>"}]}, body)
    refused(tmp_path, "bad", r"doc_to_target names no column 'answer' \(there is: numbers\)")
    (tmp_path / "bad-test.jsonl").write_text("{not json\n")
    refused(tmp_path, "bad", "'bad'.*cannot be loaded")
    write_task(tmp_path, "bad", {"test": [_sum(random.Random(0))]}, body)
    with pytest.raises(UserError, match="no training documents"):
        load_task("lm-eval:bad", include=str(tmp_path)).items("train", 1)
    with pytest.raises(UserError, match="has 1 test items, 2 were asked for"):
        load_task("lm-eval:bad", include=str(tmp_path)).items("test", 2)
    with pytest.raises(UserError, match="trian"):
        load_task("lm-eval:bad", include=str(tmp_path)).items("trian", 1)


def test_too_many_worked_examples_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="300 worked examples"):
        load_task("lm-eval:sums_choice", include=str(folder), shots=300).items("test", 1)


def test_shipped_tasks_are_known_and_a_missing_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'Rowan/hellaswag' on the Hub\n(no network)")

    task = load_task("lm-eval:hellaswag")
    assert isinstance(task, LikelihoodTask)
    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(UserError, match=r"'hellaswag'.*Couldn't reach") as error:
        task.items("test", 1)
    assert "\n" not in str(error.value)
    written = load_task("lm-eval:gsm8k")
    assert written.max_new_tokens == 256 and written.stop == "Question:"


def test_an_unknown_name_gets_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval.tasks

    index = SimpleNamespace(task_index={}, all_subtasks=["hellaswag", "piqa"])
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", lambda: index)  # reading the whole index takes seconds
    with pytest.raises(UserError, match="Did you mean 'hellaswag'"):
        load_task("lm-eval:helaswag")
