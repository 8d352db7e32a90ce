"""Task cards of ``sc2v2``: SMACv2's teams and start positions; the columns are those of ``sc2.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from epymarl_lmac.tasks.card import TaskCard
from epymarl_lmac.tasks.sc2 import make_card, make_task_id
from epymarl_lmac.tasks.sc2_settings import Sc2Settings


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Describes the task that the ``env_args`` of ``config/envs/sc2v2.yaml`` define; raises TaskError for none."""
    return make_card("sc2v2", env_args)


def task_id(env_args: Mapping[str, Any]) -> str:
    """Names the settings, e.g. ``terran_5_vs_5``; what differs from the published ones is appended."""
    return make_task_id(Sc2Settings.from_env_args("sc2v2", env_args))
