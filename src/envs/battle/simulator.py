"""The battle simulator: B battles of one map, stepped at once by some game loops, eight as published.

The rules: 16 game loops a second, the units of StarCraft II's Liberty data (``units.py``), and the map's spawns and
orders; ``docs/environments/sc2.md`` describes them. The loops are compiled; start reading at ``kernels_battle.py``.
Battle b of a seed plays the same alone or among others, and always the same on one machine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.battle import kernels_battle, kernels_data, kernels_spawn
from envs.battle.kernels_data import BODY, SHOT, SHOTS, Rules, pack_types
from envs.battle.kernels_random import start_streams
from envs.battle.orders import COMMANDED, FIRST_MIXED, PLAYED, leader_code
from envs.battle.table import UnitTable
from envs.battle.terrain import make_terrain
from envs.saved_arrays import restore, saved
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.sc2_constants import STEP_LOOPS
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


class _Columns(NamedTuple):
    """The unit table's arrays (B, U), as the kernels take them."""

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


def no_orders(num_envs: int, n_units: int) -> Orders:
    """Returns orders that leave every unit of a side with its last one."""
    return Orders(
        np.zeros((num_envs, n_units), np.int8),
        np.full((num_envs, n_units), -1, np.int16),
        np.zeros((num_envs, n_units, 2), np.float32),
    )


