"""`peft:<type>`: any of PEFT's tuners, by its own configuration fields under their own names.

`peft:vera+sft -p r=64` sets VeraConfig's `r`. An unknown type or field is refused with the nearest there is, a value by
PEFT's own check. Where the configuration has target modules and none are given, they are all linear layers; virtual
tokens are 20 where PEFT has no number of its own.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.errors import PydanticSchemaGenerationError

from harness.errors import UserError, unknown
from harness.parts import Part, parameterisation_family
from methods.parameterisations.lora import TENFOLD
from methods.parameterisations.tuner import Tuner

_OURS = {
    "peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "peft_version",
}  # fmt: skip
_DEFAULTS: dict[str, Any] = {"target_modules": "all-linear", "num_virtual_tokens": 20, "total_step": 1000}
"""Where PEFT's own default is None and a run needs a value."""
_TARGETS = {"ln_tuning": r".*(norm|ln_?[0-9f]*)[^.]*$", "trainable_tokens": None}
"""Target modules of tuners that adapt no linear layers."""
_NOT_HERE = {
    "multitask_prompt_tuning": "it needs a task's number with every text",
    "poly": "it needs a task's number with every text",
    "cpt": "it needs the kind of every token",
    "cartridge": "it needs a cache of a text",
    "xlora": "it needs trained adapters: use mole",
    "shadow": "its layers hand on more than hidden states, which decoding with a cache does not know",
    "adalora": "its rank schedule follows the budget: use adalora",
}
_UNMERGEABLE = frozenset({"prompt_tuning", "p_tuning", "prefix_tuning", "adaption_prompt", "beft", "lily"})


@parameterisation_family("peft")
def peft_type(subject: str) -> Part:
    """Any tuner of PEFT by its own fields: peft:hira, peft:boft, peft:randlora, ..."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    from harness.parts import parameterisations

    ours = {part.name.replace("-", "_") for part in parameterisations().values() if part.tuner is not None}
    known = {
        kind.value.lower(): config
        for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if kind.value.lower() not in ours
    }
    key = subject.lower().replace("-", "_")
    if key not in known:
        raise unknown("type of PEFT", subject, known)
    if key in _NOT_HERE:
        raise UserError(f"peft:{subject} is not possible here: {_NOT_HERE[key]}.")
    schema = _schema(key, known[key])
    version = int("".join(f"{int(part):02d}" for part in _peft_version().split(".")[:2]))

    def build(**fields: Any) -> Tuner:
        chosen = {name: value for name, value in fields.items() if value != schema.model_fields[name].default}
        tuner = Tuner(
            name=f"peft:{subject}",
            peft_type=key.upper(),
            fields=fields,
            shown=chosen,
            mergeable=key not in _UNMERGEABLE,
            targets=None,
        )
        try:
            tuner.configuration(None)
        except (ValueError, TypeError) as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise UserError(f"peft:{subject}: {reason}.") from None
        return tuner

    summary = f"PEFT's {known[key].__name__} by its own fields."
    return Part(
        "parameterisation", f"peft:{subject}", version, build, schema, summary, __name__, "PEFT " + _peft_version(),
        scales=TENFOLD,
    )  # fmt: skip


def _peft_version() -> str:
    import peft

    return str(peft.__version__)


def _schema(key: str, config: type) -> type[BaseModel]:
    """The configuration's own fields with their types, where pydantic knows them, and defaults."""
    hints = typing.get_type_hints(config)
    fields: dict[str, Any] = {}
    for one in dataclasses.fields(config):
        if one.name in _OURS:
            continue
        default = one.default if one.default is not dataclasses.MISSING else None
        if default is None and one.default_factory is not dataclasses.MISSING:
            default = one.default_factory()
        if default is None and one.name in _DEFAULTS:
            default = _TARGETS.get(key, _DEFAULTS[one.name]) if one.name == "target_modules" else _DEFAULTS[one.name]
        if dataclasses.is_dataclass(default) or not _plain(default):
            continue
        annotation = hints.get(one.name, Any)
        if default is None:
            annotation = annotation | None if annotation is not Any else Any
        text = str(one.metadata.get("help", "")).strip().split("\n")[0]
        fields[one.name] = (typing.Annotated[_known(annotation), text], default)
    frozen = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), arbitrary_types_allowed=True)
    return create_model(f"{key}_configuration", __config__=frozen, **fields)


def _plain(value: Any) -> bool:
    """Whether a default can stand in a record."""
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(one) for key, one in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def _known(annotation: Any) -> Any:
    """The annotation if it is made of plain types, else Any: PEFT checks the rest itself."""
    try:
        create_model("probe", value=(annotation, None))
    except (PydanticSchemaGenerationError, TypeError):
        return Any
    origin = typing.get_origin(annotation)
    parts = typing.get_args(annotation)
    if origin is None:
        return annotation if annotation in (bool, int, float, str, type(None)) else Any
    return annotation if origin is typing.Literal or all(_known(part) is not Any for part in parts) else Any
