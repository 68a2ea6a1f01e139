"""`beyondrl generate --doc` from runs that internalise documents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.adapters import open_adapter
from harness.generators import find_generator
from harness.lora_files import LoraAdapter
from harness.models import load_model
from harness.registry import load_task
from tests.cli.conftest import Say
from tests.conftest import make_spec, run_to_end

FACTS = " the code of lamp is 109. leo lives in oslo."
IDS = torch.arange(3, 27)[None]


@pytest.fixture(scope="module")
def reader_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished short run of Doc-to-LoRA; its chunks have 32 tokens at most."""
    return str(run_to_end(make_spec("d2l"), tmp_path_factory.mktemp("reader")).path)


def test_a_short_and_a_long_document_become_adapters_of_their_own_rank(say: Say, reader_run: str) -> None:
    Path("short.txt").write_text(FACTS)
    Path("long.txt").write_text(FACTS * 10)
    answer = say("generate", "--from", reader_run, "--doc", "short.txt", "--doc", "long.txt", "--out", "two")
    assert answer.code == 0, answer
    handle = find_generator(reader_run)
    base = load_model("lab-reader")
    generator = handle.open(base.model(), base.tokenizer())
    for number, text in enumerate((FACTS, FACTS * 10), 1):
        chunks = -(-len(base.tokenizer()(text).input_ids) // 32)
        written = LoraAdapter.read(Path("two") / str(number))
        assert {(one.rank, round(one.scale, 6)) for one in written.modules.values()} == {(2 * (chunks + 1), 5.656854)}
        opened = open_adapter(load_model("lab-reader").model().eval(), Path("two") / str(number)).eval()
        with torch.no_grad(), generator.applied(generator.write([text])):
            torch.testing.assert_close(opened(IDS).logits, generator.base(IDS).logits, atol=1e-4, rtol=1e-4)
        plain = load_model("lab-reader").model().eval()(IDS).logits
        assert not torch.equal(opened(IDS).logits, plain)


def test_distilled_documents_have_an_adapter_and_others_are_refused(say: Say, tmp_path: Path) -> None:
    run = run_to_end(make_spec("context-distillation"), tmp_path / "distilled")
    known = load_task("facts", level="F0").documents("val", 1)[0]
    Path("known.txt").write_text(known.text)
    Path("new.txt").write_text(FACTS)
    assert say("generate", "--from", str(run.path), "--doc", "known.txt", "--out", "one").code == 0
    assert any(one.dense().any() for one in LoraAdapter.read(Path("one")).modules.values())
    answer = say("generate", "--from", str(run.path), "--doc", "new.txt", "--out", "other")
    assert answer.code == 2 and "none of the 6 that this run trained adapters for" in answer.err
    assert not Path("other").exists()