class Simulator:
    """B battles on one map. They start with the first ``reset``, which the constructor calls.

    Args:
        battle_map: teams, places, terrain, the enemies' script.
        num_envs: number B of battles.
        seed: root of the battles' random streams; battle b's stream depends on (seed, b) only.
        opponent: who leads the enemies, see ``orders.py``.
        step_mul: game loops of a step.

    Attributes:
        table: state of all units; read it after ``reset`` and ``step``.

    Raises:
        TaskError: no battles, an unknown opponent, or a map that changes what a unit type does not have.
    """

    def __init__(
        self,
        battle_map: BattleMap,
        num_envs: int,
        seed: int,
        *,
        opponent: str = "script",
        step_mul: int = STEP_LOOPS,
    ) -> None:
        if num_envs < 1:
            raise TaskError(f"sc2: num_envs={num_envs} battles is not possible; it must be at least 1.")
        self.battle_map = battle_map
        self.num_envs = num_envs
        self._n_loops = step_mul
        self.table = UnitTable(num_envs, battle_map.n_allies, battle_map.n_enemies)
        self._leader = leader_code(opponent, battle_map)
        self._rules = Rules(*pack_types(battle_map, opponent == COMMANDED), make_terrain(battle_map.walkable))
        self._plan = kernels_spawn.make_plan(battle_map)
        if opponent != "script":
            self._plan = self._plan._replace(attack_moves=False)
        self._columns = _Columns(**self.table.columns())
        self._rng_B1 = start_streams(seed, num_envs)[:, None].copy()
        self._body_BU = np.zeros((num_envs, self.table.n_slots), BODY)
        self._shots_BUS = np.zeros((num_envs, self.table.n_slots, SHOTS), SHOT)
        self._leader_B = np.full(num_envs, max(self._leader, 0), np.int8)
        self._no_enemy_orders = no_orders(num_envs, battle_map.n_enemies)
        self._all_B = np.ones(num_envs, np.bool_)
        self.reset()

    def reset(self, mask_B: np.ndarray | None = None) -> None:
        """Starts a new battle where ``mask_B`` (bool (B,)) is True, everywhere if it is None."""
        mask_B = self._checked_mask("reset", mask_B)
        kernels_spawn.reset_battles(
            self._rules.templates, self._rules.terrain, self._plan, self._columns, self._body_BU, self._shots_BUS,
            self._rng_B1, mask_B, self.table.n_allies,
        )  # fmt: skip
        self.table.written_B[mask_B] = False
        if self._leader < 0:
            kernels_spawn.draw_leaders(self._rng_B1, self._leader_B, mask_B, FIRST_MIXED, len(PLAYED))

    def step(self, orders: Orders, enemy_orders: Orders | None = None, active_B: np.ndarray | None = None) -> None:
        """Gives the agents' orders and runs the game loops of a step.

        Args:
            orders: the agents' orders (B, N). The game ignores impossible ones (dead unit, weapon that cannot hit
                the target, heal of a unit in full health): the unit then keeps its last order.
            enemy_orders: orders (B, M) of the enemies, for opponents that are played from outside.
            active_B: bool (B,), battles to step; the others stay as they are. None: all.

        Raises:
            TaskError: an array of the wrong shape.
        """
        checked = self._checked_orders("orders", orders, self.table.n_allies)
        checked_enemy = self._no_enemy_orders
        if enemy_orders is not None:
            checked_enemy = self._checked_orders("enemy_orders", enemy_orders, self.table.n_enemies)
        kernels_battle.step_battles(
            *self._rules, self._columns, self.table.written_B, self._body_BU, self._shots_BUS, self._rng_B1,
            self._leader_B, checked, checked_enemy, self._checked_mask("step", active_B),
            self._n_loops,
        )  # fmt: skip

    @property
    def radius_BU(self) -> np.ndarray:
        """Radius of every unit in cells, float64 (B, U)."""
        return self._body_BU["radius"]

    def attacks(self, battle: int) -> list[tuple[int, int]]:
        """Returns who winds up or waits for the next shot at whom, pairs of slots of living units."""
        body = self._body_BU[battle]
        pairs = []
        for u in np.flatnonzero(body["alive"]):
            unit = body[u]
            target = unit["wind_target"] if unit["wind"] >= 0 else unit["target"]
            if unit["order"] == kernels_data.ATTACK and target < 0:
                target = unit["order_target"]
            is_near = target >= 0 and np.hypot(body["x"][target] - unit["x"], body["y"][target] - unit["y"]) <= (
                unit["reach"] + unit["radius"] + body["radius"][target] + 0.5
            )
            if is_near and body["alive"][target] and body["side"][target] != unit["side"]:
                pairs.append((int(u), int(target)))
        return pairs

    def _checked_mask(self, what: str, mask_B: np.ndarray | None) -> np.ndarray:
        if mask_B is None:
            return self._all_B
        mask_B = np.asarray(mask_B)
        if mask_B.shape != (self.num_envs,) or mask_B.dtype != np.bool_:
            raise TaskError(
                f"sc2: {what} got a mask {mask_B.dtype} {mask_B.shape}; expected one bool for each of "
                f"{self.num_envs} battles."
            )
        return np.ascontiguousarray(mask_B)

    def _checked_orders(self, name: str, orders: Orders, n_units: int) -> Orders:
        shape = (self.num_envs, n_units)
        arrays: list[Any] = []
        wanted = ((shape, np.int8), (shape, np.int16), ((*shape, 2), np.float32))
        for field, array, (expected, dtype) in zip(Orders._fields, orders, wanted, strict=True):
            array = np.ascontiguousarray(array, dtype)
            if array.shape != expected:
                raise TaskError(f"sc2: {name}.{field} has shape {array.shape}; expected {expected}.")
            arrays.append(array)
        return Orders(*arrays)

    def _dynamic_arrays(self) -> dict[str, np.ndarray]:
        """Everything that later steps depend on. Records are shown as bytes."""
        arrays = {f"table_{name}": column for name, column in self.table.columns().items()}
        arrays["written_B"] = self.table.written_B
        arrays["body"] = self._body_BU.view(np.uint8).reshape(self.num_envs, -1)
        arrays["shots"] = self._shots_BUS.view(np.uint8).reshape(self.num_envs, -1)
        arrays["rng_B1"] = self._rng_B1
        arrays["leader_B"] = self._leader_B
        return arrays

    def state_dict(self) -> dict[str, np.ndarray]:
        """Returns everything that later steps depend on, random streams included."""
        return saved(self._dynamic_arrays())

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restores what ``state_dict`` returned; the next steps are then equal to the bit.

        Raises:
            ValueError: a name, shape or type differs; nothing has changed then.
        """
        restore("sc2", self._dynamic_arrays(), state)
