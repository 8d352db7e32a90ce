"""What every task is, in words and numbers; ``card.py`` has the format."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.card import Dimension, TaskCard

_MODULES = {
    "lbf": "epymarl_lmac.tasks.lbf",
    "lookout": "epymarl_lmac.tasks.lookout",
    "sc2": "epymarl_lmac.tasks.sc2",
    "sc2v2": "epymarl_lmac.tasks.sc2v2",
}

__all__ = ["Dimension", "TaskCard", "has_card", "task_card", "task_id"]


def _module(env: str) -> ModuleType:
    if env not in _MODULES:
        raise TaskError(f"env {env!r} has no task card; these have one: {', '.join(sorted(_MODULES))}.")
    return importlib.import_module(_MODULES[env])


def has_card(env: str) -> bool:
    """Returns whether an environment has task cards."""
    return env in _MODULES


def task_card(env: str, env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the card of a task.

    Raises:
        TaskError: the environment has no cards, or the arguments make no task.
    """
    return _module(env).card(env_args)


def task_id(env: str, env_args: Mapping[str, Any]) -> str:
    """Returns the short name of a task, e.g. ``8x8-2p-2f-s1-coop``; raises as ``task_card``."""
    return _module(env).task_id(env_args)
