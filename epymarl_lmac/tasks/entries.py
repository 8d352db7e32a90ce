"""The table of all environments: ours, and those of installed packages.

A new environment is one module, one yaml in ``config/envs`` and one line here; docs/environments/ has a worked example.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.lazy_registry import LazyRegistry
from epymarl_lmac.paths import source_root
from epymarl_lmac.plugin.entry_points import extended
from epymarl_lmac.tasks.entry import EnvEntry, as_entry

OURS = {
    "lbf": EnvEntry(
        batched="envs.lbf:LbfEnv",
        card="epymarl_lmac.tasks.lbf",
        rules="level-based foraging",
        score="epymarl_lmac.tasks.lbf:score",
    ),
    "lookout": EnvEntry(
        batched="envs.lookout:LookoutEnv",
        card="epymarl_lmac.tasks.lookout",
        rules="lookout 1",
        score="epymarl_lmac.tasks.lookout:score",
    ),
}


class EntryRegistry(LazyRegistry):
    """Name -> ``EnvEntry``. What a package registers in another form becomes an entry when it is first used."""

    def __getitem__(self, name: str) -> EnvEntry:
        if isinstance(self._entries.get(name), str):
            _make_envs_importable()  # a package's environment imports envs.batched
        entry = self._entries[name] = as_entry(super().__getitem__(name))
        return entry


def _make_envs_importable() -> None:
    """Lets packages import ``envs``, also where neither the embedded host nor a foreign one has started."""
    if "envs" not in sys.modules and importlib.util.find_spec("envs") is None:
        sys.path.append(str(source_root()))


def _unknown(message: str) -> TaskError:
    return TaskError(f"env {message}")


ENTRIES: Any = extended("envs", OURS, _unknown, EntryRegistry)
