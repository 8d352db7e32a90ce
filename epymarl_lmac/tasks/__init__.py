"""What every environment and task is, in words and numbers.

``entries.py`` is the table of environments, ``entry.py`` the format of its lines, ``card.py`` that of task cards,
``env_info.py`` the sizes of an environment that exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.card import Dimension, TaskCard
from epymarl_lmac.tasks.entries import ENTRIES, OURS
from epymarl_lmac.tasks.entry import EnvEntry, Score
from epymarl_lmac.tasks.env_info import EnvInfo

__all__ = [
    "ENTRIES",
    "Dimension",
    "EnvEntry",
    "EnvInfo",
    "Score",
    "TaskCard",
    "has_card",
    "task_card",
    "task_id",
    "task_score",
]


def _module(env: str) -> ModuleType:
    module = ENTRIES[env].card_module() if env in ENTRIES else None
    if module is None:
        known = ", ".join(sorted(name for name, entry in OURS.items() if entry.card is not None))
        raise TaskError(
            f"env {env!r} has no task card; these have one: {known}. A package gives one by the card of its EnvEntry."
        )
    return module


def has_card(env: str) -> bool:
    """Returns whether an environment has task cards."""
    return env in ENTRIES and ENTRIES[env].card is not None


def task_card(env: str, env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the card of a task.

    Raises:
        TaskError: the environment has no cards, or the arguments make no task.
    """
    return _module(env).card(env_args)


def task_id(env: str, env_args: Mapping[str, Any]) -> str:
    """Returns the short name of a task, e.g. ``8x8-2p-2f-s1-coop``; raises as ``task_card``."""
    return _module(env).task_id(env_args)


def task_score(env: str, env_args: Mapping[str, Any]) -> Score:
    """Returns by which metric a task is judged, with its range and optimum where they are known.

    Raises:
        TaskError: an unknown environment, or arguments that make no task.
    """
    return ENTRIES[env].score_of(env_args)
