"""`beyondrl generate`: one directory a text, and every mistake in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.lora_files import LoraAdapter
from harness.models import load_model
from tests.cli.conftest import Say
from tests.letters import policy, saved


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a finished run that trained a generator."""
    return str(saved(tmp_path_factory.mktemp("generator")))


def test_several_texts_and_documents_get_a_directory_each(say: Say, run: str) -> None:
    Path("doc.txt").write_text("the lamp is green.")
    answer = say("generate", "--from", run, "--text", "reverse", "--text", "sum", "--doc", "doc.txt", "--out", "many")
    assert answer.code == 0, answer
    assert sorted(path.name for path in Path("many").iterdir()) == ["1", "2", "3"]
    for number, text in enumerate(("reverse", "sum", "the lamp is green."), 1):
        written = LoraAdapter.read(Path("many") / str(number))
        alone = policy().model.write([text]).adapter(0, "lab")
        assert written.base == "lab"
        for name, module in alone.modules.items():
            assert (written.modules[name].dense() - module.dense()).abs().max() < 1e-6
    assert say("generate", "--from", f"{run}/model", "--text", "reverse", "--out", "one").code == 0
    assert load_model("one").model() is not None


def test_what_it_writes_goes_on_from_here(say: Say, run: str) -> None:
    say("generate", "--from", run, "--text", "the longer text", "--text", "another long text", "--out", "two")
    assert say("squeeze", "two/1", "--rank", "1", "--out", "thin").code == 0
    assert say("merge", "two/1", "two/2", "--out", "sum").code == 0
    assert {one.rank for one in LoraAdapter.read(Path("thin")).modules.values()} == {1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--text TEXT or --doc FILE"),
        (("--text", " "), "Text 1 of 1 is empty"),
        (("--doc", "nothing.txt"), "nothing.txt cannot be read: no such file"),
        (("--text", "a", "--from", "elsewhere"), "No run in runs is called 'elsewhere'"),
        (("--text", "a", "--from", "{folder}"), "no generator in"),
        (("--text", "a", "--out", "full"), "is not empty"),
    ],
)
def test_one_sentence(say: Say, run: str, arguments: tuple[str, ...], said: str) -> None:
    Path("full").mkdir()
    Path("full/x").write_text("x")
    Path("other").mkdir()
    Path("other/spec.json").write_text("{}")
    given = [one.replace("{folder}", "other") for one in arguments]
    answer = say("generate", *([] if "--from" in given else ["--from", run]), *given)
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1, answer
    assert not Path("adapter").exists()
