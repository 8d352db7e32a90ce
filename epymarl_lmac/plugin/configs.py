"""Our config files as a host reads them: flat, with bases and presets resolved and a method's defaults written out.

A host merges default.yaml < envs/ENV.yaml < algs/ALG.yaml, as we do, but its default.yaml lacks our settings and has
other values for some. So every algorithm's file carries along what our default.yaml says about learning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from epymarl_lmac.plugin.bridge import ENVIRONMENT_SETTINGS, learning_defaults
from epymarl_lmac.plugin.host import REGISTRIES, Host
from epymarl_lmac.settings.files import ALGS, ENVS, config_files, flat_values, variants
from epymarl_lmac.settings.load import method_defaults
from epymarl_lmac.settings.schema import RUN_SETTINGS, RUNNERS

HEADER = """# Written by "epymarl-lmac attach" from config/{source}, taken out by "epymarl-lmac detach".
# Keys are explained in epymarl-lmac's docs/settings.md. To change one for good, copy this file under another name.
"""
LABELS = ("map_name", "key")  # hosts name a run's folder after one of these arguments and need it to be there


def flat_algorithms() -> dict[str, dict[str, Any]]:
    """Returns what each algorithm's file states, bases resolved; a preset is a further one, ALG-PRESET."""
    found = {}
    for name in config_files(ALGS.folder):
        found[name] = flat_values(ALGS, name)
        for preset in variants(ALGS, name):
            found[f"{name}-{preset}"] = flat_values(ALGS, name, preset)
    return found


def flat_environments() -> dict[str, dict[str, Any]]:
    """Returns what each environment's file states, bases resolved; its tasks are left out."""
    defaults = {key: RUN_SETTINGS[key].default for key in ("env", "env_args")}
    return {name: {**defaults, **flat_values(ENVS, name)} for name in config_files(ENVS.folder)}


def _dump(values: Mapping[str, Any], source: str) -> bytes:
    return (HEADER.format(source=source) + yaml.safe_dump(dict(values), sort_keys=False)).encode()


def left_to_environments(env_values: list[Mapping[str, Any]], host_defaults: Mapping[str, Any]) -> set[str]:
    """Returns the settings that are null in an algorithm's file, so that an environment of ours can set them.

    A host lets the algorithm's file win over the environment's, and Sacred refuses keys on the command line that no
    file has. So these settings are null there, and an environment's values for them are in a key of their own: the
    bridge takes the command line's value, else the environment's, else our default. That works for settings that
    only our code reads, those that the host's default.yaml lacks.
    """
    return {key for values in env_values for key in values if key not in host_defaults and key in learning_defaults()}


def algorithm_file(
    name: str,
    file_name: str,
    values: Mapping[str, Any],
    host: Host,
    keys: Mapping[str, Mapping[str, str]],
    left_open: set[str],
) -> bytes:
    """Returns the content of a host's ``config/algs`` file.

    Args:
        name: of the algorithm in the host.
        file_name: of our algorithm, see ``flat_algorithms``.
        values: what our file states.
        host: what kind of host it is.
        keys: registry kind -> {our name: name in the host}.
        left_open: settings that are null, see ``left_to_environments``.
    """
    ours = {**learning_defaults(), **values}
    defaults = {key: None if key in left_open else value for key, value in learning_defaults().items()}
    merged = {**defaults, **method_defaults(ours), **values}
    merged = {key: value for key, value in merged.items() if key not in RUNNERS}
    for registry in REGISTRIES:
        if merged.get(registry.setting) is not None and registry.setting != "env":
            entry = merged[registry.setting]
            merged[registry.setting] = keys[registry.kind].get(entry, entry)
    merged["name"] = name
    return _dump({host.renamed.get(key, key): value for key, value in merged.items()}, f"algs/{file_name}.yaml")


def environment_file(key: str, file_name: str, values: Mapping[str, Any], host: Host, left_open: set[str]) -> bytes:
    """Returns the content of a host's ``config/envs`` file.

    Args:
        key: the environment's name in the host's registry.
        file_name: name of our file, without its ending.
        values: our file's values.
        host: what kind of host it is.
        left_open: settings that algorithms' files leave to it, see ``left_to_environments``.
    """
    kept = {name: value for name, value in values.items() if name not in RUNNERS | left_open}
    env_args = dict(values["env_args"])
    if needs_label(env_args):
        env_args["map_name"] = key
    merged = {**kept, "env": key, "env_args": env_args}
    if left_open & set(values):
        merged[ENVIRONMENT_SETTINGS] = {name: values[name] for name in sorted(left_open & set(values))}
    return _dump({host.renamed.get(name, name): value for name, value in merged.items()}, f"envs/{file_name}.yaml")


def needs_label(env_args: Mapping[str, Any]) -> bool:
    """Returns whether an environment's arguments lack what a host names its folders after."""
    return not any(label in env_args for label in LABELS)
