"""Text-to-LoRA against the paper's counts, its start, its two ways of training, and what it leaves behind."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn import functional

from harness.context import StageContext
from harness.control import Controlled
from harness.errors import UserError
from harness.events import EventLog, read_events
from harness.generated import GeneratedAdapters
from harness.generators import find_generator
from harness.lora_files import LoraAdapter, LowRank
from harness.meters import MeterBank
from harness.models import load_model
from harness.plan import control_refusal, refusal
from harness.policy import Policy
from harness.record import Meters
from harness.registry import load_method, load_task
from harness.run_context import RunContext
from methods.generators.adapter_table import name_of
from methods.generators.descriptions import Descriptions
from methods.generators.encoders import BaseStates, encoder_for
from methods.generators.standardised import standardise
from methods.generators.targets import Kind
from methods.generators.text_to_lora import Settings, TextToLora
from methods.objectives.described_tasks import answer_loss, mean_square
from methods.objectives.rows_of_answers import answer_rows
from methods.parameterisations.documents import adapter_table
from methods.parameterisations.text_to_lora import text_to_lora
from tests.conftest import generator_run, library, make_spec, place, run_to_end

READER = load_model("lab-reader")
TEXTS = ["write all letters in capitals.", "reverse the line.", "take the last letter"]
IDS = torch.arange(3, 19)[None]


class Given:
    """An encoder of one vector a text, as long as the texts are numbers."""

    def __init__(self, width: int) -> None:
        self.width = width

    def encode(self, base: Any, tokenizer: Any, texts: list[str]) -> torch.Tensor:
        return functional.one_hot(torch.tensor([int(text) for text in texts]), self.width).float()


def kinds(layers: int, **shapes: tuple[int, int]) -> tuple[Kind, ...]:
    """Kinds of (outputs, inputs)."""
    return tuple(
        Kind(name, *shape, tuple(f"model.layers.{n}.{name}" for n in range(layers)), tuple(range(layers)))
        for name, shape in shapes.items()
    )


def network(size: str, targets: str = "q_proj,v_proj", **given: Any) -> Policy:
    start = Policy(READER.model().eval(), READER.tokenizer(), READER.path)
    settings = {"rank": 2, "alpha": 4.0, "latent": 16, "encoder": "base", "pooling": "last"} | given
    return text_to_lora(size, targets=targets, **settings).attach(start, 0)


MISTRAL = kinds(32, q_proj=(4096, 4096), v_proj=(1024, 4096))


@pytest.mark.parametrize(
    ("size", "width", "biased", "count"),
    [
        ("L", 1024, True, 55_424_000), ("M", 1024, True, 34_412_288), ("S", 1024, True, 4_996_096),
        ("L", 1024, False, 55_317_504), ("M", 1024, False, 34_346_752), ("S", 1024, False, 4_987_904),
        ("L", 16, False, 55_252_992), ("M", 16, False, 34_282_240), ("S", 16, False, 4_923_392),
    ],
)  # fmt: skip
def test_parameters_are_the_papers_for_mistral(size: Any, width: int, biased: bool, count: int) -> None:
    """The last three are the paper's own figures (section 4): bias-free heads, a one-hot input of 16."""
    with torch.device("meta"):
        made = TextToLora(MISTRAL, Given(width), Settings(size, 8, 16.0, 128, standardised=not biased), {})
    assert sum(tensor.numel() for tensor in made.parameters()) == count
    assert made.scale == pytest.approx(5.657, abs=1e-3)
    assert sum(8 * (kind.outputs + kind.inputs) * len(kind.modules) for kind in MISTRAL) == 3_407_872


@torch.no_grad()
def test_l_starts_as_the_base_whatever_the_text_and_the_others_do_not() -> None:
    plain = READER.model().eval()(IDS).logits
    for size in ("L", "M", "S"):
        model = network(size).model
        for text in TEXTS:
            with model.applied(model.write([text])):
                assert torch.equal(model(IDS).logits, plain) == (size == "L")


