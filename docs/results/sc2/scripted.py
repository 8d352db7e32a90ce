"""Scripted policies for the battle environments: random, and three that know where all units are.

They read the unit table, so they are no agents that could be trained; they show what a map allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from envs.battle.units import UNIT_NAMES
from envs.sc2 import Sc2Env

STOP = 1
MOVES = ((0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0))  # actions 2 to 5
GATHER_DISTANCE = 4.5  # of the rush, from the target, cells: outside the Hydralisk's scan range on bane_vs_hM
GATHER_DISTANCES = {"Roach": 7.4}  # the same from targets that find agents from farther away
GATHER_SHARE = 0.8  # the rush goes on once this share of the attackers has come near
SUPPORT = ("Overlord", "Medivac")  # types that cannot attack

Policy = Callable[[Sc2Env, np.random.Generator], np.ndarray]


def random_policy(env: Sc2Env, rng: np.random.Generator) -> np.ndarray:
    """Returns one of the available actions of every agent, all equally likely; int64 (B, N)."""
    return (rng.random(env.avail_BNA.shape) * env.avail_BNA).argmax(2)


class _Field:
    """Walking distances on a map, from every cell to a goal cell."""

    def __init__(self, walkable: np.ndarray) -> None:
        self._walkable = walkable
        self._known: dict[tuple[int, int], np.ndarray] = {}

    def to(self, x: float, y: float) -> np.ndarray:
        """Returns the number of cells to walk to the cell of (x, y), float64 (32, 32), inf where there is no way."""
        size = self._walkable.shape[0]
        goal = (min(int(x), size - 1), min(int(y), size - 1))
        if goal not in self._known:
            far = np.full(self._walkable.shape, np.inf)
            far[goal] = 0
            queue = deque([goal])
            while queue:
                i, j = queue.popleft()
                for di, dj in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                    a, b = i + di, j + dj
                    if 0 <= a < size and 0 <= b < size and self._walkable[a, b] and far[a, b] == np.inf:
                        far[a, b] = far[i, j] + 1
                        queue.append((a, b))
            self._known[goal] = far
        return self._known[goal]


class Battle:
    """What a scripted policy reads of one battle."""

    def __init__(self, env: Sc2Env, b: int, field: _Field) -> None:
        self.env, self.b, self.field = env, b, field
        self.step = int(env._observer.clock_B[b])  # of the episode so far
        rows = env.read_battle(b)
        n = env.n_agents
        self.xy = np.stack([rows["x"], rows["y"]], 1).astype(np.float64)
        self.health = rows["health"] + rows["shield"].astype(np.float64)
        self.hurt = rows["health"] < rows["health_max"]
        self.names = [UNIT_NAMES[k] for k in rows["unit_type"]]
        self.alive = rows["alive"]
        self.enemies = [k for k in range(n, len(self.names)) if self.alive[k]]
        self.agents = [k for k in range(n) if self.alive[k]]

    def gap(self, i: int, k: int) -> float:
        return float(np.hypot(*(self.xy[k] - self.xy[i])))

    def walk(self, i: int, k: int) -> int:
        """Returns the move of agent i that leads to unit k, or stop."""
        far, best, action = self.field.to(*self.xy[k]), (np.inf, np.inf), STOP
        for m, (dx, dy) in enumerate(MOVES):
            if self.env.avail_BNA[self.b, i, 2 + m]:
                x, y = self.xy[i, 0] + dx, self.xy[i, 1] + dy
                value = (far[int(x), int(y)], float(np.hypot(self.xy[k, 0] - x, self.xy[k, 1] - y)))
                if value < best:
                    best, action = value, 2 + m
        return action

    def attacks(self, i: int) -> list[int]:
        """Returns the slots that agent i can attack (or heal) now."""
        first = self.env.settings.first_attack
        base = 0 if self.names[i] == "Medivac" else self.env.n_agents
        return [base + int(j) for j in np.flatnonzero(self.env.avail_BNA[self.b, i, first:])]

    def attack(self, i: int, k: int) -> int:
        base = 0 if self.names[i] == "Medivac" else self.env.n_agents
        return self.env.settings.first_attack + k - base


def _support(battle: Battle, i: int) -> int:
    """Returns the action of a unit that cannot attack: Medivacs heal the weakest in reach, Overlords stay."""
    if battle.names[i] != "Medivac":
        return STOP
    hurt = [k for k in battle.attacks(i) if battle.hurt[k]]
    if hurt:
        return battle.attack(i, min(hurt, key=lambda k: battle.health[k]))
    others = [k for k in battle.agents if battle.names[k] != "Medivac"]
    near = min(others, key=lambda k: battle.gap(i, k), default=None)
    return STOP if near is None or battle.gap(i, near) < 2 else battle.walk(i, near)


def _targets(battle: Battle, i: int) -> list[int]:
    """Returns the enemies that agent i's weapon can hit; ground melee types have nothing against Medivacs."""
    reaches_air = battle.names[i] in ("Marine", "Stalker", "Hydralisk")
    return [k for k in battle.enemies if reaches_air or battle.names[k] not in ("Medivac", "Overlord")]


def nearest(battle: Battle, i: int) -> int:
    """Walks the shortest way to the nearest enemy that agent i can hurt, and attacks it."""
    goal = min(_targets(battle, i), key=lambda k: battle.gap(i, k), default=None)
    if goal is None:
        return STOP
    return battle.attack(i, goal) if goal in battle.attacks(i) else battle.walk(i, goal)


def _weakest(battle: Battle, i: int) -> int:
    targets = _targets(battle, i)
    in_reach = [k for k in battle.attacks(i) if k in targets]
    if in_reach:
        return battle.attack(i, min(in_reach, key=lambda k: (battle.health[k], k)))
    return nearest(battle, i)


def _rush(battle: Battle, i: int) -> int:
    """Waits near the enemy that is nearest to the team until most attackers are there, then all attack it."""
    fighters = [k for k in battle.agents if battle.names[k] not in SUPPORT]
    targets = _targets(battle, i)
    if not targets:
        return STOP
    goal = min(targets, key=lambda k: sum(battle.gap(a, k) for a in fighters))
    distance = GATHER_DISTANCES.get(battle.names[goal], GATHER_DISTANCE)
    gathered = sum(battle.gap(a, goal) <= distance + 1 for a in fighters)
    if gathered < GATHER_SHARE * len(fighters) and battle.gap(i, goal) <= distance:
        return STOP
    return battle.attack(i, goal) if goal in battle.attacks(i) else battle.walk(i, goal)


def scripted(choose: Callable[[Battle, int], int]) -> Policy:
    """Returns the policy of a team whose every fighter acts as ``choose(battle, agent)`` says."""
    fields: dict[str, _Field] = {}

    def policy(env: Sc2Env, rng: np.random.Generator) -> np.ndarray:
        battle_map = env.settings.battle_map
        field = fields.setdefault(battle_map.name, _Field(battle_map.walkable))
        actions_BN = np.zeros((env.num_envs, env.n_agents), np.int64)
        for b in range(env.num_envs):
            battle = Battle(env, b, field)
            for i in battle.agents:
                is_support = battle.names[i] in SUPPORT
                actions_BN[b, i] = _support(battle, i) if is_support else choose(battle, i)
        return actions_BN

    return policy


POLICIES: dict[str, Policy] = {
    "random": random_policy,
    "attack_nearest": scripted(nearest),
    "focus_fire": scripted(_weakest),
    "rush": scripted(_rush),
}
