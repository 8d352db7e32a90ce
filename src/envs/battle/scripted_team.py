"""SMAC's own scripted team (its option ``heuristic_ai``): it leads the agents in place of their actions.

Every agent attacks the nearest enemy, wherever that is, and keeps to it until it is dead. A Medivac of a map where
Medivacs heal goes on healing the nearest hurt agent until it is dead or in full health. With ``heuristic_rest`` an
agent that may not do that now walks towards its target, by a move action along the axis of the larger distance.

Where SMAC's code and what it seems to mean differ, this is the code:

* Marauders are meant to leave enemy Medivacs alone, which they cannot hit. But an enemy's type is compared with the id
  of the own team's Medivacs, which enemies never have. So a Marauder keeps to a Medivac that it cannot hurt.
* Those moves are ordered whether the cell ahead is walkable or not.
* An enemy at the full length of the map's diagonal is too far away to be seen.
* Nobody turns the cone of ``conic_fov``.

SMAC lets the script choose for the dead, too, and the game drops the orders; here the dead have none.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from envs.battle.actions import FIRST_LOOK, MOVES, NO_OP, STOP_ACTION
from envs.battle.observe import Observer
from envs.battle.observe_kernels import Rules, Units, distance, lives
from envs.battle.simulator import ATTACK, HEAL, KEEP, MOVE, Orders, no_orders
from epymarl_lmac.tasks.sc2_constants import MAP_SIZE

NO_TARGET = -1
_NORTH, _SOUTH, _EAST, _WEST = range(STOP_ACTION + 1, FIRST_LOOK)
_TOO_FAR = math.hypot(MAP_SIZE, MAP_SIZE)  # cells; targets are nearer


class ScriptedTeam:
    """SMAC's script as the leader of the agents.

    Args:
        observer: gives the settings, the units and the available actions; read, never written.

    Attributes:
        target_BN: int64 (B, N), the enemy (for a Medivac that heals: the agent) that each agent keeps to; -1 for none.
        actions_BN: int64 (B, N), what the script did last, as actions: attack or heal the target, a move, or no-op for
            the dead and those without a target. They need not be available.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        B, N, _ = observer.avail_BNA.shape
        self._moves = observer.settings.move_amount * MOVES
        self._orders = no_orders(B, N)
        self.target_BN = np.full((B, N), NO_TARGET, np.int64)
        self.actions_BN = np.full((B, N), NO_OP, np.int64)

    def begin(self, which_B: np.ndarray) -> None:
        """Forgets the targets in the battles of ``which_B`` (bool (B,))."""
        self.target_BN[which_B] = NO_TARGET

    def orders(self, live_B: np.ndarray) -> Orders:
        """Returns the agents' orders of this step in the battles of ``live_B`` (bool (B,)); none elsewhere."""
        o = self._observer
        _write_orders(
            o.rules, o.units(), o.settings.heuristic_rest, live_B, o.avail_BNA, self._moves, self.target_BN,
            self.actions_BN, *self._orders,
        )  # fmt: skip
        return self._orders

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns everything that later orders depend on besides the table: the arrays, not copies."""
        return {"target_BN": self.target_BN}


@njit(cache=True)
def _is_target(rules: Rules, u: Units, heals: bool, b: int, k: int) -> bool:
    """Returns whether unit k is one to attack, or to heal."""
    if not lives(u, b, k):
        return False
    return not heals or (not rules.is_medivac_K[u.unit_type[b, k]] and u.health[b, k] != u.health_max[b, k])


@njit(cache=True)
def _nearest(rules: Rules, u: Units, heals: bool, b: int, i: int) -> int:
    """Returns the number of the target nearest to agent i, the first of several."""
    first, size = (0, rules.n) if heals else (rules.n, rules.m)
    nearest, best = _TOO_FAR, NO_TARGET
    for j in range(size):
        k = first + j
        if _is_target(rules, u, heals, b, k):
            dx = np.float64(u.x[b, k]) - np.float64(u.x[b, i])
            dy = np.float64(u.y[b, k]) - np.float64(u.y[b, i])
            gap = distance(dx, dy)
            if gap < nearest:
                nearest, best = gap, j
    return best


@njit(cache=True)
def _move_towards(u: Units, b: int, i: int, k: int) -> int:
    """Returns the move action along the axis on which unit k is farther away; north or south if both are equal."""
    dx = np.float64(u.x[b, k]) - np.float64(u.x[b, i])
    dy = np.float64(u.y[b, k]) - np.float64(u.y[b, i])
    if abs(dx) > abs(dy):
        return _EAST if dx > 0 else _WEST
    return _NORTH if dy > 0 else _SOUTH


@njit(cache=True)
def _write_orders(
    rules: Rules,
    u: Units,
    is_restricted: bool,
    live_B: np.ndarray,
    avail_BNA: np.ndarray,
    moves: np.ndarray,
    target_BN: np.ndarray,
    actions_BN: np.ndarray,
    kind_BN: np.ndarray,
    slot_BN: np.ndarray,
    point_BN2: np.ndarray,
) -> None:
    for b in range(live_B.shape[0]):
        for i in range(rules.n):
            kind_BN[b, i] = KEEP
            slot_BN[b, i] = 0
            actions_BN[b, i] = NO_OP
            if not live_B[b] or not lives(u, b, i):
                continue
            heals = rules.heals and rules.is_medivac_K[u.unit_type[b, i]]
            first = 0 if heals else rules.n
            if target_BN[b, i] == NO_TARGET or not _is_target(rules, u, heals, b, first + target_BN[b, i]):
                target_BN[b, i] = _nearest(rules, u, heals, b, i)
            if target_BN[b, i] == NO_TARGET:
                continue
            k = first + target_BN[b, i]
            action = rules.first_attack + target_BN[b, i]
            if is_restricted and avail_BNA[b, i, action] == 0:
                action = _move_towards(u, b, i, k)
                kind_BN[b, i] = MOVE
                point_BN2[b, i, 0] = np.float64(u.x[b, i]) + moves[action - _NORTH, 0]
                point_BN2[b, i, 1] = np.float64(u.y[b, i]) + moves[action - _NORTH, 1]
            else:
                kind_BN[b, i] = HEAL if heals else ATTACK
                slot_BN[b, i] = k
            actions_BN[b, i] = action
