"""Every mistake at the keyboard is one sentence on stderr and exit code 2."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from cli.main import main
from cli.places import require_writable
from harness.errors import UserError
from tests.cli.conftest import Say

RUN = ("run", "--method", "toy-rate", "--task", "toy-task", "--steps", "5")
SWEEP = "model: lab\ntask: toy-task\nmethods: [toy-rate]\nbudget: {steps: 5}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lost",), "No such command 'lost'"),
        (("swep",), "Did you mean 'sweep'? (beyondrl --help)"),
        (("sweep",), "Missing argument 'file'. (beyondrl sweep --help)"),
        (("list", "--foo"), "No such option: --foo. (beyondrl list --help)"),
        (("list", "methodz"), "Did you mean 'methods'?"),
        (("list", "toy-rote"), "Did you mean 'toy-rate'?"),
        (("run", "--method", "toy-rote", "--task", "toy-task"), "Did you mean 'toy-rate'? (beyondrl list methods)"),
        (("run", "--method", "toy-rate", "--task", "toy-tusk"), "Did you mean 'toy-task'? (beyondrl list tasks)"),
        (("run", "--method", "TOY-RATE", "--task", "toy-task"), "Did you mean 'toy-rate'?"),
        (
            ("run", "--method", "lora", "--task", "toy-task"),
            "any method that trains goes over it, for example lora+sft",
        ),
        (("run", "--method", "toy-rate", "--task", "my.jsonl"), "--task jsonl --data my.jsonl"),
        (("explain", "toy-task"), "'toy-task' is a task: beyondrl list toy-task"),
        ((*RUN, "--model", "labb"), "Did you mean 'lab'?"),
        ((*RUN, "-p", "rnk=2"), "No parameter of method 'toy-rate' is called 'rnk'. Did you mean 'rank'?"),
        ((*RUN, "-p", "rank=low"), "rank='low' is not possible"),
        ((*RUN, "-p", "rank"), "write key=value"),
        ((*RUN, "-p", "=3"), "write key=value"),
        ((*RUN, "-p", "rank=1", "-p", "rank=2"), "-p rank is given twice"),
        ((*RUN, "-t", "lvl=2"), "No parameter of task 'toy-task' is called 'lvl'. Did you mean 'level'?"),
        (
            (*RUN, "--training", "acumulation=2"),
            "No training option is called 'acumulation'. Did you mean",
        ),
        ((*RUN, "--training", "accumulation=0"), "training accumulation=0 is not possible"),
        ((*RUN, "--training", "accumulation"), "write key=value, for example --training accumulation=4"),
        ((*RUN, "--training", "early_stopping=1", "--curve-points", "0"), "early_stopping refused"),
        (
            ("run", "--method", "toy-base", "--task", "toy-task", "--training", "schedule=linear"),
            "toy-base: schedule refused: this method does not train",
        ),
        ((*RUN, "--resources", "thread=2"), "No resources option is called 'thread'. Did you mean 'threads'?"),
        ((*RUN, "--resources", "threads=0"), "resources threads=0 is not possible"),
        ((*RUN, "--resources", "threads=9999"), "threads: 9999 is refused: this machine gives"),
        ((*RUN, "--resources", "fsdp=full_shard"), "fsdp is refused: weights are whole"),
        ((*RUN, "--resources", "tensor_parallel=2"), "tensor_parallel: 2 is refused: it is vLLM's"),
        ((*RUN, "--resources", "processes"), "write key=value, for example --resources threads=4"),
        ((*RUN, "--flops", "inf"), "flops=inf is not possible"),
        ((*RUN, "--device-seconds", "inf"), "--device-seconds=inf is not possible"),
        ((*RUN, "--temperature", "inf"), "temperature=inf is not possible"),
        (("plan", "quickstart", "--price", "inf"), "'inf' is no price"),
        (("plan", "quickstart", "--device-memory", "24"), "'24' is no amount of memory: --device-memory 24GB"),
        (("regrade", "--task", "countdwn"), "Did you mean 'countdown'?"),
        (("regrade", "0123"), "No run in runs is called '0123'"),
        ((*RUN, "--seed", "one"), "Invalid value for '--seed'"),
        ((*RUN, "--split", "tset"), "--split=tset is not possible"),
        ((*RUN, "--items", "0"), "--items=0 is not possible"),
        ((*RUN, "--samples", "4"), "greedy decoding"),
        ((*RUN, "--flops", "-1"), "--flops=-1.0 is not possible"),
        (("run", "--method", "toy-rate", "--task", "toy-task"), "needs a budget: for example --flops 1e12"),
        (
            ("run", "--method", "toy-documents", "--task", "toy-task"),
            "needs documents, task 'toy-task' offers verifier",
        ),
        (("sweep", "none.yaml"), "No sweep file is called 'none.yaml'"),
        (("sweep", "quikstart"), "Did you mean 'quickstart'? (beyondrl list sweeps)"),
        (("sweep", "."), ". is a directory"),
        (("watch",), "No sweep was started in runs yet"),
        (("watch", "toy"), "No sweep in runs is called 'toy'"),
        (("report",), "No sweep was started in runs yet"),
        (("ingest",), "runs is no directory"),
        (("ingest", "--runs", "s3://bucket/runs"), "Runs lie in a folder, and s3: is none"),
        (("sweep", "quickstart", "--executor", "rya"), "No executor is called 'rya'. Did you mean 'ray'?"),
        (("sweep", "quickstart", "--ray-address", "head:6379"), "--ray-address goes with --executor ray"),
        (("sweep", "quickstart", "--executor", "ray", "--ray-address", "ray://head:10001"), "a Ray client's address"),
        (("export", "abc", "--to", "hf", "--out", "x"), "No run in runs is called 'abc'"),
        (("export", "abc", "--to", "onnx", "--out", "x"), "'onnx' is not one of"),
        (("lab", "build", "labb"), "No lab recipe is called 'labb'. Did you mean 'lab'?"),
    ],
)
def test_one_sentence(say: Say, arguments: tuple[str, ...], said: str) -> None:
    answer = say(*arguments)
    assert answer.code == 2 and said in answer.err, answer
    assert answer.err.count("\n") == 1 and not answer.out
    assert not list(Path().iterdir()), "a refused command leaves nothing behind"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("model: [\n", "s.yaml, line 2 is not YAML"),
        ("just words", "holds no keys"),
        (SWEEP.replace("toy-rate", "toy-rote"), "s.yaml, line 3: No method is called 'toy-rote'"),
        (SWEEP.replace("steps: 5", "step: 5"), "line 4: No key of 'budget' is called 'step'. Did you mean 'steps'?"),
        (SWEEP.replace("model: lab", "model: labb"), "No model is called 'labb'. Did you mean 'lab'?"),
        (SWEEP.replace("[toy-rate]", "[{name: toy-rate, rank: x}]"), "rank='x' is not possible"),
        (SWEEP.replace("toy-task", "{name: toy-task, level: 3}"), "level=3 is not possible"),
    ],
)
def test_sweep_files(say: Say, text: str, said: str) -> None:
    Path("s.yaml").write_text(text)
    answer = say("sweep", "s.yaml")
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1, answer
    assert [path.name for path in Path().iterdir()] == ["s.yaml"]


@pytest.mark.parametrize("place", ["file/runs", "/proc/runs", "/proc/self/nothing/runs"])
def test_runs_that_cannot_be_written(say: Say, place: str) -> None:
    Path("file").write_text("")
    Path("s.yaml").write_text(SWEEP)
    for command in ((*RUN, "--runs", place), ("sweep", "s.yaml", "--runs", place)):
        answer = say(*command)
        assert answer.code == 2 and "cannot be written to" in answer.err and "--runs DIR" in answer.err
        assert answer.err.count("\n") == 1


def test_a_database_that_cannot_take_the_rows_is_known_before_anything_runs(say: Say) -> None:
    Path("s.yaml").write_text(SWEEP)
    with duckdb.connect("old.duckdb") as connection:
        connection.execute("CREATE TABLE meta AS SELECT 1 AS schema_version, 'beyondrl' AS application")
    answer = say("sweep", "s.yaml", "--database", "old.duckdb")
    assert answer.code == 2 and "old.duckdb has schema version 1" in answer.err and "--rebuild" in answer.err
    assert not Path("runs").exists()


def test_slots(say: Say) -> None:
    Path("s.yaml").write_text(SWEEP)
    assert "slots=0 is not possible" in say("sweep", "s.yaml", "--slots", "0").err


def test_a_full_disk(tmp_path: Path) -> None:
    """A file system without space, as seen by the code that finds out before any work is done."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting needs rights that this process has not")
    try:
        with pytest.raises(OSError) as caught, (small / "filler").open("wb", buffering=0) as file:
            for _ in range(64):
                assert file.write(b"x" * 1024) == 1024
                os.fsync(file.fileno())
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(UserError, match="no space left on device"):
            require_writable(small, "--runs")
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "There is no space left for x/y"),
        (errno.EFBIG, "no space left"),
        (errno.EACCES, "cannot be used"),
    ],
)
def test_a_disk_that_fails_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, said: str
) -> None:
    def fail(**_: object) -> None:
        raise OSError(number, os.strerror(number), "x/y")

    monkeypatch.setattr("cli.app.app", fail)
    assert main([]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise OSError(errno.ECHILD, "a defect")

    monkeypatch.setattr("cli.app.app", fail)
    with pytest.raises(OSError, match="a defect"):
        main([])


def test_a_reader_that_leaves_early() -> None:
    process = subprocess.run(
        f"{sys.executable} -m cli.main list methods --json | head -c 1", shell=True, capture_output=True, text=True
    )
    assert process.stderr == ""


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("{threads: 4096}", "threads: 4096 is refused: this machine gives"),
        ("{gpus: 64}", "gpus: 64 is refused: this machine has"),
        ("{processes: 4096}", "processes: 4096 is refused: each has one of this machine's"),
        ("{processes: 2, gpus: 4}", "processes: 2 with gpus: 4 is refused: each process of a run has one GPU"),
        ("{tensor_parallel: 2}", "tensor_parallel: 2 is refused: it is vLLM's, and the engine hf answers (evaluation:"),
        ("{zero_stage: 1}", "zero_stage: 1 is refused: one process does each run"),
        ("{zero_stage: 3, processes: 2}", "zero_stage: 3 is refused: weights are whole in every process"),
        ("{fsdp: full_shard}", "fsdp is refused: weights are whole in every process"),
        ("{deepspeed: zero3.json}", "deepspeed is refused: weights are whole in every process"),
        ("{thread: 2}", "No key of 'resources' is called 'thread'. Did you mean 'threads'?"),
    ],
)
def test_resources_that_a_run_cannot_have(say: Say, wanted: str, said: str) -> None:
    Path("s.yaml").write_text(f"{SWEEP}resources: {wanted}\n")
    answer = say("sweep", "s.yaml", "--dry-run")
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("{tensor_parallel: 4096}", "tensor_parallel: 4096 is refused: each has one of this machine's"),
        (
            "{tensor_parallel: 2, processes: 2}",
            "processes: 2 with tensor_parallel: 2 is refused: each process of a run",
        ),
        ("{tensor_parallel: 2, gpus: 4}", "gpus: 4 with tensor_parallel: 2 is refused: vLLM has all GPUs of the run"),
        ("{tensor_parallel: 2, gpus: 2}", "gpus: 2 is refused: this machine has"),
        (
            "{tensor_parallel: 3}",
            "tensor_parallel: 3 is refused: vLLM deals out this model's 4 attention heads evenly or",
        ),
    ],
)
def test_a_spread_that_vllm_cannot_have(say: Say, wanted: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("harness.executors.local.visible_gpus", lambda: ())
    Path("s.yaml").write_text(f"{SWEEP}evaluation: {{engine: vllm}}\nresources: {wanted}\n")
    answer = say("sweep", "s.yaml", "--dry-run")
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("executor", "said"),
    [
        ("rya", "line 5: an executor is one of local, ray, slurm"),
        ("{name: ray, adress: head}", "Did you mean 'address'?"),
        ("{name: slurm, minutes: 0}", "executor.slurm.minutes=0 is not possible"),
    ],
)
def test_an_executor_that_is_none(say: Say, executor: str, said: str) -> None:
    Path("s.yaml").write_text(f"{SWEEP}executor: {executor}\n")
    answer = say("sweep", "s.yaml", "--dry-run")
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1


def test_serving_says_what_is_missing(say: Say, tmp_path: Path) -> None:
    """Runs are checked first, then whether vLLM is there: nothing is started for a mistake."""
    assert (said := say("serve")).code == 2 and said.err == (
        "Name the finished runs to serve beside their base, by identity or directory: beyondrl serve RUN...\n"
    )
    assert (said := say("serve", "0123")).code == 2 and "No run in runs is called '0123'" in said.err
    for wrong in ("max model", "x=", "=3", "-x"):
        said = say("serve", "0123", "--vllm", wrong)
        assert said.code == 2 and "is not possible: write NAME=VALUE" in said.err and said.err.count("\n") == 1
    assert say("serve", "0123", "--port", "70000").code == 2
