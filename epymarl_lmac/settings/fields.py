"""One setting in one statement: its default, its meaning, its bounds, and how it may change.

A run's settings and a method's own settings are frozen dataclasses whose fields come from ``setting``. Defaults, type
and bound checks, ``config/default.yaml`` and ``docs/settings.md`` all follow from them.
"""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """What is known of one setting.

    Attributes:
        key: its name.
        kind: its type, as annotated.
        default: the value where nothing states another.
        meaning: one sentence, with the unit.
        low: smallest value allowed, or None.
        high: largest value allowed, or None.
        above: value that must be exceeded, or None.
        choices: values allowed, or None for all.
        resume: whether it may differ between a run and its continuation.
        host: whether the host's own value holds where a foreign host runs the method.
        runner: whether it says how our own runners play; such a setting is never written into a host's files.
        section: heading under which it is listed, "" for that of the field before it.
    """

    key: str
    kind: Any
    default: Any
    meaning: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[Any, ...] | None = None
    resume: bool = False
    host: bool = False
    runner: bool = False
    section: str = ""


def setting(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[Any, ...] | None = None,
    resume: bool = False,
    host: bool = False,
    runner: bool = False,
    section: str = "",
) -> Any:
    """Returns a field of a settings dataclass; see ``Setting`` for the arguments.

    Raises:
        ValueError: no meaning was given.
    """
    if not meaning.strip():
        raise ValueError("A setting needs a meaning: one sentence, with the unit.")
    facts = {
        "meaning": meaning,
        "low": low,
        "high": high,
        "above": above,
        "choices": tuple(choices) if choices is not None else None,
        "resume": resume,
        "host": host or runner,
        "runner": runner,
        "section": section,
    }
    if isinstance(default, (dict, list, set)):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=facts)
    return dataclasses.field(default=default, metadata=facts)


def settings_of(schema: type) -> Iterator[Setting]:
    """Yields the settings of a dataclass of ``setting`` fields, in order.

    A plain field without default has ``dataclasses.MISSING`` there: a yaml must state it.
    """
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        yield Setting(field.name, hints[field.name], default, **{"meaning": "", **field.metadata})


def defaults_of(schema: type) -> dict[str, Any]:
    """Returns the defaults of a settings dataclass by key; fields without default are left out."""
    return {item.key: item.default for item in settings_of(schema) if item.default is not dataclasses.MISSING}
