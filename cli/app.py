"""All commands. A user's mistake is one sentence on stderr and exit code 2; Ctrl-C is 130.

Nothing heavy is imported here: `beyondrl --help` answers at once. What is no mistake of the user's and no Ctrl-C is a
defect and comes with its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import typer

from cli.claims import claims
from cli.data import ingest, query, report
from cli.doctor import doctor
from cli.explain import explain
from cli.export import export
from cli.export_task import export_task
from cli.generate import generate
from cli.interrupted import CTRL_C, STOPPED, Interrupted
from cli.lab import lab
from cli.listing import list_kind
from cli.merge import merge
from cli.plan import plan
from cli.regrade import regrade
from cli.replay import replay
from cli.reproduce import reproduce
from cli.run import run
from cli.serve import serve
from cli.squeeze import squeeze
from cli.suggest import suggest
from cli.sweep import sweep
from cli.watch import watch
from harness.errors import UserError

_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR}
_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

app = typer.Typer(
    name="beyondrl",
    help="Experiments and benchmarks for LLM post-training: any method, any task, honest comparisons.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("list")(list_kind)
app.command("explain")(explain)
app.command("run")(run)
app.command("plan")(plan)
app.command("sweep")(sweep)
app.command("watch")(watch)
app.command("ingest")(ingest)
app.command("query")(query)
app.command("report")(report)
app.command("suggest")(suggest)
app.command("claims")(claims)
app.command("reproduce")(reproduce)
app.command("regrade")(regrade)
app.command("doctor")(doctor)
app.command("export")(export)
app.command("export-task")(export_task)
app.command("generate")(generate)
app.command("squeeze")(squeeze)
app.command("merge")(merge)
app.command("replay")(replay)
app.command("serve")(serve)
app.add_typer(lab, name="lab")


def dispatch(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    try:
        code = app(args=arguments, standalone_mode=False, prog_name="beyondrl")
    except UserError as error:
        return _say(str(error), 2)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "beyondrl"
        message = error.format_message().replace("Value error, ", "")
        return _say(f"{message}{'' if message.endswith(('.', '?')) else '.'} ({path} --help)", 2)
    except Interrupted as error:
        return _say(str(error), CTRL_C)
    except typer.Abort:
        return _say(STOPPED, CTRL_C)
    except BrokenPipeError:  # whoever read our output has gone, as in `beyondrl list methods | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        return _say(_sentence(error), 2)
    if code == CTRL_C:  # typer turns the KeyboardInterrupt into this code and says nothing
        return _say(STOPPED, CTRL_C)
    return code if isinstance(code, int) else 0


def _sentence(error: OSError) -> str:
    """A full disk or a forbidden place in one sentence; any other OSError is raised again."""
    if error.errno in _SPACE:
        where = f" for {error.filename}" if error.filename else ""
        return f"There is no space left{where}: free some and give the same command again, it goes on where it stopped."
    if error.errno in _PLACE:
        return f"{error.filename} cannot be used: {(error.strerror or str(error)).lower()}."
    raise error


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(f"{sentence}\n")
    return code
