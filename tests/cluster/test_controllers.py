"""Several controllers on one study in PostgreSQL: each run is done once, by one of them, and no death loses any."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.document import Document
from harness.errors import UserError
from harness.sweep_record import SweepRecord
from sweeps.file import parse_sweep
from sweeps.storage import alone, open_storage
from tests.sweeps.conftest import sweep_text
from tests.sweeps.test_kill import METHODS, finish, start, starts, wait_for

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SweepRecord:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "toy.yaml").write_text(sweep_text(METHODS, trials=3))
    return finish(folder / "toy.yaml", folder / "runs")


def sweep(tmp_path: Path, storage: str) -> tuple[Path, Path]:
    (tmp_path / "toy.yaml").write_text(sweep_text(METHODS, trials=3, extra=f"storage: {storage}\n"))
    return tmp_path / "toy.yaml", tmp_path / "runs"


@pytest.mark.parametrize("killed", [False, True])
def test_two_controllers_share_a_sweep(tmp_path: Path, database: str, undisturbed: SweepRecord, killed: bool) -> None:
    file, runs = sweep(tmp_path, database)
    first, second = start(file, runs), start(file, runs)
    if killed:
        wait_for(lambda: len(starts(runs)) >= 4)
        first.kill()
    outputs = [process.communicate(timeout=120) for process in (first, second)]
    assert second.returncode == 0 and (killed or first.returncode == 0), outputs
    record = SweepRecord.model_validate_json((runs / "sweeps" / "toy" / "sweep.json").read_text())
    assert record.model_copy(update={"source": ""}) == undisturbed.model_copy(update={"source": ""})
    begun = Counter(run_id for run_id, _ in starts(runs))
    assert max(begun.values()) <= (2 if killed else 1)
    if not killed:
        done = [int(output.split("processes ")[1]) for output, _ in outputs]
        assert min(done) >= 1 and sum(done) >= len(begun)
        assert not list((runs / "sweeps" / "toy" / "controllers").glob("*.json"))


def test_a_controller_that_shares_nothing_is_kept_out(tmp_path: Path, database: str) -> None:
    file, runs = sweep(tmp_path, database)
    first = start(file, runs)
    wait_for(lambda: len(starts(runs)) >= 1)
    file.write_text(sweep_text(METHODS, trials=3))
    second = start(file, runs)
    _, errors = second.communicate(timeout=30)
    assert second.returncode == 2 and f"is being run by process {first.pid}" in errors
    first.kill()
    first.communicate()


def test_a_study_is_asked_by_one_at_a_time(tmp_path: Path, database: str) -> None:
    storages = [open_storage(tmp_path, database) for _ in range(4)]
    inside: list[int] = []
    most: list[int] = []

    def work(position: int) -> None:
        for _ in range(20):
            with alone(storages[position], "a"):
                inside.append(position)
                most.append(len(inside))
                inside.remove(position)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert len(most) == 80 and max(most) == 1
    with alone(storages[0], "a"), alone(storages[1], "b"):
        pass


def test_a_password_stays_out_of_the_sweep_file(tmp_path: Path) -> None:
    text = sweep_text("[toy-base]", extra="storage: postgresql+psycopg://me:secret@db/studies\n")
    with pytest.raises(UserError, match=r"storage holds a password") as error:
        parse_sweep(Document.parse(text, "toy.yaml"), "toy")
    assert "secret" not in str(error.value)
