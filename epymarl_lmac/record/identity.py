"""Which runs are the same experiment: hashes of the settings that change learning, and the names of those that differ.

``settings_hash`` leaves the seed out: runs that share it are repetitions of one experiment and may be averaged.
``run_id`` includes the seed. How a run is tested is kept apart (``evaluation``): it changes what is measured, not what
is learnt, but runs that differ in it cannot be averaged either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from epymarl_lmac.record.status import attempts_of
from epymarl_lmac.settings.schema import RESUMABLE

HASH_LENGTH = 12  # hexadecimal digits; 48 bits, so a million experiments collide with a chance of 1 in 500
EVALUATION = ("test_nepisode", "test_interval", "test_greedy", "evaluation_epsilon")
LOGGING = ("runner_log_interval", "learner_log_interval")
# Sizes that a run adds to its settings once the environment exists; they follow from the environment's settings.
DERIVED = ("state_shape", "obs_shape", "n_actions", "n_agents", "episode_limit", "device")
NOT_LEARNING = RESUMABLE | {"seed", *EVALUATION, *LOGGING, *DERIVED}


def learning_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that change what is learnt, ``env_args`` flattened to ``env_args.key``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if key in NOT_LEARNING:
            continue
        if isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": item for inner, item in value.items()})
        else:
            flat[key] = value
    return flat


def _plain_numbers(value: Any) -> Any:
    """Returns 1 for 1.0 and 0.001 for 1e-3, so that equal settings have equal texts."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _plain_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_numbers(item) for item in value]
    return value


def _digest(content: Any) -> str:
    text = json.dumps(_plain_numbers(content), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Returns the hash of every setting that changes learning, without the seed."""
    return _digest(learning_settings(settings))


def run_id(settings: Mapping[str, Any]) -> str:
    """Returns the hash of every setting that changes learning and of the seed."""
    return _digest({**learning_settings(settings), "seed": settings["seed"]})


def evaluation_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how a run is tested."""
    return {key: settings.get(key) for key in EVALUATION}


def protocol_fingerprint(manifest: Mapping[str, Any]) -> str:
    """Returns the hash of what agents are told by a bundle: its files, and how they are read. Scores do not count.

    Args:
        manifest: content of the bundle's ``manifest.yaml``.
    """
    return _digest({key: manifest.get(key) for key in ("sha256", "important_state", "history", "steps")})


def rules_of(run: Mapping[str, Any]) -> str | None:
    """Returns the environment rules that a run was played by, e.g. ``"lbf 1"``.

    A run that was resumed under other rules names all of them in order: ``"lbf 1, resumed under lbf 2"``.

    Args:
        run: the content of ``run.json``; without recorded rules None is returned.
    """
    names = dict.fromkeys(attempt.get("environment_rules") for attempt in attempts_of(run))
    return ", resumed under ".join(name for name in names if name) or None


def determinants(run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns everything recorded that two runs must share to be averaged.

    Args:
        run: the content of ``run.json``.

    Returns:
        Name -> value: the settings that change learning, how it is tested, the environment's rules and engine, and the
        fingerprint of the protocol that the agents use.
    """
    found = {**learning_settings(run["settings"]), **evaluation_of(run["settings"])}
    found["environment rules"] = rules_of(run)
    manifest = (run.get("communication") or {}).get("protocol")
    if manifest:
        found["protocol"] = protocol_fingerprint(manifest)
    return {key: _plain_numbers(value) for key, value in found.items()}


def experiment_key(run: Mapping[str, Any]) -> str:
    """Returns the hash of ``determinants``: runs with one key are repetitions that differ in their seed only."""
    return _digest(determinants(run))


def differing(runs: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Returns the determinants that are not the same in all runs, with their values in the order of the runs."""
    found = [determinants(run) for run in runs]
    keys = sorted({key for one in found for key in one})
    values = {key: [one.get(key) for one in found] for key in keys}
    return {key: several for key, several in values.items() if any(value != several[0] for value in several)}


def names_for(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a name for every run under which only repetitions meet.

    A run is named after its algorithm, its label and its task. Where that name would hide a difference, the settings
    that differ are added: ``qmix on lookout [lr=0.001]``.
    """
    plain = [_plain_name(run) for run in runs]
    full = list(plain)
    for name in set(plain):
        members = [index for index, other in enumerate(plain) if other == name]
        if len({experiment_key(runs[index]) for index in members}) == 1:
            continue
        different = differing(runs[index] for index in members)
        for position, index in enumerate(members):
            shown = ", ".join(f"{key}={values[position]}" for key, values in different.items())
            full[index] = f"{name} [{shown}]"
    return full


def _plain_name(run: Mapping[str, Any]) -> str:
    label = run["settings"].get("label")
    return run["algorithm"] + (f" ({label})" if label else "") + f" on {run['task']}"
