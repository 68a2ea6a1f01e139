"""`PART+METHOD`: a registered method with another parameterisation or optimiser, without a file of its own.

`lora+sft`, `kron-lora+grpo`, `galore+sft`, `dora+lora-plus+dpo`: every stage that trains all parameters (`full`) trains
the named parameterisation, every stage that uses `adamw` the named optimiser. The parameters are the method's and the
parts'; a part's parameter whose name the method has already gets the part's name before it (`lora_rank`). Settings
that depend on which tensors move (learning rates, perturbation sizes) have the method's default and search range times
the factor that the parameterisation declares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo

from harness.contracts import Pipeline, Stage, Train
from harness.errors import UserError
from harness.parameters import Scaled, Search
from harness.parts import Part, find_part, optimisers, parameterisations
from harness.registry import Entry, find_plain_method, methods

FULL, ADAMW = "full", "adamw"
"""The parts that a composition puts others in the place of."""
_VERSIONS = 1000  # versions of the parts, as digits of one number to this base


def composed(name: str) -> Entry[Pipeline]:
    """The method called `PART+...+METHOD`; UserError for an unknown half or a combination that cannot be."""
    *part_names, method_name = name.split("+")
    method = find_plain_method(method_name)
    parts = [find_part(one) for one in part_names]
    for kind in ("parameterisation", "optimiser"):
        several = [part.name for part in parts if part.kind == kind]
        if len(several) > 1:
            raise UserError(f"{name!r} names {len(several)} {kind}s, {' and '.join(several)}: keep one.")
    parts = [part for part in parts if part.name not in (FULL, ADAMW)]
    kinds = {part.kind for part in parts}
    for part in list(parts):
        if part.companion is not None and find_part(part.companion).kind not in kinds:
            parts.append(find_part(part.companion))
    if not parts:
        return method
    _check_places(name, method, parts)
    return _entry(name, method, parts)


def _check_places(name: str, method: Entry[Pipeline], parts: list[Part]) -> None:
    """Every part must have a stage to be put into."""
    trains = [stage for stage in method.create().stages if isinstance(stage, Train)]
    for part in parts:
        moved = part.kind == "parameterisation"
        there = {(one.parameterisation if moved else one.optimiser).name for one in trains}
        wanted = FULL if moved else ADAMW
        if wanted in there:
            continue
        has = f"it trains {' and '.join(sorted(there))}" if there else "it trains nothing"
        fitting = [
            other
            for other, entry in methods().items()
            if any(
                isinstance(stage, Train) and (stage.parameterisation if moved else stage.optimiser).name == wanted
                for stage in entry.create().stages
            )
        ]
        near = max(fitting, key=lambda other: (method.name.endswith(other), -fitting.index(other)), default=None)
        hint = f" Nearest that can: {name.rpartition('+')[0]}+{near}." if near else ""
        raise UserError(f"{name} refused: {method.name!r} has no place for {part.name!r}, {has}.{hint}")


@dataclass(frozen=True)
class _Build:
    """Makes the composed pipeline from the parameters of all."""

    method: Entry[Pipeline]
    parts: tuple[tuple[Part, dict[str, str]], ...]
    """Each part, and the composition's name of each of its parameters."""

    def digests(self, **values: Any) -> dict[str, str]:
        """What parts say of the content behind their parameters, by the composition's names."""
        found: dict[str, str] = {}
        for part, names in self.parts:
            if hasattr(part.build, "digests"):
                own = part.build.digests(**{key: values[name] for key, name in names.items()})
                found |= {names[key]: digest for key, digest in own.items()}
        return found

    def __call__(self, **values: Any) -> Pipeline:
        own = {names[key] for _, names in self.parts for key in names}
        pipeline = self.method.create(**{key: value for key, value in values.items() if key not in own})
        for part, names in self.parts:
            given = {key: values[name] for key, name in names.items()}
            stages: tuple[Stage, ...] = ()
            left = 1.0
            for stage in pipeline.stages:
                stages += _with(stage, part, given, left)
                left -= (stage.share or 0.0) if isinstance(stage, Train) else 0.0
            pipeline = replace(pipeline, stages=stages)
        return pipeline


