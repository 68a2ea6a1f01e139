"""What is served in which form: exactly the run's model, or a refusal that says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.adapters import open_adapter
from harness.errors import UserError
from harness.lora_files import LoraAdapter
from harness.models import load_model
from harness.record import RunDirectory
from serving.served import choose, prepare
from tests.conftest import make_spec, run_to_end

IDS = torch.tensor([[5, 9, 3, 30, 7, 12]])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    folder = tmp_path_factory.mktemp("finished")
    methods = ("rslora+sft", "kron-lora+sft", "dora+sft", "sft", "prompt+sft", "base")
    return {method: run_to_end(make_spec(method), folder) for method in methods}


def logits(model: object) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits  # type: ignore[attr-defined]


def test_every_form_is_the_runs_own_model(finished: dict[str, RunDirectory], tmp_path: Path) -> None:
    methods = ("rslora+sft", "kron-lora+sft", "dora+sft", "sft")
    choice = choose([finished[method].path for method in methods])
    base, *served = prepare(choice, tmp_path)
    assert (base.name, base.form, base.run_id) == ("lab", "base", None)
    forms = {one.method: one.form for one in served}
    assert forms == dict(zip(methods, ("adapter", "adapter", "weights", "weights"), strict=True))
    before = logits(load_model("lab").model())
    for one in served:
        run = finished[str(one.method)]
        assert one.run_id == run.read_spec().run_id and one.name == f"{one.method}-{one.run_id[:8]}"
        truly = logits(load_model(str(run.model)).model())
        if one.form == "adapter":
            found = logits(open_adapter(load_model("lab").model(), one.folder))
            read = LoraAdapter.read(one.folder)
            assert {module.scale for module in read.modules.values()} == {1.0}
            assert {module.rank for module in read.modules.values()} == {one.rank}
        else:
            found = logits(load_model(str(one.folder)).model())
            assert load_model(str(one.folder)).tokenizer().eos_token == load_model("lab").tokenizer().eos_token
        assert not torch.allclose(truly, before, atol=1e-3)
        torch.testing.assert_close(found, truly, atol=2e-4, rtol=1e-4)


def test_what_vllm_has_no_form_for_is_refused_with_the_reason(
    finished: dict[str, RunDirectory], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"cannot serve the run .* \(prompt\+sft\): .* 'prompt' is no LoRA"):
        choose([finished["prompt+sft"].path])
    forgotten = _as_if(finished["prompt+sft"], tmp_path / "forgotten", method="a-plug-in-that-was-removed")
    with pytest.raises(UserError, match=r"'prompt-tuning' is no LoRA and cannot be merged; leave it out"):
        prepare(choose([forgotten]), tmp_path / "work")


def test_runs_that_cannot_be_served_are_refused_before_anything_is_read(
    finished: dict[str, RunDirectory], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="trained nothing"):
        choose([finished["base"].path])
    with pytest.raises(UserError, match="named twice"):
        choose([finished["sft"].path, finished["sft"].path])
    spec = make_spec("sft", seed=9)
    unfinished = RunDirectory.of(tmp_path, spec)
    unfinished.path.mkdir(parents=True)
    unfinished.spec.write_text(spec.model_dump_json())
    with pytest.raises(UserError, match="is new, not done"):
        choose([unfinished.path])
    other = _as_if(finished["sft"], tmp_path / "other", model="lab-reader")
    with pytest.raises(UserError, match=r"A server has one base, and the run .* serve them apart"):
        choose([finished["sft"].path, other])
    changed = _as_if(finished["sft"], tmp_path / "changed", revision="0" * 16)
    with pytest.raises(UserError, match="on revision 0000000000000000 of 'lab', and there is"):
        choose([changed])


def _as_if(
    run: RunDirectory, where: Path, model: str = "lab", revision: str | None = None, method: str | None = None
) -> Path:
    """A finished run that says to be of another model, revision or method."""
    import shutil

    shutil.copytree(run.path, where)
    reference = load_model(model).reference()
    reference = reference if revision is None else reference.model_copy(update={"revision": revision})
    spec = run.read_spec().model_copy(update={"model": reference})
    if method is not None:
        spec = spec.model_copy(update={"method": spec.method.model_copy(update={"name": method})})
    RunDirectory(where).spec.write_text(spec.model_dump_json())
    return where
