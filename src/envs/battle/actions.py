"""Actions of the agents: what is refused and why, and what orders they become."""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.battle.observe import Observer
from envs.battle.observe_kernels import Rules, Units, reaches
from envs.battle.simulator import ATTACK, HEAL, KEEP, MOVE, STOP, Orders, no_orders
from envs.battle.units import UNIT_NAMES
from epymarl_lmac.errors import ActionError
from epymarl_lmac.tasks.sc2 import action_names

NO_OP, STOP_ACTION, FIRST_LOOK = 0, 1, 6
MOVES = np.array([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])  # times the move amount


def accepted(observer: Observer, actions_BN: np.ndarray, live_B: np.ndarray, env: str) -> np.ndarray:
    """Returns the actions to carry out.

    Args:
        observer: the current step.
        actions_BN: integers (B, N).
        live_B: bool (B,), battles that go on; actions of others are not looked at.
        env: name for messages.

    Returns:
        int64 (B, N). Without ``strict_actions`` an action that is not available has become stop, or no-op for the dead.
        Where a script replaces them (``heuristic_ai``) actions need not be available and stay as they are.

    Raises:
        ActionError: a wrong shape or type, an action outside 0..A-1, or (strict) one that is not available. Nothing
            has changed then.
    """
    given = np.asarray(actions_BN)
    B, N, A = observer.avail_BNA.shape
    if given.shape != (B, N):
        raise ActionError(f"{env}: actions have shape {given.shape}; expected {(B, N)} (battles, agents).")
    if not np.issubdtype(given.dtype, np.integer):
        raise ActionError(f"{env}: actions are of type {given.dtype}; expected integers, 0..{A - 1}.")
    actions = np.where(live_B[:, None], given, NO_OP).astype(np.int64)
    outside = (actions < 0) | (actions >= A)
    if outside.any():
        b, i = (int(k) for k in np.argwhere(outside)[0])
        raise ActionError(
            f"{env}: battle {b}, agent {i}: action {actions[b, i]} does not exist; expected 0..{A - 1}.", b, i
        )
    if observer.settings.heuristic_ai:
        return actions
    is_available = np.take_along_axis(observer.avail_BNA, actions[:, :, None], axis=2)[:, :, 0] > 0
    refused = live_B[:, None] & ~is_available
    if refused.any():
        if observer.settings.strict_actions:
            b, i = (int(k) for k in np.argwhere(refused)[0])
            raise ActionError(f"{env}: {refusal(observer, b, i, int(actions[b, i]))}", b, i)
        n_dead = observer.avail_BNA[:, :, NO_OP] > 0
        actions = np.where(refused, np.where(n_dead, NO_OP, STOP_ACTION), actions)
    return actions


def refusal(observer: Observer, b: int, i: int, action: int) -> str:
    """Says why an action is not available to agent i of battle b, and what is."""
    settings, t, rules = observer.settings, observer.table, observer.rules
    names = action_names(settings)
    name = names[action]
    is_dead = not (t.alive[b, i] and t.health[b, i] > 0)
    if is_dead:
        why = "the agent is dead and can only choose 0 (no-op)"
    elif action == NO_OP:
        why = "only dead agents may choose no-op; use 1 (stop) to do nothing"
    elif action < FIRST_LOOK:
        half = settings.move_amount / 2
        x, y = t.x[b, i] + half * MOVES[action - 2, 0], t.y[b, i] + half * MOVES[action - 2, 1]
        why = f"the cell of ({x:.2f}, {y:.2f}) is outside the map or cannot be walked on"
    else:
        why = _no_target(observer, b, i, action - rules.first_attack)
    open_actions = ", ".join(f"{a} ({names[a]})" for a in np.flatnonzero(observer.avail_BNA[b, i]))
    return f"battle {b}, agent {i}: action {action} ({name}) is not available: {why}. Available: {open_actions}."


def _no_target(observer: Observer, b: int, i: int, target: int) -> str:
    """Says why a target cannot be attacked or healed."""
    t, rules = observer.table, observer.rules
    heals = rules.heals and rules.is_medivac_K[t.unit_type[b, i]]
    side, size = ("agent", rules.n) if heals else ("enemy", rules.m)
    if target >= size:
        return f"there is no {side} {target}; this {UNIT_NAMES[t.unit_type[b, i]]} has targets 0..{size - 1}"
    k = target if heals else rules.n + target
    if not (t.alive[b, k] and t.health[b, k] > 0):
        return f"{side} {target} is dead"
    if heals and rules.is_medivac_K[t.unit_type[b, k]]:
        return "Medivacs cannot be healed"
    gap = float(np.hypot(float(t.x[b, k]) - float(t.x[b, i]), float(t.y[b, k]) - float(t.y[b, i])))
    reach = rules.shoot_K[t.unit_type[b, i]]
    cone = " and in the agent's view" if rules.conic else ""
    return f"{side} {target} is {gap:.3f} away; it must be at most {reach:g}{cone}"


class OrderBook:
    """Turns actions into orders for the simulator.

    Args:
        observer: gives positions, ranges and look directions; look actions turn the latter.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        B, N, _ = observer.avail_BNA.shape
        self._moves = observer.settings.move_amount * MOVES
        self._orders = no_orders(B, N)

    def orders(self, actions_BN: np.ndarray, live_B: np.ndarray) -> Orders:
        """Returns the orders of accepted actions, int64 (B, N), in the battles of ``live_B``; none elsewhere."""
        o = self._observer
        kind_BN, target_BN, point_BN2 = self._orders
        _write_orders(o.rules, o.units(), actions_BN, live_B, o.look_BN2, self._moves, kind_BN, target_BN, point_BN2)
        return self._orders


@njit(cache=True)
def _write_orders(
    rules: Rules,
    u: Units,
    actions_BN: np.ndarray,
    live_B: np.ndarray,
    look_BN2: np.ndarray,
    moves: np.ndarray,
    kind_BN: np.ndarray,
    target_BN: np.ndarray,
    point_BN2: np.ndarray,
) -> None:
    for b in range(actions_BN.shape[0]):
        for i in range(rules.n):
            action = actions_BN[b, i]
            kind_BN[b, i] = KEEP
            target_BN[b, i] = 0
            if not live_B[b] or action == NO_OP:
                continue
            if action == STOP_ACTION:
                kind_BN[b, i] = STOP
            elif action < FIRST_LOOK:
                kind_BN[b, i] = MOVE
                point_BN2[b, i, 0] = np.float64(u.x[b, i]) + moves[action - 2, 0]
                point_BN2[b, i, 1] = np.float64(u.y[b, i]) + moves[action - 2, 1]
            elif action < rules.first_attack:
                look_BN2[b, i] = rules.look_L2[action - FIRST_LOOK]  # and the last order stands
            else:
                heals = rules.heals and rules.is_medivac_K[u.unit_type[b, i]]
                k = action - rules.first_attack + (0 if heals else rules.n)
                if rules.masks_actions or reaches(rules, u, b, i, k, look_BN2):
                    kind_BN[b, i] = HEAL if heals else ATTACK
                    target_BN[b, i] = k
