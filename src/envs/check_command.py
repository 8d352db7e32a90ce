"""The command ``epymarl-lmac check-env ENV [with env_args.key=value ...]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs.check_env import check_env, subject_of
from epymarl_lmac.errors import SettingsError, TaskError
from epymarl_lmac.settings.load import merge, parse_update
from epymarl_lmac.tasks import ENTRIES, EnvEntry
from epymarl_lmac.tasks.entry import as_entry, resolve

USAGE = "epymarl-lmac check-env ENV [with env_args.key=value ...]"


def find(env: str, updates: Sequence[str]) -> tuple[str, EnvEntry, dict[str, Any]]:
    """Returns name, entry and arguments of an environment.

    Args:
        env: a file in ``config/envs``, or ``"module:attribute"`` of an environment that is not registered yet.
        updates: ``env_args.key=value`` texts.

    Raises:
        SettingsError: no such file or key.
        TaskError: the module or attribute does not exist, or is no environment.
    """
    if ":" not in env:
        values = merge("qmix", env, updates)
        return values["env"], ENTRIES[values["env"]], values["env_args"]
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # the user's module lies where the command is called
    try:
        entry = as_entry(resolve(env))
    except (ImportError, AttributeError) as err:
        raise TaskError(f"{env} cannot be imported: {err}. Give module:Class of your environment.") from err
    env_args = {}
    for text in updates:
        key, value = parse_update(text)
        if not key.startswith("env_args."):
            raise SettingsError(f"{key} is no argument of the environment; write env_args.{key}={value}.", key)
        env_args[key.removeprefix("env_args.")] = value
    return env, entry, env_args


def run(argv: Sequence[str]) -> int:
    """Checks one environment and prints what it breaks; returns 0 if it keeps every promise, else 1.

    Raises:
        UserError: bad input.
    """
    words = [word for word in argv if word != "with"]
    if not words or words[0].startswith("-"):
        raise SettingsError(f"Name one environment: {', '.join(sorted(ENTRIES))}, or module:Class.\nusage: {USAGE}")
    name, entry, env_args = find(words[0], words[1:])
    subject = subject_of(name, entry, env_args)
    found = check_env(subject)
    form = f"{subject.num_envs} copies as arrays" if entry.form(env_args) == "batched" else "one copy at a time"
    missing = [
        what for what, has in (("a task card", subject.card), ("a known score range", _has_range(subject))) if not has
    ]
    print(
        f"{name}: {form}, {subject.n_episodes} episodes a play" + (f"; without {' or '.join(missing)}" * bool(missing))
    )
    for sentence in found:
        print(f"- {sentence}")
    print(f"Broken promises: {len(found)}." if found else "It keeps every promise that was checked.")
    return 1 if found else 0


def _has_range(subject: Any) -> bool:
    return subject.score is not None and subject.score.low is not None
