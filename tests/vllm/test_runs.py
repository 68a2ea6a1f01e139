"""Whole runs whose engine is vLLM: evaluation, rollouts and populations, the same again, and after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.contracts import Resources
from harness.record import RunDirectory
from harness.spec import RunSpec
from harness.worker import DONE, work
from tests.conftest import PROTOCOL, make_spec, place, run_to_end
from tests.contracts.test_methods import rows, weights

ON_VLLM = PROTOCOL.model_copy(update={"engine": "vllm"})
LEARNS = ("grpo", "lora+grpo", "rft", "ppo", "lora-es", "eggroll", "es", "mezo", "dpo", "kron-lora+sft")
ROOT = Path(__file__).parent.parent.parent
WORK = """
import sys
from pathlib import Path
from harness.contracts import Resources
from harness.worker import work
work(Path(sys.argv[1]), Resources(), checkpoint_seconds=0.0)
"""


def spec_of(method: str) -> RunSpec:
    return make_spec(method, evaluation=ON_VLLM)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    """An uninterrupted run of each method."""
    folder = tmp_path_factory.mktemp("finished")
    return {method: run_to_end(spec_of(method), folder) for method in ("base", *LEARNS)}


@pytest.mark.parametrize("method", LEARNS)
def test_a_run_moves_the_policy_and_is_scored(method: str, finished: dict[str, RunDirectory]) -> None:
    result = finished[method].read_result()
    assert result.weights_digest != finished["base"].read_result().weights_digest
    assert result.score.items == len(rows(finished[method])) == 6
    assert result.meters.steps == make_spec(method).budget.steps


@pytest.mark.parametrize("method", ["base", "grpo", "lora-es"])
def test_the_same_seed_gives_the_same_run(method: str, finished: dict[str, RunDirectory], runs: Path) -> None:
    again = run_to_end(spec_of(method), runs)
    assert weights(again) == weights(finished[method]) and rows(again) == rows(finished[method])


def test_the_engine_is_part_of_the_identity_and_the_answers_are_the_same(
    finished: dict[str, RunDirectory], runs: Path
) -> None:
    """A search that samples greedily ends with the same weights on either engine: no answer was a tie."""
    assert spec_of("lora-es").run_id != make_spec("lora-es").run_id
    for method in ("base", "lora-es", "es", "eggroll"):
        embedded = run_to_end(make_spec(method), runs)
        assert weights(embedded) == weights(finished[method])
        assert [row["completion"] for row in rows(embedded)] == [row["completion"] for row in rows(finished[method])]


@pytest.mark.parametrize("method", ["grpo", "lora-es"])
def test_killed_and_resumed_equals_uninterrupted(method: str, finished: dict[str, RunDirectory], runs: Path) -> None:
    directory = place(spec_of(method), runs)
    child = subprocess.Popen([sys.executable, "-c", WORK, str(directory.path)], cwd=ROOT)
    while not any(directory.checkpoint.glob("stage-0/*-2/state.json")):
        assert child.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert directory.status() == "stale"
    assert work(directory.path, Resources()) == DONE
    assert directory.read_result().resumed == 1
    assert weights(directory) == weights(finished[method]) and rows(directory) == rows(finished[method])


def test_the_command_runs_it_in_a_process_of_its_own(finished: dict[str, RunDirectory], tmp_path: Path) -> None:
    options = "--method base --task countdown -t level=L0 --engine vllm --items 6 --curve-points 0 --max-new-tokens 40"
    command = [sys.executable, "-m", "cli.main", "run", *options.split(), "--seed", "0", "--json"]
    done = subprocess.run([*command, "--runs", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["score"]["accuracy"] == finished["base"].read_result().score.accuracy
