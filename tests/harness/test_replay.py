"""The replay log (oracles 19 to 23): any iteration bit for bit from base and log, torn lines, slips, exports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from cli.main import main
from harness.errors import Damaged, UserError
from harness.export import export
from harness.low_rank_export import export_low_rank
from harness.models import load_model
from harness.policy import digest_of
from harness.record import RunDirectory
from harness.replay import replay
from harness.replay_log import append_replay, fingerprint, keep_replay, read_replay_log
from tests.conftest import make_spec, run_to_end

METHODS = ["es", "eggroll", "lora-es"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    runs = tmp_path_factory.mktemp("searched")
    return {name: run_to_end(make_spec(name), runs) for name in METHODS}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    if (folder / "adapter_config.json").exists():
        from safetensors.torch import load_file

        return dict(load_file(folder / "adapter_model.safetensors"))
    return dict(load_model(str(folder)).model().named_parameters())


@pytest.mark.parametrize("name", METHODS)
def test_base_and_log_give_the_final_weights(
    name: str, searched: dict[str, RunDirectory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Oracle 19: bit for bit, by the command itself."""
    directory = searched[name]
    assert main(["replay", str(directory.path), "--out", str(tmp_path / "again")]) == 0
    assert "4 iterations" in capsys.readouterr().out
    again, final = weights(tmp_path / "again"), weights(directory.model)
    assert digest_of(again.items()) == digest_of(final.items())


def test_any_iteration_can_be_had(searched: dict[str, RunDirectory], tmp_path: Path) -> None:
    start = replay(searched["es"].path, tmp_path / "0", 0)
    assert start.iterations == 0
    assert digest_of(weights(start.path).items()) == digest_of(load_model("lab").model().named_parameters())
    one = replay(searched["es"].path, tmp_path / "1", 1)
    record = read_replay_log(searched["es"].replay).records[0]
    assert fingerprint(weights(one.path)) == record["after"] != record["before"]
    with pytest.raises(UserError, match="4 recorded iterations, not 5"):
        replay(searched["es"].path, tmp_path / "5", 5)
    with pytest.raises(UserError, match="not empty"):
        replay(searched["es"].path, tmp_path / "1", 1)


def copy_of(directory: RunDirectory, target: Path) -> RunDirectory:
    target.mkdir()
    for name in ("spec.json", "environment.json", "replay.jsonl"):
        (target / name).write_bytes((directory.path / name).read_bytes())
    return RunDirectory(target)


def test_a_torn_line_is_found_and_left_out(searched: dict[str, RunDirectory], tmp_path: Path) -> None:
    """Oracle 19: cut in the middle of the last line, the log holds one iteration less and says that it is torn."""
    torn = copy_of(searched["eggroll"], tmp_path / "torn")
    torn.replay.write_bytes(torn.replay.read_bytes()[:-20])
    done = replay(torn.path, tmp_path / "out")
    assert done.torn and done.iterations == 3
    keep_replay(torn.replay, 0, 2)
    log = read_replay_log(torn.replay)
    assert not log.torn and [record["iteration"] for record in log.records] == [0, 1]


def test_a_changed_coefficient_is_found(searched: dict[str, RunDirectory], tmp_path: Path) -> None:
    """Oracle 21: digests tell that an update came out otherwise."""
    changed = copy_of(searched["es"], tmp_path / "changed")
    records = read_replay_log(changed.replay).records
    records[2]["coefficients"][0] += 1e-6
    changed.replay.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(UserError, match="After 3 iterations"):
        replay(changed.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_bit_changes_the_fingerprint() -> None:
    """Oracle 21: in any entry, any bit."""
    tensors = {"a": torch.randn(1000), "b": torch.randn(7, 3)}
    before = fingerprint(tensors)
    assert fingerprint({name: tensor.clone() for name, tensor in reversed(tensors.items())}) == before
    for name, entry, bit in (("a", 0, 0), ("a", 999, 31), ("b", 20, 7)):
        changed = {key: tensor.clone() for key, tensor in tensors.items()}
        changed[name].view(torch.int32).flatten()[entry] ^= -(2**31) if bit == 31 else 1 << bit
        assert fingerprint(changed) != before
    assert fingerprint({"a": tensors["a"], "c": tensors["b"]}) != before


def test_numbers_read_back_as_they_were(tmp_path: Path) -> None:
    value = {"stage": 0, "iteration": 0, "x": [0.1, 1 / 3, 1e-300, -1.1]}
    append_replay(tmp_path / "log", value)
    assert read_replay_log(tmp_path / "log").records == [value]


def test_a_run_without_a_search_has_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recorded no iteration"):
        replay(run_to_end(make_spec("base"), tmp_path / "runs").path, tmp_path / "out")


def test_an_update_as_an_adapter_has_the_error_that_is_said(searched: dict[str, RunDirectory], tmp_path: Path) -> None:
    """Oracle 23: reloaded by PEFT, the adapter's matrices differ from the run's by the stated error, which falls with
    the rank; at full rank the logits are the run's."""
    from peft import PeftModel

    directory = searched["eggroll"]
    base = dict(load_model("lab").model().named_parameters())
    final = load_model(str(directory.model)).model().eval()
    moved = {name: tensor - base[name] for name, tensor in final.named_parameters()}
    total = sum(float(part.double().square().sum()) for part in moved.values())
    errors = []
    for rank in (1, 4, 96):
        errors.append(export_low_rank(directory.path, rank, tmp_path / str(rank)))
        adapted = PeftModel.from_pretrained(load_model("lab").model(), str(tmp_path / str(rank))).merge_and_unload()
        lost = sum(
            float((tensor - final.get_parameter(name)).double().square().sum())
            for name, tensor in adapted.named_parameters()
        )
        assert (lost / total) ** 0.5 == pytest.approx(errors[-1], abs=1e-4)
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-5
    ids = torch.arange(3, 19)[None]
    torch.testing.assert_close(adapted.eval()(ids).logits, final(ids).logits, atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="adapter already"):
        export_low_rank(searched["lora-es"].path, 2, tmp_path / "x")
    with pytest.raises(UserError, match="--rank 99999 is more than any layer has"):
        export_low_rank(directory.path, 99999, tmp_path / "x")


def test_what_is_damaged_is_neither_replayed_nor_exported(searched: dict[str, RunDirectory], tmp_path: Path) -> None:
    shutil.copytree(searched["eggroll"].path, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    with directory.replay.open("a") as log:
        log.write("junk\n")
    with pytest.raises(Damaged, match=r"replay.jsonl is damaged \(line \d+ is no record\)"):
        replay(directory.path, tmp_path / "out")
    (weights,) = directory.model.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    for write in (lambda out: export(directory.path, "hf", out), lambda out: export_low_rank(directory.path, 2, out)):
        with pytest.raises(Damaged, match=r"model\.safetensors is damaged"):
            write(tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_run_is_a_model_to_start_from(searched: dict[str, RunDirectory]) -> None:
    """By its directory, as a teacher is: the final weights, and what stands in a record is where they lie."""
    directory = searched["eggroll"]
    by_run, by_folder = load_model(str(directory.path)), load_model(str(directory.model))
    assert by_run == by_folder and by_run.reference().revision != load_model("lab").reference().revision
