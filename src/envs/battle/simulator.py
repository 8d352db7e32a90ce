"""The battle simulator: B battles of one map, stepped at once by eight game loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.battle.table import UnitTable
from epymarl_lmac.tasks.sc2_map import BattleMap

KEEP, STOP, MOVE, ATTACK, HEAL = range(5)  # kinds of orders


class Orders(NamedTuple):
    """What every unit of one side is told in this step; N units of the side.

    Attributes:
        kind_BN: int8, 0 keep the last order, 1 stop, 2 move to a point, 3 attack a unit, 4 heal a unit.
        target_BN: int16, slot of the unit to attack or heal (slot in the unit table, so enemies start at n_allies).
        point_BN2: float32, the point to move to.
    """

    kind_BN: np.ndarray
    target_BN: np.ndarray
    point_BN2: np.ndarray


class Simulator:
    """B battles on one map.

    Attributes:
        table: state of all units; read it after ``reset`` and ``step``.
    """

    table: UnitTable

    def __init__(self, battle_map: BattleMap, num_envs: int, seed: int, *, opponent: str = "script") -> None:
        raise NotImplementedError

    def reset(self, mask_B: np.ndarray | None = None) -> None:
        """Starts a new battle where ``mask_B`` (bool (B,)) is True, everywhere if it is None."""
        raise NotImplementedError

    def step(self, orders: Orders, enemy_orders: Orders | None = None, active_B: np.ndarray | None = None) -> None:
        """Gives the agents' orders and runs eight game loops.

        Args:
            orders: the agents' orders (B, N). The game ignores impossible ones (dead unit, weapon that cannot hit
                the target, heal of a unit in full health): the unit then keeps its last order.
            enemy_orders: orders (B, M) of the enemies, for opponents that are played from outside.
            active_B: bool (B,), battles to step; the others stay as they are. None: all.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, np.ndarray]:
        """Returns everything that later steps depend on, random streams included."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restores what ``state_dict`` returned; the next steps are then equal to the bit."""
        raise NotImplementedError
