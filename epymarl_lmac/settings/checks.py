"""Type and bounds of one setting's value; the nearest known name for a wrong one."""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.settings.fields import Setting


def suggestion(key: str, known: Iterable[str]) -> str:
    """Returns "; did you mean ...?" for the nearest known key, or a full stop."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else "."


def _fits(value: Any, expected: Any) -> bool:
    if isinstance(expected, types.UnionType) or typing.get_origin(expected) is typing.Union:
        return any(_fits(value, option) for option in typing.get_args(expected))
    expected = typing.get_origin(expected) or expected
    if expected is Any:
        return True
    if expected is type(None):
        return value is None
    if expected is bool:
        return isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    if expected is dict:
        return isinstance(value, Mapping)
    if expected in (list, tuple):
        return isinstance(value, (list, tuple))
    return isinstance(value, expected)


def type_name(kind: Any) -> str:
    """Returns a type as the yaml's reader knows it."""
    is_plain = isinstance(kind, type) and not typing.get_args(kind)  # list[int] is a type as well in Python 3.10
    return kind.__name__ if is_plain else str(kind).replace("None", "null")


def bounds_text(item: Setting) -> str:
    """Returns what a value must satisfy beyond its type, e.g. "at least 1"; "" for nothing."""
    if item.choices is not None:
        return "one of: " + ", ".join(map(str, item.choices))
    if item.low is not None and item.high is not None:
        return f"between {item.low:g} and {item.high:g}"
    parts = []
    if item.above is not None:
        parts.append(f"greater than {item.above:g}")
    if item.low is not None:
        parts.append(f"at least {item.low:g}")
    if item.high is not None:
        parts.append(f"at most {item.high:g}")
    return " and ".join(parts)


def _in_bounds(item: Setting, value: Any) -> bool:
    if item.choices is not None and value not in item.choices:
        return False
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    return (
        (item.low is None or value >= item.low)
        and (item.high is None or value <= item.high)
        and (item.above is None or value > item.above)
    )


def check_value(item: Setting, value: Any, origin: str = "") -> None:
    """Checks one value.

    Args:
        item: the setting.
        value: its value.
        origin: the file or "command line" that states it, for the message; "" where unknown.

    Raises:
        SettingsError: another type, or a value out of bounds.
    """
    where = f" ({origin})" if origin else ""
    if not _fits(value, item.kind):
        raise SettingsError(f"{item.key}={value!r} must be of type {type_name(item.kind)}{where}.", item.key)
    if not _in_bounds(item, value):
        verb = "lie" if bounds_text(item).startswith("between") else "be"
        raise SettingsError(f"{item.key}={value} must {verb} {bounds_text(item)}{where}.", item.key)


def check_all(values: Mapping[str, Any], known: Mapping[str, Setting], origins: Mapping[str, str]) -> None:
    """Raises SettingsError for an unknown key, a missing key, or a value of another type or out of bounds."""
    for key in values:
        if key not in known:
            where = f" in {origins[key]}" if key in origins else ""
            raise SettingsError(f"Unknown setting {key!r}{where}{suggestion(key, known)}", key)
    for key, item in known.items():
        if key in values:
            check_value(item, values[key], origins.get(key, ""))
        else:
            raise SettingsError(f"Setting {key!r} is missing; give it in the algorithm's or environment's yaml.", key)
