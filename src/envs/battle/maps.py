"""The maps a battle is fought on: what the simulator reads. The files and their format: ``config/sc2_maps``."""

from __future__ import annotations

from epymarl_lmac.tasks.sc2_map import BattleMap, Opponent, Override, RandomStart, RandomTeam, Rect
from epymarl_lmac.tasks.sc2_map_file import load_map, map_names, read_map

__all__ = [
    "BattleMap",
    "Opponent",
    "Override",
    "RandomStart",
    "RandomTeam",
    "Rect",
    "load_map",
    "map_names",
    "read_map",
]
