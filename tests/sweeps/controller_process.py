"""A controller in a process of its own, to be killed: `python -m tests.sweeps.controller_process FILE RUNS`."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from harness.errors import UserError
from harness.executors.local import LocalExecutor
from sweeps.controller import Controller
from sweeps.file import read_sweep
from sweeps.progress import progress_for
from sweeps.resolve import resolve
from tests.sweeps.toys import MODEL, register_toys, toy_work


def main() -> int:
    register_toys()
    file, document = read_sweep(Path(sys.argv[1]))
    executor = LocalExecutor(2, work=toy_work)
    controller = Controller(resolve(file, document, MODEL), Path(sys.argv[2]), executor, executor.resources, ["again"])
    try:
        outcome = controller.run(progress_for(Console(width=200)))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"processes {outcome.processes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