def _with(stage: Stage, part: Part, given: dict[str, Any], left: float) -> tuple[Stage, ...]:
    """The stage with the part in it: several where the part makes several of one, on `left` of the budget."""
    if not isinstance(stage, Train):
        return (stage,)
    if part.kind == "parameterisation":
        if stage.parameterisation.name != FULL:
            return (stage,)
        made = part.create(**given)
        if hasattr(made, "expand"):
            return tuple(made.expand(stage, left if stage.share is None else stage.share))
        return (replace(stage, parameterisation=made),)
    if stage.optimiser.name != ADAMW:
        return (stage,)
    part.resolve(given)
    taken_over = {"learning_rate": stage.optimiser.learning_rate, "schedule": stage.optimiser.schedule}  # type: ignore[attr-defined]
    return (replace(stage, optimiser=part.build(**taken_over, **given)),)


def _entry(name: str, method: Entry[Pipeline], parts: list[Part]) -> Entry[Pipeline]:
    fields: dict[str, Any] = {}
    for key, info in method.schema.model_fields.items():
        fields[key] = _scaled(info, parts)
    renamed = []
    for part in parts:
        names = {}
        for key, info in part.schema.model_fields.items():
            names[key] = key if key not in fields else f"{_plain(part.name)}_{key}"
            if names[key] in fields:
                raise UserError(f"{name} refused: {part.name!r} and {method.name!r} both have a {names[key]!r}.")
            fields[names[key]] = _field(info, info.default, info.metadata)
        renamed.append((part, names))
    config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    schema: type[BaseModel] = create_model(f"{name}_configuration", __config__=config, **fields)
    version = method.version
    for part in parts:
        version = version * _VERSIONS + part.version
    with_parts = ", ".join(part.name for part in parts)
    summary = f"{method.summary.rstrip('.')}; with {with_parts} ({'; '.join(p.summary.rstrip('.') for p in parts)})."
    sources = "; ".join(source for source in (method.source, *(part.source for part in parts)) if source)
    build = _Build(method, tuple(renamed))
    return Entry("method", name, version, build, schema, summary, method.module, sources)


def _scaled(info: FieldInfo, parts: list[Part]) -> Any:
    """A method's field with its default and search range times the parts' factors, if it is one that they scale."""
    kind = next((mark.kind for mark in info.metadata if isinstance(mark, Scaled)), None)
    times = 1.0
    for part in parts:
        if kind is not None and kind in part.scales:
            times *= part.scales[kind].times
    if times == 1.0:
        return _field(info, info.default, info.metadata)
    metadata = [_moved(mark, times) if isinstance(mark, Search) else mark for mark in info.metadata]
    return _field(info, _rounded(info.default * times), metadata)


def _moved(search: Search, times: float) -> Search:
    if search.low is None or search.high is None:
        return search
    return replace(search, low=_rounded(search.low * times), high=_rounded(search.high * times))


def _rounded(value: float) -> float:
    """Without the last digits that a product of decimal fractions leaves."""
    return float(f"{value:.12g}")


def _field(info: FieldInfo, default: Any, metadata: list[Any]) -> Any:
    annotation: Any = Annotated[(info.annotation, *metadata)] if metadata else info.annotation  # type: ignore[misc]
    return (annotation, default)


def _plain(name: str) -> str:
    return name.rpartition(":")[2].replace("-", "_")


def nearest_parameterisations(refused: str) -> list[str]:
    """Every other parameterisation, `full` first: what is tried when one is refused."""
    return [FULL, *(name for name in parameterisations() if name not in (FULL, refused))]


def nearest_optimisers(refused: str) -> list[str]:
    """Every other gradient optimiser, `adamw` first."""
    return [ADAMW, *(name for name in optimisers() if name not in (ADAMW, refused))]
