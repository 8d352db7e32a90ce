"""The command line's ``with key=value ...``: split off, read, and laid over the settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.settings.checks import suggestion

COMMAND_LINE = "command line"
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)[eE][+-]?\d+")


def split_argv(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line at the first ``with``: what stands before it, and the settings after it."""
    argv = list(argv)
    if "with" not in argv:
        return argv, []
    at = argv.index("with")
    return argv[:at], argv[at + 1 :]


def assignment(key: str, value: Any) -> str:
    """Returns ``key=value`` so that ``parse_update`` reads the value back: strings are quoted where they need it."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return f"{key}={text.removesuffix('...' + chr(10)).strip()}"


def parse_update(text: str) -> tuple[str, Any]:
    """Splits ``key=value`` (``env_args.key.key=value``); the value is read as yaml.

    Raises:
        SettingsError: no ``=`` in the text, or a value that is not yaml.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"{text!r} is not of the form key=value.", text)
    try:
        return key.strip(), _number(yaml.safe_load(value))
    except yaml.YAMLError as err:
        raise SettingsError(f"The value of {key!r} cannot be read: {value!r}.", key) from err


def _number(value: Any) -> Any:
    """Returns a float for texts such as 5e-4, which yaml 1.1 reads as text."""
    if isinstance(value, str) and (_NUMBER.fullmatch(value) or value.lower() in ("inf", "-inf", "nan")):
        return float(value)
    return value


def read_updates(updates: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Returns updates by dotted key; of two for one key the last holds."""
    if isinstance(updates, Mapping):
        return dict(updates)
    return dict(parse_update(text) for text in updates)


def leaves(key: str, value: Any, below: Any) -> Iterable[tuple[str, Any]]:
    """Yields the dotted keys that an update sets: a mapping over a mapping is laid over it key by key."""
    if isinstance(value, Mapping) and isinstance(below, Mapping):
        for name, item in value.items():
            yield from leaves(f"{key}.{name}", item, below.get(name))
    else:
        yield key, value


def dotted_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns all keys of nested settings in dotted form, inner ones included."""
    found = []
    for key, value in values.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            found += dotted_keys(value, f"{prefix}{key}.")
    return found


def at_path(values: Mapping[str, Any], path: str) -> Any:
    """Returns the value at a dotted key, None where there is none."""
    node: Any = values
    for name in path.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def set_at_path(values: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a dotted key that exists.

    Raises:
        SettingsError: it does not, with the nearest that does.
    """
    known = dotted_keys(values)
    if path not in known:
        raise SettingsError(f"Unknown setting {path!r}{suggestion(path, known)}", path)
    *outer, last = path.split(".")
    node = values
    for name in outer:
        node = node[name]
    node[last] = value
