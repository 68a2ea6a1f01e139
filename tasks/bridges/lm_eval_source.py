"""Where an lm-eval task comes from: its YAML file, what can be known of it without its data, and the task itself.

`find_source` reads configuration only, so a task can be named and refused without a download; `Source.open` loads the
data as lm-eval does. A folder of one's own (`include`) goes before the tasks that lm-eval ships, and holds its data
too, so that its content is the whole of what decides the questions. Everything lm-eval raises becomes one sentence.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness.errors import UserError, unknown
from tasks.bridges.packages import require

FEWSHOT_SEED = 1234
"""lm-eval's own default: with it the worked examples are those of `lm_eval --tasks ...`."""
_FILE_FORMATS = {"json", "csv", "text", "parquet", "arrow", "xml"}


@dataclass(frozen=True)
class Source:
    """A task of lm-eval before its data is loaded."""

    name: str
    folder: Path
    """The folder that is given to lm-eval to look into."""
    config: Mapping[str, Any]
    """The YAML file with what it includes; functions are still names."""
    own: bool = False
    """Whether it is the user's own and not one that lm-eval ships."""

    @property
    def kind(self) -> str:
        """multiple_choice, loglikelihood, loglikelihood_rolling or generate_until."""
        return str(self.config.get("output_type", "generate_until"))

    def generation(self) -> tuple[tuple[str, ...], int]:
        """The texts that end an answer and how many tokens it may have."""
        from lm_eval.config.task import TaskConfig
        from lm_eval.models.utils import normalize_gen_kwargs

        fields = ("output_type", "generation_kwargs", "fewshot_delimiter")
        given = TaskConfig(**{key: self.config[key] for key in fields if key in self.config}, task=self.name)
        until = given.generation_kwargs["until"]
        limit = normalize_gen_kwargs(given.generation_kwargs)["max_gen_toks"]
        return ((until,) if isinstance(until, str) else tuple(until)), int(limit)

    def open(self, shots: int | None) -> Any:
        """lm-eval's own task object with its data; `shots` worked examples, or as many as it says itself."""
        from lm_eval.tasks import TaskManager

        try:
            with _no_compiled_files():
                manager = TaskManager(include_path=str(self.folder), include_defaults=False)
                task = manager.load([self.name])["tasks"][self.name]
        except Exception as error:
            where = self.config.get("dataset_path") or "its own code"
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f"The lm-eval task {self.name!r} with data from {where} cannot be loaded: {reason}"
            ) from error
        if self.own:
            self._names_its_columns(task.features)
        task.set_config(key="num_fewshot", value=self._shots(shots))
        task.set_fewshot_seed(FEWSHOT_SEED)
        return task

    def _names_its_columns(self, columns: list[str]) -> None:
        """lm-eval takes the name of a column that is not there for the text itself."""
        for key in ("doc_to_text", "doc_to_target", "doc_to_choice"):
            named = self.config.get(key)
            if isinstance(named, str) and named.isidentifier() and named not in columns:
                there = ", ".join(columns)
                raise UserError(f"The lm-eval task {self.name!r}: {key} names no column {named!r} (there is: {there}).")

    def _shots(self, shots: int | None) -> int:
        own = self.config.get("num_fewshot")
        if shots is not None and own == 0 and shots:
            raise UserError(f"The lm-eval task {self.name!r} fixes its worked examples at 0: leave out shots={shots}.")
        return int(own or 0) if shots is None else shots


def find_source(name: str, include: str | None) -> Source:
    """The task called `name` in the folder `include`, or else among those that lm-eval ships."""
    require("lm-eval")
    source = None
    if include is not None:
        folder = Path(include)
        if not folder.is_dir():
            raise UserError(f"{include} is no folder of lm-eval task files (*.yaml).")
        _readable(folder)
        source = _in_folder(name, folder, own=True)
    if source is None:
        source = _shipped(name)
    _usable(source)
    if source.own:
        _holds_its_data(source)
    return source


def _in_folder(name: str, folder: Path, own: bool = False) -> Source | None:
    from lm_eval.tasks import TaskManager

    index = TaskManager(include_path=str(folder), include_defaults=False).task_index
    if name not in index:
        return None
    entry = index[name]
    if entry.kind.name in ("GROUP", "TAG"):
        members = entry.tags or [
            m if isinstance(m, str) else m.get("task", "") for m in (entry.cfg or {}).get("task", [])
        ]
        some = ", ".join(sorted(filter(None, members))[:3]) or "its members"
        raise UserError(f"{name!r} is a group of lm-eval tasks: take them one by one, for example {some}.")
    if entry.kind.name == "PY_TASK":
        raise UserError(f"The lm-eval task {name!r} is a program of its own: only those written in YAML can be taken.")
    return Source(name, folder, entry.cfg or {}, own)


def _shipped(name: str) -> Source:
    """Quick where a YAML file says `task: name`; otherwise lm-eval's whole index is read, which takes seconds."""
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    root = Path(lm_eval.tasks.__file__).parent
    line = re.compile(rb"^\s*[\"']?task[\"']?\s*:\s*[\"']?" + re.escape(name.encode()) + rb"[\"']?\s*$", re.MULTILINE)
    for file in sorted(root.rglob("*.yaml")):
        if line.search(file.read_bytes()):
            found = _in_folder(name, file.parent)
            if found is not None:
                return found
    everything = TaskManager()
    if name not in everything.task_index:
        near = get_close_matches(name, everything.all_subtasks, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"No lm-eval task is called {name!r}.{hint} (lm-eval ls tasks; or include=FOLDER for your own)")
    found = _in_folder(name, root)
    assert found is not None
    return found


def _readable(folder: Path) -> None:
    """lm-eval passes over a YAML file that it cannot read; here it is named."""
    import yaml
    from lm_eval.tasks._yaml_loader import load_yaml

    files = sorted(folder.rglob("*.yaml"))
    if not files:
        raise UserError(f"The folder {folder} holds no task file (*.yaml).")
    for file in files:
        try:
            load_yaml(file, resolve_func=False)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UserError(f"{file}, line {line}: not YAML ({error.problem}).") from None
        except (OSError, ValueError) as error:
            raise UserError(f"The task file {file} cannot be read: {' '.join(str(error).split())}.") from None


def _usable(source: Source) -> None:
    config = source.config
    kinds = ("multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until")
    if source.kind not in kinds:
        raise unknown(f"output_type of lm-eval ({source.name})", source.kind, kinds)
    if config.get("unsafe_code"):
        raise UserError(f"The lm-eval task {source.name!r} executes what the model wrote, which is not done here.")
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise UserError(f"The lm-eval task {source.name!r} asks with images or sound: only text is asked here.")
    if config.get("repeats", 1) != 1:
        raise UserError(
            f"The lm-eval task {source.name!r} grades {config['repeats']} answers together: here each is graded alone."
        )


def _holds_its_data(source: Source) -> None:
    """A run's identity holds the content of `include`: data files must lie in there."""
    if source.config.get("dataset_path") not in _FILE_FORMATS:
        return
    options = source.config.get("dataset_kwargs") or {}
    for place in _texts([options.get("data_files"), options.get("data_dir")]):
        inside = Path(place).is_absolute() and Path(place).resolve().is_relative_to(source.folder.resolve())
        if "://" not in place and not inside:
            raise UserError(
                f"The lm-eval task {source.name!r} reads {place}: put the file into {source.folder} and write its "
                "whole path, so that its content counts in a run's identity."
            )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


@contextmanager
def _no_compiled_files() -> Iterator[None]:
    """Importing a task's functions must not write into its folder, whose content is part of a run's identity."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
