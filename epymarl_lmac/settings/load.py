"""Reads and merges the yaml files and the command line's updates."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.paths import config_root, source_root
from epymarl_lmac.plugin.entry_points import plugin_config_roots
from epymarl_lmac.settings.schema import RunSettings, Settings, freeze, suggestion, types_of

_METHOD_REGISTRIES = {
    "learner": "learners",
    "mac": "controllers",
    "agent": "modules.agents",
    "mixer": "modules.mixers",
    "comm": "modules.comm",
}


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
    return list(config_files("algs"))


def environments() -> list[str]:
    """Returns the names for ``--env-config``."""
    return list(config_files("envs"))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as err:
        raise SettingsError(f"{path.name} is not valid yaml: {err}") from err
    if not isinstance(content, dict):
        raise SettingsError(f"{path.name} must hold keys and values, found {type(content).__name__}.")
    return content


def _read_named(folder: str, name: str, what: str, flag: str) -> dict[str, Any]:
    known = config_files(folder)
    if name not in known:
        raise SettingsError(
            f"Unknown {what} {name!r}{suggestion(name, known)} {flag} takes one of: {', '.join(known)}.", flag
        )
    return _read(known[name])


def parse_update(text: str) -> tuple[str, Any]:
    """Splits ``key=value`` (``env_args.key=value``); the value is read as yaml.

    Raises:
        SettingsError: no ``=`` in the text, or a value that is not yaml.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SettingsError(f"{text!r} is not of the form key=value.", text)
    try:
        return key.strip(), _number(yaml.safe_load(value))
    except yaml.YAMLError as err:
        raise SettingsError(f"The value of {key!r} cannot be read: {value!r}.", key) from err


def _number(value: Any) -> Any:
    """Returns a float for texts such as 5e-4, which yaml 1.1 reads as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def merge(alg: str, env: str, updates: Iterable[str] | Mapping[str, Any] = ()) -> dict[str, Any]:
    """Returns the merged values of a run: default < environment < algorithm < updates.

    Args:
        alg: name of a file in ``config/algs``.
        env: name of a file in ``config/envs``.
        updates: ``key=value`` texts, or a mapping with nested ``env_args``.

    Raises:
        SettingsError: unknown names or keys, each with the nearest known one.
    """
    values = _read(config_root() / "default.yaml")
    env_values = _read_named("envs", env, "environment", "--env-config")
    alg_values = _read_named("algs", alg, "algorithm", "--config")
    for source, extra in ((f"envs/{env}.yaml", env_values), (f"algs/{alg}.yaml", alg_values)):
        env_args = extra.get("env_args", {})
        if not isinstance(env_args, dict):
            raise SettingsError(f"env_args in {source} must hold keys and values, got {env_args!r}.", "env_args")
        values = {**values, **extra, "env_args": {**values["env_args"], **env_args}}
    pairs = list(updates.items()) if isinstance(updates, Mapping) else [parse_update(text) for text in updates]
    known = [*values, *(f"env_args.{key}" for key in values["env_args"])]
    for key, value in pairs:
        nested = value.items() if key == "env_args" and isinstance(value, Mapping) else None
        for path, item in [(f"env_args.{k}", v) for k, v in nested] if nested is not None else [(key, value)]:
            if path not in known or path == "env_args":
                raise SettingsError(f"Unknown setting {path!r}{suggestion(path, known)}", path)
            if path.startswith("env_args."):
                values["env_args"][path.removeprefix("env_args.")] = item
            else:
                values[path] = item
    return copy.deepcopy(values)


def method_schema(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns name and type of the keys that a run's learner, controller, agent and mixer read.

    Raises:
        SettingsError: a name that is in no registry.
    """
    root = str(source_root())
    if root not in sys.path:
        sys.path.insert(0, root)
    expected: dict[str, Any] = {}
    for key, module in _METHOD_REGISTRIES.items():
        name = values.get(key)
        if name is None and key in ("mixer", "comm"):
            continue
        registry = importlib.import_module(module).REGISTRY
        if name not in registry:
            raise SettingsError(
                f"{key}={name!r} is not registered{suggestion(str(name), registry)} "
                f"Choose one of: {', '.join(sorted(registry))}.",
                key,
            )
        schema: type | None = getattr(registry[name], "SETTINGS", None)
        if schema is not None:
            expected.update(types_of(schema))
    return expected


def load_settings(alg: str, env: str, updates: Iterable[str] | Mapping[str, Any] = ()) -> Settings:
    """Returns the checked settings of a run; see ``merge`` and ``freeze``."""
    values = merge(alg, env, updates)
    unknown_here = set(values) - set(types_of(RunSettings))
    schema = method_schema(values)
    for key in unknown_here - set(schema):
        known = [*types_of(RunSettings), *schema]
        raise SettingsError(f"Unknown setting {key!r} in {alg}.yaml or {env}.yaml{suggestion(key, known)}", key)
    return freeze(values, schema)
