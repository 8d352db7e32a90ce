"""Puts a run's settings together.

Order: default.yaml and the method's own defaults < environment < task < algorithm (its bases first) < preset <
command line.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.paths import config_root, make_host_importable
from epymarl_lmac.settings.checks import suggestion
from epymarl_lmac.settings.command_line import COMMAND_LINE, at_path, leaves, read_updates, set_at_path
from epymarl_lmac.settings.fields import Setting, defaults_of, settings_of
from epymarl_lmac.settings.files import ALGS, ENVS, Layer, layers, merged, read_yaml
from epymarl_lmac.settings.renamed import current_names
from epymarl_lmac.settings.schema import RUN_SETTINGS, RunSettings, Settings, freeze

METHOD_REGISTRIES = {
    "learner": "learners",
    "mac": "controllers",
    "agent": "modules.agents",
    "mixer": "modules.mixers",
    "comm": "modules.comm",
    "action_selector": "components.action_selectors",
}
OPTIONAL_PARTS = ("mixer", "comm")  # null leaves them out


@dataclass
class Assembled:
    """Settings put together but not checked, and where each was stated."""

    values: dict[str, Any]
    schema: dict[str, Setting]  # of the chosen method, beyond RunSettings
    origins: dict[str, str] = field(default_factory=dict)


def method_schema(values: Mapping[str, Any]) -> dict[str, Setting]:
    """Returns the settings of a run's learner, controller, agent, mixer, communication and action selector, by key.

    Raises:
        SettingsError: a name that is in no registry, or two definitions of one setting that differ.
    """
    make_host_importable()
    found: dict[str, Setting] = {}
    for key, module in METHOD_REGISTRIES.items():
        name = values.get(key)
        if name is None and key in OPTIONAL_PARTS:
            continue
        registry = importlib.import_module(module).REGISTRY
        if name not in registry:
            raise SettingsError(
                f"{key}={name!r} is not registered{suggestion(str(name), registry)} "
                f"Choose one of: {', '.join(sorted(registry))}.",
                key,
            )
        schema: type | None = getattr(registry[name], "SETTINGS", None)
        for item in () if schema is None else settings_of(schema):
            _refuse_redefined(item, f"{key}={name}", found)
            found[item.key] = item
    return {key: item for key, item in found.items() if key not in RUN_SETTINGS}


def _refuse_redefined(item: Setting, part: str, found: Mapping[str, Setting]) -> None:
    """Raises SettingsError if a part gives a default to a setting that is defined elsewhere with another one."""
    other = RUN_SETTINGS.get(item.key) or found.get(item.key)
    if other is not None and item.default is not dataclasses.MISSING and item.default != other.default:
        raise SettingsError(
            f"{part} defines the setting {item.key!r} with default {item.default!r}, which is defined with "
            f"{other.default!r} elsewhere; rename it, or state the value in the algorithm's yaml.",
            item.key,
        )


def method_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the defaults of a method's own settings; raises as ``method_schema``."""
    return _defaults(method_schema(values))


def _defaults(schema: Mapping[str, Setting]) -> dict[str, Any]:
    return {key: item.default for key, item in schema.items() if item.default is not dataclasses.MISSING}


def _default_layer() -> Layer:
    path = config_root() / "default.yaml"
    return Layer(path.name, {**defaults_of(RunSettings), **read_yaml(path)})


def _flat_updates(updates: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Returns the command line's updates by dotted key, under today's names."""
    pairs = current_names(read_updates(updates), COMMAND_LINE)
    for key, flag in (("config", ALGS.flag), ("env_config", ENVS.flag)):
        if key in pairs:
            raise SettingsError(f"{key!r} is chosen by {flag}, not after `with`.", key)
    return pairs


def _layers(alg: str, env: str, pairs: Mapping[str, Any]) -> list[Layer]:
    """Returns what default.yaml, the environment's files and the algorithm's files state, in order of precedence."""
    default = _default_layer()
    chosen = {kind.variant: pairs.get(kind.variant, default.values[kind.variant]) for kind in (ENVS, ALGS)}
    for key, name in chosen.items():
        if not isinstance(name, str):
            raise SettingsError(f"{key}={name!r} must be of type str ({COMMAND_LINE}).", key)
    return [default, *layers(ENVS, env, chosen["task"]), *layers(ALGS, alg, chosen["preset"])]


def assemble(alg: str, env: str, updates: Iterable[str] | Mapping[str, Any] = ()) -> Assembled:
    """Returns a run's settings before they are checked; see ``merge``."""
    pairs = _flat_updates(updates)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in _layers(alg, env, pairs):
        values = merged(values, layer.values)
        origins.update(dict.fromkeys(layer.values, layer.origin))
    values.update({"config": alg, "env_config": env})
    if origins["name"] != f"algs/{alg}.yaml":  # a base's name is not this file's
        values["name"] = alg
    schema = method_schema({**values, **{key: pairs[key] for key in METHOD_REGISTRIES if key in pairs}})
    for key in values:
        if key not in RUN_SETTINGS and key not in schema:
            known = [*RUN_SETTINGS, *schema]
            raise SettingsError(f"Unknown setting {key!r} in {origins[key]}{suggestion(key, known)}", key)
    found = Assembled(copy.deepcopy({**_defaults(schema), **values}), schema, origins)
    _update(found, pairs)
    return found


def _update(found: Assembled, pairs: Mapping[str, Any]) -> None:
    """Lays the command line over the files."""
    for key, value in pairs.items():
        for path, leaf in leaves(key, value, at_path(found.values, key)):
            set_at_path(found.values, path, copy.deepcopy(leaf))
        found.origins[key.partition(".")[0]] = COMMAND_LINE


def merge(alg: str, env: str, updates: Iterable[str] | Mapping[str, Any] = ()) -> dict[str, Any]:
    """Returns the merged values of a run, in the order that this module's docstring states.

    Args:
        alg: name of a file in ``config/algs``.
        env: name of a file in ``config/envs``.
        updates: ``key=value`` texts, or a mapping; keys may be dotted, mappings nested.

    Raises:
        SettingsError: unknown names or keys, each with the nearest known one.
    """
    return assemble(alg, env, updates).values


def load_settings(alg: str, env: str, updates: Iterable[str] | Mapping[str, Any] = ()) -> Settings:
    """Returns the checked settings of a run; see ``merge`` and ``freeze``."""
    found = assemble(alg, env, updates)
    return freeze(found.values, found.schema, found.origins)


def recorded_run(saved: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Returns what makes the settings of a recorded run again: algorithm's file, environment's file, updates.

    Args:
        saved: the ``settings`` of its record; sizes and other values that are no settings are left out.

    Raises:
        SettingsError: its method is not registered any more.
    """
    values = {**defaults_of(RunSettings), **current_names(saved, "the record")}
    known = {*RUN_SETTINGS, *method_schema(values)}
    alg, env = values.pop("config") or values["name"], values.pop("env_config") or values["env"]
    return alg, env, {key: value for key, value in values.items() if key in known}
