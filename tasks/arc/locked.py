"""Run in a process of its own by `program`: apply an untrusted program's `transform` to grids, with nothing in reach.

Reads {"program", "grids", "seconds", "bytes", "path"} from stdin, writes one outcome a grid to stdout: {"grid": ...} or
{"failed": "KeyError"}. Before the program is compiled, the process gives up, for good, every system call but those that
memory, arithmetic, the clock and its own open pipes need: no file can be opened, no socket made, no process started,
nobody signalled. Limits on processor time, memory and output are the kernel's too. What the program may import is
imported beforehand. If the process cannot be locked, nothing runs.
"""

import bisect  # noqa: F401
import collections  # noqa: F401
import copy
import ctypes
import fractions  # noqa: F401
import functools  # noqa: F401
import heapq  # noqa: F401
import io
import itertools  # noqa: F401
import json
import math  # noqa: F401
import operator  # noqa: F401
import platform
import random
import re  # noqa: F401
import resource
import string  # noqa: F401
import struct
import sys
import typing  # noqa: F401

# Numbers of the system calls that remain, by machine: read, write, close, fstat, lseek, mmap, mprotect, munmap, brk,
# rt_sigaction, rt_sigprocmask, rt_sigreturn, mremap, madvise, sigaltstack, gettid, futex, clock_gettime, exit,
# exit_group, getrandom, restart_syscall. Everything else answers EPERM.
_ALLOWED = {
    "x86_64": (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 25, 28, 131, 186, 202, 228, 60, 231, 318, 219),
    "aarch64": (63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 216, 233, 132, 178, 98, 113, 93, 94, 278, 128),
}
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER_MODE = 22, 38, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000


def lock(seconds: int, size: int, output: int) -> None:
    """Give up what the program must not have; OSError if that is not possible here."""
    for limit, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, size),
        (resource.RLIMIT_FSIZE, output),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    machine = platform.machine()
    calls = _ALLOWED.get(machine)
    if calls is None or sys.platform != "linux":
        raise OSError(f"no list of system calls for {sys.platform} on {machine}")
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHITECTURE[machine]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    steps += [(_EQUAL, len(calls) - place, 0, number) for place, number in enumerate(calls)]
    steps += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, program, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel does not take the filter of system calls")


def whole(cell: object) -> int:
    """A cell as a number, whatever type counts it; ValueError for 1.5 and for text."""
    number = int(cell)  # type: ignore[call-overload]
    if number != cell:
        raise ValueError(cell)
    return number


def outcomes(program: str, grids: list) -> list[dict]:
    """What `transform` of the program makes of each grid, on its own copy."""
    scope: dict = {"__name__": "program"}
    try:
        exec(compile(program, "program", "exec"), scope)  # noqa: S102 - the locked process exists for this line
        transform = scope["transform"]
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the program's outcome
        return [{"failed": type(error).__name__}] * len(grids)
    found = []
    for grid in grids:
        try:
            made = transform(copy.deepcopy(grid))
            rows = made.tolist() if hasattr(made, "tolist") else made
            found.append({"grid": [[whole(cell) for cell in row] for row in rows]})
        except BaseException as error:  # noqa: BLE001
            found.append({"failed": type(error).__name__})
    return found


def main() -> None:
    """Lock, run, answer."""
    job = json.loads(sys.stdin.buffer.read())
    answer = sys.stdout.buffer
    if job["path"]:
        sys.path.extend(job["path"])
        import numpy

        numpy.random.seed(0)
    random.seed(0)
    lock(job["seconds"], job["bytes"], job["output"])
    sys.stdout = sys.stderr = io.StringIO()
    answer.write(json.dumps(outcomes(job["program"], job["grids"])).encode())
    answer.flush()


if __name__ == "__main__":
    main()
