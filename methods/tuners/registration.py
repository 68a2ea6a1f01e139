"""New adapter types for PEFT: registered once, then `get_peft_model`, saving and loading know them like PEFT's own.

PEFT keeps its types in an enumeration that `register_peft_method` does not extend, so the member is added here.
"""

from __future__ import annotations

from typing import Any

from peft.utils import PeftType, register_peft_method


def register(name: str, configuration: type, model: type, prefix: str) -> None:
    """Make PEFT know `name` (lower case, with underscores); a second call does nothing."""
    value = name.upper()
    if value in PeftType.__members__:
        return
    member: Any = str.__new__(PeftType, value)
    member._name_, member._value_ = value, value
    PeftType._member_names_.append(value)
    PeftType._member_map_[value] = member
    PeftType._value2member_map_[value] = member
    register_peft_method(name=name, config_cls=configuration, model_cls=model, prefix=prefix)
