"""Toys in the registry, and a sweep file to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.file import read_sweep
from sweeps.resolve import Sweep, resolve
from tests.sweeps.toys import MODEL, forget_toys, register_toys

MakeSweep = Callable[..., Sweep]


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    register_toys()
    yield
    forget_toys()


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    """Resolve a sweep of `methods` (YAML text) on the toy task."""

    def make(methods: str, trials: int = 3, final: str = "2", extra: str = "", tune: str = "") -> Sweep:
        path = tmp_path / "toy.yaml"
        path.write_text(sweep_text(methods, trials, final, extra, tune))
        file, document = read_sweep(path)
        return resolve(file, document, MODEL)

    return make


def sweep_text(methods: str, trials: int = 3, final: str = "2", extra: str = "", tune: str = "") -> str:
    return (
        f"name: toy\nmodel: toy\ntask: toy-task\nmethods: {methods}\nbudget: {{flops: 1e12}}\n"
        f"tune: {{trials: {trials}{tune}}}\nfinal: {{seeds: {final}}}\n{extra}"
    )
