"""What the README and the pages behind it show works as it stands there."""

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
README = ROOT / "README.md"
EXTENDING = ROOT / "docs" / "extending.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BEYONDRL = str(Path(sys.executable).with_name("beyondrl"))


def blocks(language: str, page: Path = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def run(*command: str, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_entry(tmp_path: Path) -> None:
    printed = run(sys.executable, "-c", blocks("python", EXTENDING)[0], folder=tmp_path).splitlines()
    assert len(printed) == 2 and printed[1].split()[3] in ("ok", "wrong_value", "wrong_numbers")


def test_the_added_method_and_task_are_listed_and_planned(tmp_path: Path) -> None:
    (tmp_path / "added_method.py").write_text(blocks("python")[0])
    (tmp_path / "added_task.py").write_text(blocks("python", EXTENDING)[1])
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
    shown = re.search(r'^    (\{"question".*\})$', README.read_text(), re.MULTILINE)
    assert shown is not None
    rows = [shown[1].replace("17+25", f"{n}+25").replace('"42"', f'"{n + 25}"') for n in range(300)]
    (tmp_path / "sums.jsonl").write_text("\n".join(rows))
    plan = json.loads(run(BEYONDRL, "sweep", "sums.yaml", "--dry-run", "--json", folder=tmp_path))
    assert plan["runs"] == 13 and not plan["refused"] and not plan["short_steps"]
    assert re.fullmatch(
        r"a final run on \d\d test items, a trial on \d\d val items, each of 4 .* on \d\d", plan["scored"]
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_every_page_is_led_to() -> None:
    assert {page for page in PAGES if f"](docs/{page.name})" not in README.read_text()} == {README}


def test_the_commands_are_there() -> None:
    known = run(BEYONDRL, "--help", folder=ROOT)
    shown = [re.findall(r"^    beyondrl (\w+)", page.read_text(), re.MULTILINE) for page in PAGES]
    for command in {command for commands in shown for command in commands}:
        assert command in known