@pytest.mark.parametrize("size", ["S", "M", "L"])
def test_every_part_of_every_size_learns(size: str) -> None:
    made = network(size).model
    for _ in range(2):  # the trunk has no gradient before the heads have moved
        adapters = made.write(TEXTS)
        sum((one - 0.1).square().sum() for bank in (adapters.down, adapters.up) for one in bank.values()).backward()
        reached = {name for name, p in made.hypernetwork.named_parameters() if p.grad is not None and p.grad.any()}
        with torch.no_grad():
            for parameter in made.hypernetwork.parameters():
                parameter -= 1e-3 * parameter.grad.sign()
        made.zero_grad()
    assert reached == {name for name, _ in made.hypernetwork.named_parameters()}


@pytest.mark.parametrize(("size", "share"), [("L", 1.0), ("M", math.sqrt(2)), ("S", math.sqrt(2) * math.sqrt(8))])
def test_heads_start_as_loras_do(size: Any, share: float) -> None:
    """A uniform within 1/sqrt(inputs), shared with B and divided accordingly in M and S; B of L is zero."""
    with torch.no_grad():
        made = network(size, rank=8).model.write(TEXTS[:1])
    for name, down in made.down.items():
        bound = 1 / math.sqrt(96) / share
        assert down.abs().max() <= bound
        assert float(down.std()) == pytest.approx(bound / math.sqrt(3), rel=0.25)
        up = made.up[name]
        assert not up.any() if size == "L" else float(up.std()) == pytest.approx(bound / math.sqrt(3), rel=0.25)


def test_the_layers_are_the_bases_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = network("L", "q_proj,down_proj").model
    names = set(made.write(TEXTS[:1]).down)
    assert names == {f"model.layers.{n}.{m}" for n in range(3) for m in ("self_attn.q_proj", "mlp.down_proj")}
    task = load_task("instructions", level="seen")
    reason = refusal(load_method("t2l", targets="q_prj"), task, READER.reference())
    assert reason is not None and "no layer called 'q_prj'; there are down_proj" in reason
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # as if it were not installed
    reason = refusal(load_method("t2l", encoder="all-MiniLM-L6-v2"), task, READER.reference())
    assert reason is not None and "needs the package sentence-transformers" in reason
    reason = refusal(load_method("t2l"), load_task("countdown"), READER.reference())
    assert (reason is not None and "needs demonstrations and descriptions" in reason) or "needs descriptions" in reason


def test_texts_are_read_by_themselves_and_never_cut() -> None:
    base, tokenizer = READER.model().eval(), READER.tokenizer()
    for pooling, layers in (("last", 1), ("mean", 1), ("layers", 4)):
        together = encoder_for(base, "base", pooling).encode(base, tokenizer, TEXTS)
        alone = [encoder_for(base, "base", pooling).encode(base, tokenizer, [text])[0] for text in TEXTS]
        assert torch.equal(together, torch.stack(alone))
        assert together.shape[1] == encoder_for(base, "base", pooling).width == 96 * layers
        with_stop = encoder_for(base, "base", pooling).encode(base, tokenizer, [f"{TEXTS[2]}."])
        assert torch.equal(with_stop[0], together[2])
        assert (together[0] - together[1]).abs().max() > 1e-2
    with pytest.raises(UserError, match=r"tokens long and its encoder reads 1024"):
        BaseStates(96, "last").encode(base, tokenizer, ["one letter " * 700])
    with pytest.raises(UserError, match="A text is empty"):
        BaseStates(96, "last").encode(base, tokenizer, [" "])


def stage(tmp_path: Path, policy: Policy, **task: Any) -> StageContext:
    spec = make_spec("t2l")
    directory = place(spec, tmp_path)
    asked = load_task("instructions", **{"level": "seen", "context": "none"} | task)
    run = RunContext(spec, directory, asked, MeterBank(Meters()), EventLog(directory.events))
    return StageContext(run, 0, policy)


