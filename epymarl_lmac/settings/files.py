"""The yaml files: found by name, read, and resolved along their bases, with a preset or a task on top.

An algorithm's file states what differs from its ``base`` (another algorithm's file), which states what differs from
its own base, and in the end from the defaults. ``presets`` are named variants of an algorithm, ``tasks`` named tasks
of an environment; each holds the settings that differ from the file they stand in. They are not inherited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.paths import config_root
from epymarl_lmac.plugin.entry_points import plugin_config_roots
from epymarl_lmac.settings.checks import suggestion
from epymarl_lmac.settings.renamed import current_names
from epymarl_lmac.settings.schema import COMMON

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C where PyYAML has it
BASE = "base"
ON_THE_COMMAND_LINE = ("preset", "task", "config", "env_config")  # settings that no file states


@dataclass(frozen=True)
class Kind:
    """One of the two kinds of files."""

    folder: str  # under config/
    what: str  # for messages
    flag: str  # of the command line
    variants: str  # key under which a file holds its named variants
    variant: str  # one of them, and the setting that chooses it


ALGS = Kind("algs", "algorithm", "--config", "presets", "preset")
ENVS = Kind("envs", "environment", "--env-config", "tasks", "task")


@dataclass(frozen=True)
class Layer:
    """What one file, or one of its variants, states."""

    origin: str  # for messages, e.g. "algs/qmix.yaml"
    values: dict[str, Any]


def config_files(folder: str) -> dict[str, Path]:
    """Returns the files of ``config/algs`` or ``config/envs`` by name, those of third-party packages included.

    Raises:
        SettingsError: two of them have one name.
    """
    files: dict[str, Path] = {}
    for root in (config_root(), *plugin_config_roots()):
        for path in (root / folder).glob("*.yaml"):
            if path.stem in files:
                raise SettingsError(f"{path} and {files[path.stem]} have one name; rename the package's file.")
            files[path.stem] = path
    return dict(sorted(files.items()))


def algorithms() -> list[str]:
    """Returns the names for ``--config``."""
    return list(config_files(ALGS.folder))


def environments() -> list[str]:
    """Returns the names for ``--env-config``."""
    return list(config_files(ENVS.folder))


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns a file's content.

    Raises:
        SettingsError: it is not yaml, or holds no keys and values.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except yaml.YAMLError as err:
        raise SettingsError(f"{path.name} is not valid yaml: {err}") from err
    return _mapping(content, path.name)


def _mapping(content: Any, origin: str, key: str = "") -> dict[str, Any]:
    if not isinstance(content, dict):
        raise SettingsError(f"{origin} must hold keys and values, found {type(content).__name__}.", key)
    return content


def _read_named(kind: Kind, name: str, asked_by: str) -> dict[str, Any]:
    known = config_files(kind.folder)
    if name not in known:
        if asked_by == kind.flag:
            text = f"Unknown {kind.what} {name!r}{suggestion(name, known)} {kind.flag} takes one of"
        else:
            text = f"{asked_by} has the unknown base {name!r}{suggestion(name, known)} Choose one of"
        raise SettingsError(f"{text}: {', '.join(known)}.", asked_by if asked_by == kind.flag else BASE)
    return read_yaml(known[name])


def bases(kind: Kind, name: str) -> list[str]:
    """Returns the chain of files that a file builds on: the first base first, the file itself last.

    Raises:
        SettingsError: an unknown base, or bases that form a cycle.
    """
    chain: list[str] = []
    asked_by, current = kind.flag, name
    while True:
        if current in chain:
            cycle = " -> ".join([*chain[chain.index(current) :], current])
            raise SettingsError(f"The bases of {kind.folder}/{name}.yaml form a cycle: {cycle}. Remove one.", BASE)
        values = _read_named(kind, current, asked_by)
        chain.append(current)
        if BASE not in values:
            return chain[::-1]
        base = values[BASE]
        asked_by = f"{kind.folder}/{current}.yaml"
        if not isinstance(base, str):
            raise SettingsError(f"base={base!r} in {asked_by} must be the name of one {kind.what}'s file.", BASE)
        current = base


def variants(kind: Kind, name: str) -> dict[str, dict[str, Any]]:
    """Returns the presets of an algorithm's file or the tasks of an environment's, by name.

    Raises:
        SettingsError: they are not keys and values.
    """
    origin = f"{kind.folder}/{name}.yaml"
    found = _mapping(_read_named(kind, name, kind.flag).get(kind.variants) or {}, f"{kind.variants} in {origin}")
    if COMMON in found:
        raise SettingsError(f"{origin} has a {kind.variant} {COMMON!r}, the name of the file itself; rename it.")
    return {
        str(key): _mapping(values or {}, f"{kind.variant} {key} in {origin}", kind.variant)
        for key, values in found.items()
    }


def layers(kind: Kind, name: str, variant: str = "") -> list[Layer]:
    """Returns what a file's bases, the file and one of its variants state, in this order.

    Args:
        kind: which kind of file.
        name: of the file.
        variant: a preset's or task's name; "" or "common" for none.

    Raises:
        SettingsError: an unknown name, base or variant, a cycle of bases, or a key that no file may state.
    """
    found = []
    for member in bases(kind, name):
        own = dict(_read_named(kind, member, kind.flag))
        for key in (BASE, kind.variants):
            own.pop(key, None)
        found.append(_layer(f"{kind.folder}/{member}.yaml", own))
    if variant not in ("", COMMON):
        known = variants(kind, name)
        if variant not in known:
            has = f"It has: {', '.join(known)}." if known else f"It has no {kind.variants}."
            raise SettingsError(
                f"{kind.folder}/{name}.yaml has no {kind.variant} {variant!r}{suggestion(variant, known)} {has}",
                kind.variant,
            )
        found.append(_layer(f"{kind.variant} {variant} in {kind.folder}/{name}.yaml", known[variant]))
    return found


def _layer(origin: str, values: Mapping[str, Any]) -> Layer:
    for key in ON_THE_COMMAND_LINE:
        if key in values:
            raise SettingsError(f"{origin} states {key!r}, which is chosen on the command line only.", key)
    if not isinstance(values.get("env_args", {}), dict):
        text = f"env_args in {origin} must hold keys and values, got {values['env_args']!r}."
        raise SettingsError(text, "env_args")
    return Layer(origin, current_names(values, origin))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with others laid over them; ``env_args`` are laid over key by key, to any depth."""
    result = dict(below)
    for key, value in above.items():
        if key == "env_args" and isinstance(result.get(key), Mapping) and isinstance(value, Mapping):
            result[key] = _merged_deep(result[key], value)
        else:
            result[key] = value
    return result


def _merged_deep(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        both = isinstance(result.get(key), Mapping) and isinstance(value, Mapping)
        result[key] = _merged_deep(result[key], value) if both else value
    return result


def flat_values(kind: Kind, name: str, variant: str = "") -> dict[str, Any]:
    """Returns what a file states with its bases and variant resolved; defaults are not among it."""
    values: dict[str, Any] = {}
    for layer in layers(kind, name, variant):
        values = merged(values, layer.values)
    return values
