"""Task cards of ``hallway_group``; ``hallway.py`` beside this file has the settings of both forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from epymarl_lmac.tasks.card import TaskCard
from epymarl_lmac.tasks.hallway import HallwaySettings, card_of, task_id_of


def task_id(env_args: Mapping[str, Any]) -> str:
    """Returns e.g. ``3x5-4x6x10``; what differs from the published form is appended."""
    return task_id_of(HallwaySettings.from_env_args("hallway_group", env_args))


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the task card of a setting of ``hallway_group``."""
    return card_of(HallwaySettings.from_env_args("hallway_group", env_args), env_args)