def test_every_row_has_a_description_of_its_own_task_and_none_in_its_prompt(tmp_path: Path) -> None:
    learnt = Descriptions(stage(tmp_path, network("L")), examples=400, tasks=6, points=4)
    by_text = {text: one for one in learnt.described for text in one.descriptions}
    tokenizer = READER.tokenizer()
    varied = 0
    for number in range(3):
        batch = learnt.batch(number)
        assert len(batch["points"]) == len(batch["texts"]) == learnt.rows == 24
        for row, point in enumerate(batch["points"]):
            of = by_text[batch["texts"][row]]
            text = tokenizer.decode(point.prompt)
            assert text.startswith("Input:") and batch["texts"][row] not in text
            assert point.completion[-1] == tokenizer.eos_token_id
            answer = tokenizer.decode(point.completion, skip_special_tokens=True)
            given = text.removeprefix("Input:").partition("\n")[0].strip()
            assert any((i.data["input"], i.data["answers"][0]) == (given, answer.strip()) for i in of.items)
        varied += len(set(batch["texts"][:4])) > 1
    assert varied and learnt.batch(2)["texts"] == batch["texts"] != learnt.batch(1)["texts"]


def test_a_folder_of_described_tasks_is_learnt_from_alike(tmp_path: Path) -> None:
    """Super-NaturalInstructions' format: every definition of a task describes it, and the items bring their own."""
    folder = str(Path(__file__).parents[1] / "tasks" / "data" / "natural_instructions")
    learnt = Descriptions(stage(tmp_path, network("L"), data=folder), examples=10, tasks=8, points=2)
    task = load_task("instructions", data=folder, context="none")
    definitions = {text for one in task.described("train") for text in one.descriptions}
    batch = learnt.batch(0)
    assert learnt.rows == 2 * len(learnt.described) and set(batch["texts"]) <= definitions == set(learnt.texts)
    assert all(task.text(item) in definitions for item in task.items("train"))


def test_the_loss_is_a_mean_over_rows_of_a_mean_over_tokens() -> None:
    answers = [[1, 2], [4, 5, 6, 0], [3]]
    logits = torch.randn(7, 7)
    rows = [
        functional.cross_entropy(one, torch.tensor(answer), label_smoothing=0.1)
        for one, answer in zip(logits.split([2, 4, 1]), answers, strict=True)
    ]
    assert torch.allclose(answer_loss(logits, answers, 0.1), torch.stack(rows).mean())
    ones = GeneratedAdapters({"a": torch.ones(1, 2, 3)}, {"a": 2 * torch.ones(1, 4, 2)}, 1.0, (2,))
    assert mean_square(ones) == 5.0


def test_it_learns_to_tell_two_tasks_apart(tmp_path: Path) -> None:
    """The same inputs, two descriptions: the right one lowers the loss, the other's raises it; the base stays."""
    policy = network("L", rank=4, latent=32, pooling="mean")
    before = {name: tensor.clone() for name, tensor in policy.model.base.named_parameters()}
    learnt = Descriptions(stage(tmp_path, policy, level="seen"), examples=10000, tasks=2, points=8)
    kept = [
        [one for one in learnt.described if one.items[0].data["task_id"] == f"all+{m}"] for m in ("copy", "capital")
    ]
    learnt.described = [one for ones in kept for one in ones]
    assert len(learnt.described) == 2
    model = policy.model
    optimiser = torch.optim.AdamW(model.hypernetwork.parameters(), lr=3e-3)

    def loss(batch: dict[str, Any], texts: list[str]) -> torch.Tensor:
        answers = [one.completion for one in batch["points"]]
        rows = answer_rows([one.prompt for one in batch["points"]], answers, "cpu")
        with model.applied(model.write(texts)):
            return answer_loss(rows.logits(model), answers, 0.0)

    for number in range(60):
        batch = learnt.batch(number)
        loss(batch, batch["texts"]).backward()
        optimiser.step()
        optimiser.zero_grad()
    batch = learnt.batch(1000)
    swapped = batch["texts"][8:] + batch["texts"][:8]
    with torch.no_grad():
        right, wrong = float(loss(batch, batch["texts"])), float(loss(batch, swapped))
    assert right < 0.1 and wrong > 0.5
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.base.named_parameters())


