"""Rollouts are sampled once for all methods that ask for the same, and charged to each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.engines.hf import HFEngine
from harness.events import read_events
from harness.record import RunDirectory
from tests.conftest import make_spec, run_to_end

SAME = {"prompts": 32, "samples": 8, "sampling_share": 0.9}


def note(directory: RunDirectory) -> dict[str, Any]:
    (found,) = [event for event in read_events(directory.events) if event["kind"] == "rollouts"]
    return found


@pytest.mark.parametrize("method", ["kto", "rft", "orpo", "apo"])
def test_methods_share_one_file_and_each_pays_for_it(method: str, tmp_path: Path) -> None:
    first = run_to_end(make_spec("dpo", **SAME), tmp_path)
    second = run_to_end(make_spec(method, **SAME, **({"rounds": 1} if method == "rft" else {})), tmp_path)
    assert note(first)["sampled_here"] and not note(second)["sampled_here"]
    assert note(first)["file"] == note(second)["file"]
    assert [file.name for file in (tmp_path / "rollouts").iterdir()] == [note(first)["file"]]
    paid, also = first.read_result().meters, second.read_result().meters
    assert paid.generated_tokens == also.generated_tokens > 0 and paid.rollouts == also.rollouts
    assert also.generate_seconds == pytest.approx(paid.generate_seconds, rel=0.2)


@pytest.mark.parametrize("change", [{"seed": 1}, {"samples": 4}, {"temperature": 0.7}, {"steps": 5}])
def test_what_decides_them_names_another_file(change: dict[str, Any], tmp_path: Path) -> None:
    first = run_to_end(make_spec("dpo", **SAME), tmp_path)
    other = run_to_end(make_spec("dpo", **{**SAME, **change}), tmp_path)
    assert note(first)["file"] != note(other)["file"] and note(other)["sampled_here"]


def test_a_found_file_gives_the_same_run_as_sampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = run_to_end(make_spec("kto", **SAME), tmp_path / "alone")
    run_to_end(make_spec("dpo", **SAME), tmp_path / "shared")
    sampled: list[int] = []
    generate = HFEngine.generate

    def counted(engine: HFEngine, prompts: Any, *rest: Any) -> Any:
        sampled.append(len(prompts))
        return generate(engine, prompts, *rest)

    monkeypatch.setattr(HFEngine, "generate", counted)
    shared = run_to_end(make_spec("kto", **SAME), tmp_path / "shared")
    assert shared.read_result().weights_digest == alone.read_result().weights_digest
    assert max(sampled) < 64  # evaluation only
