"""Models by name: what is found, what revision it stands for, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import UserError
from harness.models import ModelHandle, load_model, shipped_models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the lab model."""
    return Path(shutil.copytree(load_model("lab").path, tmp_path / "model"))


def test_the_lab_model_is_shipped() -> None:
    handle = load_model("lab")
    assert "lab" in shipped_models() and handle.name == "lab"
    assert handle.configuration()["model_type"] == "qwen2"
    assert len(handle.revision) == 16 and int(handle.revision, 16) >= 0


def test_weights_are_float32_and_counted_right(folder: Path) -> None:
    handle = load_model(str(folder))
    model = handle.model()
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert handle.parameters == sum(tensor.numel() for tensor in model.parameters())
    assert next(handle.model(dtype=torch.bfloat16).parameters()).dtype == torch.bfloat16


def test_two_loads_share_no_weights(folder: Path) -> None:
    handle = load_model(str(folder))
    first, second = handle.model(), handle.model()
    with torch.no_grad():
        next(first.parameters()).add_(1.0)
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_the_tokenizer_pads_on_the_left(folder: Path) -> None:
    tokenizer = load_model(str(folder)).tokenizer()
    assert tokenizer.padding_side == "left" and tokenizer.pad_token is not None and tokenizer.eos_token is not None
    rows = tokenizer(["3,5,7=22>", "1,2=3>"], padding=True)["attention_mask"]
    assert rows[1][0] == 0 and rows[1][-1] == 1


def test_a_tokenizer_without_padding_pads_with_its_end(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in written.items() if key != "pad_token"}))
    tokenizer = load_model(str(folder)).tokenizer()
    assert tokenizer.pad_token == tokenizer.eos_token


def test_the_chat_template_is_noticed(folder: Path) -> None:
    handle = load_model(str(folder))
    assert handle.has_chat_template
    (folder / "chat_template.jinja").unlink()
    assert handle.has_chat_template == ("chat_template" in json.loads((folder / "tokenizer_config.json").read_text()))


def test_the_revision_is_the_content_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert load_model(str(folder)).revision == load_model(str(copy)).revision


def _one_bit(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = min(weights)
    weights[name] = weights[name].clone()
    weights[name].view(-1)[0] += 1.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _configuration(folder: Path) -> None:
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, "rms_norm_eps": 1e-3}))


def _tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")


def _chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[-1]['content'] }}")


def _end_token(folder: Path) -> None:
    written = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**written, "eos_token_id": 5}))


@pytest.mark.parametrize(
    "change",
    [
        _one_bit,
        _configuration,
        _tokenizer,
        _chat_template,
        _end_token,
    ],
)
def test_whatever_changes_an_answer_changes_the_revision(folder: Path, tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    """A copy with one thing changed is another model."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    change(other)
    assert load_model(str(other)).revision != load_model(str(folder)).revision


def test_the_reference_is_what_enters_a_spec(folder: Path) -> None:
    handle = load_model(str(folder))
    assert handle.reference().model_dump() == {"name": str(folder), "revision": handle.revision}


def test_an_unknown_name_gets_the_nearest_match() -> None:
    with pytest.raises(UserError, match=r"No model is called 'labb'. Did you mean 'lab'\?.*OWNER/NAME"):
        load_model("labb")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no config\.json"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["./none/here", "/none/here", "../none"])
def test_a_path_that_is_not_there_is_never_asked_of_the_hub(name: str) -> None:
    with pytest.raises(UserError, match="No model is called"):
        load_model(name)


def test_what_the_hub_does_not_give_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        load_model("nobody/has-this-model")
    assert "'nobody/has-this-model'" in str(error.value) and "\n" not in str(error.value)


def test_code_that_a_model_brings_is_not_run(folder: Path, tmp_path: Path) -> None:
    written = json.loads((folder / "config.json").read_text())
    written |= {
        "model_type": "strange",
        "auto_map": {"AutoModelForCausalLM": "strange.Model", "AutoConfig": "strange.C"},
    }
    (folder / "config.json").write_text(json.dumps(written))
    (folder / "strange.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(ValueError):
        ModelHandle("strange", folder, "0").model()
    assert not (tmp_path / "ran").exists()