def random_library(count: int, of: tuple[Kind, ...], rank: int, scale: float) -> list[LoraAdapter]:
    drawn = torch.Generator().manual_seed(3)

    def module(kind: Kind) -> LowRank:
        up, down = (torch.randn(*shape, generator=drawn) for shape in ((kind.outputs, rank), (rank, kind.inputs)))
        return LowRank(up, down, scale)

    return [LoraAdapter({name: module(kind) for kind in of for name in kind.modules}) for _ in range(count)]


SMALL = kinds(2, q_proj=(6, 4), down_proj=(4, 8))


@pytest.mark.parametrize("count", [1, 3])
def test_standardised_factors_go_there_and_back(count: int) -> None:
    """What the network writes when it predicts z is the library, whatever scale that was trained with."""
    made = TextToLora(SMALL, Given(4), Settings("L", 2, 4.0, 16, standardised=True), {}).eval()
    adapters = random_library(count, SMALL, 2, 0.5)
    wanted = standardise(made, adapters)
    assert all(part.isfinite().all() and part.abs().max() < 10 for pair in wanted for part in pair)
    made.factors = lambda vectors: wanted  # type: ignore[method-assign]
    written = made.write(None, None, [str(number) for number in range(count)])
    for number, adapter in enumerate(adapters):
        for name, module in written.adapter(number, None).modules.items():
            assert torch.allclose(module.dense(), adapter.modules[name].dense(), atol=1e-5)
    with pytest.raises(UserError, match="rank 3 on down_proj, q_proj"):
        standardise(made, random_library(1, SMALL, 3, 1.0))


def test_nine_adapters_are_reconstructed() -> None:
    """To a mean absolute error below 1e-4 of the library's scale; one adapter is its own mean."""
    torch.manual_seed(0)
    small = kinds(1, q_proj=(6, 4))
    made = TextToLora(small, Given(16), Settings("L", 2, 4.0, 32, standardised=True, dropout=0.0), {})
    wanted = standardise(made, random_library(9, small, 2, 1.0))
    vectors = Given(16).encode(None, None, [str(number) for number in range(9)])
    steps = 500
    optimiser = torch.optim.Adam(made.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (1 - step / steps) ** 2)
    for _ in range(steps):
        pairs = zip(made.factors(vectors), wanted, strict=True)
        loss = torch.cat([(a - b).abs().flatten() for pair in pairs for a, b in zip(*pair, strict=True)]).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    assert float(loss) < 1e-4


def test_a_trained_run_writes_adapters_that_peft_takes(tmp_path: Path) -> None:
    """The same text, run and weights give the same adapter; PEFT's forward with its scale is the side path's."""
    handle = find_generator(generator_run().path)
    model = handle.open(READER.model(), READER.tokenizer())
    with torch.no_grad():
        adapters, again = model.write(TEXTS), model.write(TEXTS)
    assert all(torch.equal(adapters.down[name], again.down[name]) for name in adapters.down)
    for number, text in enumerate(TEXTS):
        with torch.no_grad(), model.applied(model.write([text])):
            applied = model(IDS).logits
        folder = tmp_path / str(number)
        adapters.adapter(number, "lab-reader").write(folder)
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["use_rslora"] and config["lora_alpha"] == pytest.approx(16.0)
        adapted = PeftModel.from_pretrained(READER.model(), folder).eval()
        with torch.no_grad():
            assert (adapted(IDS).logits - applied).abs().max() <= 1e-5 * applied.abs().max()
    assert (adapters.up[next(iter(adapters.up))][0] - adapters.up[next(iter(adapters.up))][1]).any()


def test_operations_are_those_of_the_layers_that_run() -> None:
    one = kinds(1, q_proj=(4, 4))
    made = {size: TextToLora(one, Given(4), Settings(size, 2, 4.0, 16), {}) for size in ("L", "M", "S")}
    embeddings = sum(p.numel() for part in (made["L"].module, made["L"].layer) for p in part.parameters())
    assert made["L"].operations(None, ["0"]) == 2 * (sum(p.numel() for p in made["L"].parameters()) - embeddings)
    assert (
        made["M"].operations(None, ["0", "1"])
        == 2 * made["M"].operations(None, ["0"])
        < 2 * made["S"].operations(None, ["0"])
    )


