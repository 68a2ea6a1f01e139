"""What the README shows works as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.file import read_sweep

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BEYONDRL = str(Path(sys.executable).with_name("beyondrl"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def run(*command: str, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_entry(tmp_path: Path) -> None:
    printed = run(sys.executable, "-c", blocks("python")[0], folder=tmp_path).splitlines()
    assert len(printed) == 2 and printed[1].split()[3] in ("ok", "wrong_value", "wrong_numbers")


def test_the_added_method_and_task_are_listed_and_planned(tmp_path: Path) -> None:
    (tmp_path / "added_method.py").write_text(blocks("python")[1])
    (tmp_path / "added_task.py").write_text(blocks("python")[2])
    points = tmp_path / "added-1.0.dist-info"
    points.mkdir()
    (points / "METADATA").write_text("Metadata-Version: 2.1\nName: added\nVersion: 1.0\n")
    (points / "entry_points.txt").write_text(
        "[beyondrl.methods]\nadded = added_method\n[beyondrl.tasks]\nadded = added_task\n"
    )
    pairs = json.loads(run(BEYONDRL, "list", "pairs", "--json", folder=tmp_path))
    legal = {(pair["method"], pair["task"]) for pair in pairs if pair["legal"]}
    assert {("lora-grpo", "backwards"), ("lora-grpo", "countdown"), ("sft", "backwards")} <= legal
    options = ["--items", "4", "--steps", "1", "--curve-points", "0", "--json"]
    settings = ["-p", "examples=8", "-p", "batch_size=4"]
    ran = run(BEYONDRL, "run", "--method", "sft", "--task", "backwards", *settings, *options, folder=tmp_path)
    assert json.loads(ran)["meters"]["steps"] == 1


def test_the_sweep_file_is_one(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(blocks("yaml")[0])
    parsed, _ = read_sweep(file)
    assert parsed.name == "my" and len(parsed.final.seeds) == 5


def test_the_sweep_on_own_questions_is_planned(tmp_path: Path) -> None:
    """As a newcomer has it: the file, rows like the one shown, and nothing asked of their number."""
    (tmp_path / "sums.yaml").write_text(blocks("yaml")[1])
    shown = re.search(r'^    (\{"question".*\})$', TEXT, re.MULTILINE)
    assert shown is not None
    rows = [shown[1].replace("17+25", f"{n}+25").replace('"42"', f'"{n + 25}"') for n in range(300)]
    (tmp_path / "sums.jsonl").write_text("\n".join(rows))
    plan = json.loads(run(BEYONDRL, "sweep", "sums.yaml", "--dry-run", "--json", folder=tmp_path))
    assert plan["runs"] == 13 and not plan["refused"] and not plan["short_steps"]
    assert re.fullmatch(
        r"a final run on \d\d test items, a trial on \d\d val items, each of 4 .* on \d\d", plan["scored"]
    )


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", TEXT))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_commands_are_there() -> None:
    known = run(BEYONDRL, "--help", folder=ROOT)
    for command in set(re.findall(r"^    beyondrl (\w+)", TEXT, re.MULTILINE)):
        assert command in known
