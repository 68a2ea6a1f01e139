"""The registry: `@method` and `@task` decorators, discovery, and the Python entry `load_task`, `load_method`.

Nothing is listed by hand: the packages `methods.recipes` and `tasks` are walked, third parties come in through the
entry points `beyondrl.methods` and `beyondrl.tasks` (each names a module to import). A method is a function whose
signature is its configuration; a task is a class whose constructor is. Both become frozen pydantic models, so an
unknown or illegal parameter is refused with the nearest match. `@task_family` registers one class for every task of
another collection: `lm-eval:hellaswag` is the family `lm-eval` with the subject `hellaswag`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from harness.contracts import Pipeline, Task
from harness.errors import UserError, unknown
from harness.parameters import DataPath, Parameter, parameters_of
from harness.spec import Component

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered method or task: how to build it, its configuration schema and what its docstring says."""

    kind: str
    name: str
    version: int
    build: Callable[..., T]
    schema: type[BaseModel]
    summary: str
    module: str
    source: str
    """Where the idea comes from: paper and section, or "" ."""
    levels: tuple[str, ...] = ()
    """A task's levels of difficulty, easiest first: what its parameter `level` may be."""
    lab: tuple[str, str] | None = None
    """The shipped model and the level at which a task can be tried without a GPU."""

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Each parameter with default, bounds, search range, unit and help."""
        return parameters_of(self.schema)

    def resolve(self, given: dict[str, Any]) -> Component:
        """`given` completed with every default; raises UserError for an unknown key or an illegal value."""
        for key in given:
            if key not in self.schema.model_fields:
                raise unknown(f"parameter of {self.kind} {self.name!r}", key, self.schema.model_fields)
        try:
            values = self.schema(**given).model_dump(mode="json")
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "configuration"
            raise UserError(
                f"{self.kind} {self.name!r}: {key}={first.get('input')!r} is not possible: {first['msg'].lower()}"
            ) from None
        marks = {
            key: mark
            for key, info in self.schema.model_fields.items()
            for mark in info.metadata
            if isinstance(mark, DataPath)
        }
        data = {key: mark.digest(values[key]) for key, mark in marks.items() if values[key] is not None}
        if hasattr(self.build, "digests"):  # a task made of others says itself what its parameters stand for
            data |= self.build.digests(**values)
        return Component(name=self.name, version=self.version, parameters=values, data=data)

    def create(self, **given: Any) -> T:
        """The method's pipeline or the task itself, with `given` over the defaults."""
        self.resolve(given)
        checked = self.schema(**given)
        return self.build(**{key: getattr(checked, key) for key in self.schema.model_fields})


_METHODS: dict[str, Entry[Pipeline]] = {}
_TASKS: dict[str, Entry[Task]] = {}
_FAMILIES: dict[str, Entry[Task]] = {}


def method(name: str, version: int, source: str = "") -> Callable[[Callable[..., Pipeline]], Callable[..., Pipeline]]:
    """Register a function that returns a Pipeline. Raise `version` when the same parameters give another result."""

    def register(build: Callable[..., Pipeline]) -> Callable[..., Pipeline]:
        add(_METHODS, make_entry("method", name, version, build, build, source))
        return build

    return register


def task(
    name: str, version: int, source: str = "", levels: tuple[str, ...] = (), lab: tuple[str, str] | None = None
) -> Callable[[type], type]:
    """Register a class that follows `harness.contracts.Task`; `name` and `version` become its attributes.

    `levels` are what its parameter `level` may be; `lab` is the shipped model and the level to try it at.
    """

    def register(cls: type) -> type:
        cls.name, cls.version = name, version  # type: ignore[attr-defined]
        init = cls.__init__  # type: ignore[misc]
        signature_of = (lambda: None) if init is object.__init__ else init
        entry = make_entry("task", name, version, cls, signature_of, source)
        add(_TASKS, replace(entry, levels=levels, lab=lab))
        return cls

    return register


def task_family(name: str, version: int, source: str = "") -> Callable[[type], type]:
    """Register a class whose constructor takes `subject` first: the tasks called `name:subject`."""

    def register(cls: type) -> type:
        cls.version = version  # type: ignore[attr-defined]
        add(_FAMILIES, make_entry("task family", name, version, cls, cls.__init__, source))  # type: ignore[misc]
        return cls

    return register


def make_entry(
    kind: str, name: str, version: int, build: Any, signature_of: Any, source: str, skip: tuple[str, ...] = ()
) -> Entry[Any]:
    """An entry whose schema is the signature of `signature_of`, without the parameters in `skip`."""
    hints = get_type_hints(signature_of, include_extras=True)
    fields: dict[str, Any] = {}
    for key, parameter in inspect.signature(signature_of).parameters.items():
        if key == "self" or key in skip or (key == "subject" and kind == "task family"):
            continue
        if parameter.default is inspect.Parameter.empty:
            raise TypeError(f"{kind} {name!r}: parameter {key!r} needs a vetted default")
        fields[key] = (hints[key], parameter.default)
    config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    schema: type[BaseModel] = create_model(f"{name}_configuration", __config__=config, **fields)
    documentation = inspect.getdoc(build) or inspect.getdoc(inspect.getmodule(build)) or ""
    return Entry(kind, name, version, build, schema, documentation.split("\n")[0], build.__module__, source)