def test_a_library_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    from methods.generators.library import LibraryPath, read_library

    entries = read_library(str(library()), READER.reference(), 40)
    assert len(entries) == 2 and all(entry.descriptions for entry in entries)
    assert LibraryPath().digest(str(library())) == LibraryPath().digest(str(library()))
    with pytest.raises(UserError, match="no runs directory with a finished run that trained an adapter"):
        read_library(str(tmp_path), READER.reference(), 40)
    with pytest.raises(UserError, match="is for 'lab-reader', not for 'lab'"):
        read_library(str(library()), load_model("lab").reference(), 40)


def test_a_library_of_other_runs_is_beyond_a_control() -> None:
    named, own = (load_method("t2l-reconstruction", library=one) for one in (str(library()), None))
    assert control_refusal(named, "shuffled") == (
        "control=shuffled does not reach 'reconstruction', which learns from the adapters of other runs."
    )
    assert control_refusal(own, "shuffled") is None


def test_other_runs_are_a_library(runs: Path) -> None:
    """One stage, over the adapters of the two runs."""
    done = run_to_end(make_spec("t2l-reconstruction", library=str(library())), runs)
    assert len(done.read_result().stages) == 1
    assert [(e["adapters"], e["descriptions"] > 2) for e in read_events(done.events) if e["kind"] == "library"] == [
        (2, True)
    ]


def test_a_first_stage_trains_the_library(runs: Path) -> None:
    """A LoRA for each described training task; the network that is left knows their mean and deviation."""
    task = load_task("instructions", level="seen", context="none")
    assert refusal(load_method("t2l-reconstruction"), task, READER.reference()) is None
    done = run_to_end(make_spec("t2l-reconstruction", steps=8), runs)
    events = {event["kind"]: event for event in read_events(done.events)}
    first, second = done.read_result().stages
    assert first.meters.steps == second.meters.steps == 4
    assert first.description["objective"]["of"] == "64 training items"
    assert events["library"]["adapters"] == events["own_tasks"]["tasks"] > 4
    network = find_generator(done.path).open(READER.model(), READER.tokenizer()).hypernetwork
    deviations = [network.get_buffer(f"std_b_{number}") for number in range(len(network.kinds))]
    assert all(float(one.max()) > 1e-4 for one in deviations), "some adapters have moved, and differ"


def test_a_table_is_handed_to_what_learns_to_write_it() -> None:
    start = Policy(READER.model().eval(), READER.tokenizer(), READER.path)
    table = adapter_table("q_proj,v_proj", 2, 4.0).attach(start, 0)
    held = table.model.hypernetwork
    held.hold([TEXTS[:2], TEXTS[2:]], 0, alike=True)
    assert all(torch.equal(down[0], down[1]) and down[0].any() for down in held.down)
    for up in held.up:
        torch.nn.init.normal_(up)
    settings = {"size": "L", "rank": 2, "alpha": 4.0, "targets": "q_proj,v_proj", "latent": 16, "encoder": "base"}
    made = text_to_lora(**settings, pooling="last", standardised=True).attach(table, 0)
    library = made.model.learns_from
    assert library is not None and made.model.base is start.model
    with torch.no_grad():
        written = table.model.write(TEXTS)
    for row, text in enumerate(TEXTS):
        for name, module in library[name_of(text)].modules.items():
            assert torch.allclose(module.dense(), written.adapter(row, None).modules[name].dense())
    with pytest.raises(UserError, match="writes adapters for a whole model"):
        text_to_lora(**settings, pooling="last").attach(table, 0)
    held.hold([TEXTS[:2], TEXTS[2:]], 0)
    assert not any(torch.equal(down[0], down[1]) for down in held.down)


def test_a_control_destroys_what_described_tasks_teach() -> None:
    task = load_task("instructions", level="seen", context="none")
    items = [item for one in Controlled(task, "shuffled", 0).described("train", 60) for item in one.items]
    controlled = Controlled(task, "shuffled", 0)
    controlled.described("train", 60)
    wrong = [controlled.demonstration(item) != task.demonstration(item) for item in items]
    assert sum(wrong) > 50
