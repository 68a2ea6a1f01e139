"""The directory of a sweep: `<runs>/sweeps/<name>/` with sweep.yaml, sweep.json, study.journal and a lease.

Controllers that share their study have a lease each, in `controllers/`.

A name can mean another sweep after its file was edited. The earlier one is then set aside whole, under its name and the
first digits of its identity, and comes back when the file does: nothing is lost and nothing mixed.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from harness.atomic import write_json, write_text
from harness.errors import UserError, unknown
from harness.lease import Lease, LeaseHeld, age
from harness.record import LEASE_SECONDS, read_record
from harness.sweep_record import SweepRecord


class SweepDirectory:
    """The files of one sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "sweep.json"
        self.source = path / "sweep.yaml"
        self.lease = path / "lease.json"

    @classmethod
    def of(cls, runs: Path, name: str) -> SweepDirectory:
        return cls(runs / "sweeps" / name)

    @classmethod
    def find(cls, runs: Path, name: str) -> SweepDirectory:
        """The directory of a sweep that was started; UserError with the nearest match otherwise."""
        found = cls.of(runs, name)
        if not found.record.exists():
            raise unknown(f"sweep in {runs}", name, [one.path.name for one in all_sweeps(runs)], "beyondrl list sweeps")
        return found

    def read(self) -> SweepRecord | None:
        """What the sweep decided so far; None before it decided anything."""
        if not self.record.exists():
            return None
        return read_record(SweepRecord, self.record)

    def write(self, record: SweepRecord) -> None:
        """Replace `sweep.json` in one step."""
        write_json(self.record, record.model_dump(mode="json"))

    def set_aside(self, identity: str) -> str | None:
        """Make room for the sweep with `identity`; returns the name under which another one is kept now."""
        there = self.read()
        if there is None or there.identity == identity:
            return None
        aside = self._other(there.identity)
        with self.held():
            self.write(there.model_copy(update={"name": aside.name}))
            self._move(self.path, aside)
        return aside.name

    def bring_back(self, identity: str) -> bool:
        """Take up the sweep with `identity` if it was set aside earlier."""
        aside = SweepDirectory(self._other(identity))
        if self.path.exists() or not aside.record.exists():
            return False
        record = aside.read()
        assert record is not None
        with aside.held():
            self._move(aside.path, self.path)
        self.write(record.model_copy(update={"name": self.path.name}))
        return True

    def start(self, source: str) -> None:
        """Write down the sweep file as given."""
        write_text(self.source, source)

    def held(self) -> Lease:
        """The lease that keeps a second controller out; UserError when one is at work."""
        return _SweepLease(self.lease, self.path.name, lambda: _at_work(self._shared()))

    def joined(self) -> Lease:
        """The lease of one of several controllers; UserError when one that shares nothing is at work."""
        mine = self.path / "controllers" / f"{socket.gethostname()}-{os.getpid()}.json"
        return _SweepLease(mine, self.path.name, lambda: _at_work([self.lease]))

    def controllers(self) -> list[Path]:
        """The leases of those that are at work on this sweep: one, or several that share it."""
        return _at_work([self.lease, *self._shared()])

    def _shared(self) -> list[Path]:
        return sorted((self.path / "controllers").glob("*.json"))

    @staticmethod
    def _move(source: Path, target: Path) -> None:
        """Rename a sweep's directory and leave the lease on it behind."""
        source.rename(target)
        (target / "lease.json").unlink()

    def _other(self, identity: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{identity[:8]}")


class _SweepLease(Lease):
    def __init__(self, path: Path, name: str, rivals: Callable[[], list[Path]]) -> None:
        super().__init__(path)
        self._name = name
        self._rivals = rivals

    def __enter__(self) -> Lease:
        try:
            super().__enter__()
        except LeaseHeld:
            raise self._refusal(self.path) from None
        rivals = self._rivals()
        if rivals:
            self.__exit__(None, None, None)
            raise self._refusal(rivals[0])
        return self

    def _refusal(self, lease: Path) -> UserError:
        holder = json.loads(lease.read_text())
        return UserError(
            f"The sweep {self._name!r} is being run by process {holder['pid']} on {holder['host']}; "
            f"look on with: beyondrl watch {self._name}"
        )


def _at_work(leases: list[Path]) -> list[Path]:
    ages = [(lease, age(lease)) for lease in leases]
    return [lease for lease, seconds in ages if seconds is not None and seconds < LEASE_SECONDS]


def all_sweeps(runs: Path) -> list[SweepDirectory]:
    """Every sweep that was started below `runs`, in a stable order."""
    return [SweepDirectory(path.parent) for path in sorted((runs / "sweeps").glob("*/sweep.json"))]