def add(table: dict[str, Any], entry: Entry[Any]) -> None:
    """Put an entry into its table; UserError if another one has its name."""
    there = table.get(entry.name)
    if there is not None and (there.module, there.build.__qualname__) != (entry.module, entry.build.__qualname__):
        raise UserError(
            f"Two {entry.kind}s are called {entry.name!r}: {there.build.__qualname__} in {there.module} and "
            f"{entry.build.__qualname__} in {entry.module}; rename one."
        )
    table[entry.name] = entry


def _registers(module: pkgutil.ModuleInfo) -> bool:
    """Whether a module registers a part: what only helps one stays unread, because it may need torch."""
    found = importlib.util.find_spec(module.name)
    source = Path(found.origin).read_text() if found is not None and found.origin is not None else ""
    return any(mark in source for mark in ("\n@parameterisation", "\n@optimiser", "\n@generator"))


def own_modules() -> list[str]:
    """The modules of this installation, plug-ins aside, that register themselves when they are imported."""
    found: list[str] = []
    for package_name in ("methods.recipes", "tasks"):
        package = importlib.import_module(package_name)
        found += [module.name for module in pkgutil.walk_packages(package.__path__, package_name + ".")]
    for package_name in ("methods.parameterisations", "methods.optimisers", "methods.generators"):
        package = importlib.import_module(package_name)
        modules = pkgutil.iter_modules(package.__path__, package_name + ".")
        found += [module.name for module in modules if _registers(module)]
    return found


@cache
def discover() -> None:
    """Import everything that registers itself."""
    for name in own_modules():
        importlib.import_module(name)
    for group in ("beyondrl.methods", "beyondrl.tasks"):
        for point in entry_points(group=group):
            try:
                point.load()
            except Exception as error:
                raise UserError(
                    f"The plug-in {point.name!r} ({point.value}) of {group} cannot be imported: {error}. "
                    "Mend or uninstall it."
                ) from error


def methods() -> dict[str, Entry[Pipeline]]:
    """Every method by name."""
    discover()
    return dict(sorted(_METHODS.items()))


def tasks() -> dict[str, Entry[Task]]:
    """Every task by name."""
    discover()
    return dict(sorted(_TASKS.items()))


def task_families() -> dict[str, Entry[Task]]:
    """Every family of tasks by name; `find_task` makes a task of one when it is given `name:subject`."""
    discover()
    return dict(sorted(_FAMILIES.items()))


def components(kind: str) -> dict[str, str]:
    """Name and summary of every component of a kind: objectives, parameterisations or optimisers."""
    package = importlib.import_module(f"methods.{kind}")
    found: dict[str, str] = {}
    if kind == "parameterisations":
        from harness.parts import parameterisations

        return {name: part.summary for name, part in parameterisations().items()}
    for module_info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        module = importlib.import_module(module_info.name)
        for value in vars(module).values():
            named = isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "describe")
            for name in getattr(value, "names", (getattr(value, "name", None),)) if named else ():
                if isinstance(name, str):
                    found[name] = (inspect.getdoc(module) or "").split("\n")[0]
    return dict(sorted(found.items()))


def find_method(name: str) -> Entry[Pipeline]:
    """The method called `name`, or `PART+...+METHOD` put together; UserError with the nearest match otherwise."""
    if "+" in name:
        from harness.composition import composed

        return composed(name)
    return find_plain_method(name)


def find_plain_method(name: str) -> Entry[Pipeline]:
    """The method that is registered as `name`; UserError with the nearest match otherwise."""
    if name not in methods():
        if name in components("parameterisations"):
            raise UserError(
                f"No method is called {name!r}: it is where an update lives, and any method that trains goes over it, "
                f"for example {name}+sft (beyondrl list parameterisations)."
            )
        raise unknown("method", name, methods(), "beyondrl list methods")
    return _METHODS[name]


def find_task(name: str) -> Entry[Task]:
    """The task called `name`, or `subject` of a family for `family:subject`; UserError with the nearest otherwise."""
    family, colon, subject = name.partition(":")
    if colon:
        if family not in task_families():
            raise unknown("family of tasks", family, task_families(), "beyondrl list tasks")
        entry = _FAMILIES[family]
        return replace(entry, kind="task", name=name, build=partial(entry.build, subject))
    if name not in tasks():
        raise unknown("task", name, tasks(), "beyondrl list tasks")
    return _TASKS[name]


def load_method(name: str, **parameters: Any) -> Pipeline:
    """A method's pipeline: `load_method("lora-es", rank=8)`. Raises UserError for a wrong name, key or value."""
    return find_method(name).create(**parameters)


def load_task(name: str, **parameters: Any) -> Task:
    """A task: `load_task("countdown", level="L2")`. Raises UserError for a wrong name, key or value."""
    return find_task(name).create(**parameters)
