"""The unit table: the state of every unit of every battle, as arrays that can be read and written.

Letters: B battles, U unit slots of a battle (allies first, in agent order, then enemies in creation order).
The interface reads observations, state and rewards from this table; the kernels change it in place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.battle.units import UNIT_NAMES
from epymarl_lmac.errors import TaskError

ALLY, ENEMY = 1, 2

COLUMNS: dict[str, type] = {
    "unit_type": np.int16,
    "owner": np.int8,
    "x": np.float32,
    "y": np.float32,
    "health": np.float32,
    "health_max": np.float32,
    "shield": np.float32,
    "shield_max": np.float32,
    "energy": np.float32,
    "cooldown": np.float32,
    "alive": np.bool_,
}


class UnitTable:
    """State of all units as one array (B, U) a column.

    Attributes:
        unit_type: int16, index into ``units.UNIT_NAMES``.
        owner: int8, 1 ally (the agents' side), 2 enemy.
        x, y: float32, centre in map cells; y grows to the north.
        health, health_max, shield, shield_max: float32, hit points.
        energy: float32.
        cooldown: float32, game loops until the weapon can fire again.
        alive: bool. A dead unit has health and shield 0; its other columns keep their last values.
        written_B: bool (B,), battles written by ``set_battle`` that the simulator has not taken over yet.
    """

    unit_type: np.ndarray
    owner: np.ndarray
    x: np.ndarray
    y: np.ndarray
    health: np.ndarray
    health_max: np.ndarray
    shield: np.ndarray
    shield_max: np.ndarray
    energy: np.ndarray
    cooldown: np.ndarray
    alive: np.ndarray

    def __init__(self, num_envs: int, n_allies: int, n_enemies: int) -> None:
        self.num_envs = num_envs
        self.n_allies = n_allies
        self.n_enemies = n_enemies
        self.n_slots = n_allies + n_enemies
        for name, dtype in COLUMNS.items():
            setattr(self, name, np.zeros((num_envs, self.n_slots), dtype))
        self.owner[:, :n_allies] = ALLY
        self.owner[:, n_allies:] = ENEMY
        self.written_B = np.zeros(num_envs, np.bool_)

    def columns(self) -> dict[str, np.ndarray]:
        """Returns the arrays (B, U) by name: the table itself, not copies."""
        return {name: getattr(self, name) for name in COLUMNS}

    def get_battle(self, battle: int) -> dict[str, np.ndarray]:
        """Returns copies of one battle's rows, one array (U,) a column.

        Raises:
            TaskError: there is no such battle.
        """
        self._check_battle(battle)
        return {name: column[battle].copy() for name, column in self.columns().items()}

    def set_battle(self, battle: int, rows: Mapping[str, np.ndarray]) -> None:
        """Writes rows of one battle; columns that are not given stay as they are.

        The units' orders, missiles under way and speeds are forgotten: they stand idle until new orders come.

        Args:
            battle: index of the battle.
            rows: arrays (U,) by column name. ``owner`` cannot change: slots belong to a side.

        Raises:
            TaskError: no such battle, an unknown column, a wrong shape, or a value that is not finite.
        """
        self._check_battle(battle)
        checked = {name: self._checked_row(name, row) for name, row in rows.items()}
        owner = checked.get("owner")
        if owner is not None and (owner != self.owner[battle]).any():
            raise TaskError(
                f"Unit table: owner {owner.tolist()} does not fit the slots; they belong to "
                f"{self.owner[battle].tolist()} (1 ally, 2 enemy). Leave 'owner' out."
            )
        for name, row in checked.items():
            getattr(self, name)[battle] = row
        is_dead = ~self.alive[battle]
        self.health[battle, is_dead] = 0
        self.shield[battle, is_dead] = 0
        self.written_B[battle] = True

    def _check_battle(self, battle: int) -> None:
        if not 0 <= battle < self.num_envs:
            raise TaskError(f"Unit table: battle {battle} does not exist; there are battles 0..{self.num_envs - 1}.")

    def _checked_row(self, name: str, row: np.ndarray) -> np.ndarray:
        if name not in COLUMNS:
            raise TaskError(f"Unit table: column {name!r} does not exist; the columns are {', '.join(COLUMNS)}.")
        array = np.asarray(row)
        if array.shape != (self.n_slots,):
            raise TaskError(
                f"Unit table: column {name!r} has shape {array.shape}; expected {(self.n_slots,)}, "
                f"{self.n_allies} allies and then {self.n_enemies} enemies."
            )
        if not np.isfinite(array.astype(np.float64)).all():
            raise TaskError(f"Unit table: column {name!r} holds {array.tolist()}; expected finite numbers.")
        if name == "unit_type" and not ((array >= 0) & (array < len(UNIT_NAMES))).all():
            raise TaskError(
                f"Unit table: unit_type {array.tolist()} has numbers outside 0..{len(UNIT_NAMES) - 1}, the places in "
                "units.UNIT_NAMES."
            )
        return array.astype(COLUMNS[name])
