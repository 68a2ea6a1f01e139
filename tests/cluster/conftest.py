"""A Ray cluster of two nodes and a PostgreSQL server of the system's packages; what is not there skips its tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest


@dataclass
class Nodes:
    """A head that runs nothing and two nodes of one core each."""

    cluster: Any

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def kill(self, process: psutil.Process) -> None:
        """kill -9 of the node that `process` runs on: of its raylet and everything below it, as when a machine goes."""
        node = next(one for one in self.cluster.worker_nodes if raylet(one) in [process, *process.parents()])
        everything = [raylet(node), *raylet(node).children(recursive=True)]
        for one in everything:
            one.suspend()
        for one in everything:
            one.kill()
        self.cluster.remove_node(node, allow_graceful=False)


def raylet(node: Any) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="Ray is not installed (make test-cluster)")
    before = dict(os.environ)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # the paths of its sockets must be short
    os.environ["RAY_TMPDIR"] = folder  # where Ray notes the cluster's address, in a folder that it does not make
    (Path(folder) / "ray").mkdir()
    memory = {"object_store_memory": 80 * 2**20}
    patience = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": folder, "_system_config": patience, **memory}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1, **memory)
    yield Nodes(cluster)
    cluster.shutdown()
    os.environ.clear()
    os.environ.update(before)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: str) -> str:
    """The address of an empty database."""
    import psycopg

    name = f"d{uuid.uuid4().hex}"
    with psycopg.connect(f"{postgres.replace('+psycopg', '')}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return f"{postgres}/{name}"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a server."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (make test-cluster)")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (str(programs[-1]) if programs else None)
    if found is None:
        pytest.skip("no PostgreSQL server is installed (the system's package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    account = _account()
    if account is not None:
        shutil.chown(folder, account.pw_uid, account.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        who = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        command = [str(Path(found).parent / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)

    call("initdb", "--auth=trust", "--username=beyondrl", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    yield f"postgresql+psycopg://beyondrl@127.0.0.1:{port}"
    call("pg_ctl", "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as: it refuses to be root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no other account here")
