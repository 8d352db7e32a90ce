"""SMAC's interface over a unit table: available actions, observations and state of B battles.

The rules are those of ``docs/environments/sc2.md``; the loops are in ``observe_kernels.py``. Nothing here knows how
the units came to be where they are: the simulator, a test, or a recording may have written the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set

import numpy as np

from envs.battle import observe_kernels as kernels
from envs.battle.table import UnitTable
from envs.battle.units import UNIT_NAMES
from epymarl_lmac.tasks.sc2_constants import LOOK_DIRECTIONS, UNITS
from epymarl_lmac.tasks.sc2_settings import Sc2Settings


class Observer:
    """Reads a unit table as SMAC's agents and learner see it.

    Args:
        settings: the task.
        table: the units; read, never written.
        seed: root of the battles' streams; only SMACv2's shared sightings draw from them (the order of agents).

    Attributes:
        obs_BNO: float32 (B, N, O), observations.
        state_BS: float32 (B, S), state.
        avail_BNA: uint8 (B, N, A), 1 where an action is available.
        last_BN: int64 (B, N), each agent's previous action; -1 before the first step.
        clock_B: int64 (B,), steps of the episode so far.
        look_BN2: float64 (B, N, 2), look directions (conic field of view).
    """

    def __init__(self, settings: Sc2Settings, table: UnitTable, seed: int) -> None:
        self.settings, self.table = settings, table
        B, N, M = table.num_envs, settings.n_agents, settings.n_enemies
        self.rules = make_rules(settings)
        self.obs_BNO = np.zeros((B, N, settings.obs_dim), np.float32)
        self.avail_BNA = np.zeros((B, N, settings.n_actions), np.uint8)
        self._reach_BNA = self.avail_BNA if settings.action_mask else np.zeros_like(self.avail_BNA)
        if settings.obs_instead_of_state:
            self.state_BS = self.obs_BNO.reshape(B, settings.state_dim)  # the same memory: always in step
        else:
            self.state_BS = np.zeros((B, settings.state_dim), np.float32)
        self.last_BN = np.full((B, N), kernels.NO_ACTION, np.int64)
        self.clock_B = np.zeros(B, np.int64)
        self.look_BN2 = np.zeros((B, N, 2))
        self.look_BN2[:, :, 0] = 1.0
        self._first_BM = np.full((B, M), kernels.UNSEEN, np.int64)
        self._may_BMN = np.zeros((B, M, N), np.bool_)
        self._random_B = np.array([s.generate_state(1, np.uint64)[0] for s in np.random.SeedSequence(seed).spawn(B)])
        self._order_N = np.arange(N)

    def units(self) -> kernels.Units:
        """Returns the table's columns as the kernels take them."""
        t = self.table
        return kernels.Units(
            t.unit_type, t.x, t.y, t.health, t.health_max, t.shield, t.energy, t.cooldown, t.alive
        )  # fmt: skip

    def begin(self, which_B: np.ndarray) -> None:
        """Starts an episode in the battles of ``which_B`` (bool (B,)) and observes it.

        SMACv2 visits the agents twice before the first step (in its own reset and for the runner), which decides
        who was first to see an enemy; so does this.
        """
        self.last_BN[which_B] = kernels.NO_ACTION
        self.clock_B[which_B] = 0
        self.look_BN2[which_B] = (1.0, 0.0)
        self.forget_all(which_B)
        if self.rules.shares_sightings:
            self.observe(which_B)
        self.observe(which_B)

    def forget_all(self, which_B: np.ndarray) -> None:
        """Forgets all shared sightings of the battles of ``which_B``."""
        self._first_BM[which_B] = kernels.UNSEEN
        self._may_BMN[which_B] = False

    def forget(self, which_B: np.ndarray) -> None:
        """Ends a step for the shared sightings: slots of dead enemies and dead first observers are forgotten."""
        if self.rules.shares_sightings:
            kernels.forget_sightings(self.rules, self.units(), which_B, self._first_BM, self._may_BMN)

    def observe(self, which_B: np.ndarray, order_N: np.ndarray | None = None) -> None:
        """Writes available actions, observations and state of the battles of ``which_B``.

        Args:
            which_B: bool (B,).
            order_N: the order in which agents are visited, int64 (N,), for the shared sightings; None draws it.
        """
        rules, u = self.rules, self.units()
        kernels.write_available(rules, u, self.look_BN2, which_B, True, self._reach_BNA)
        if not self.settings.action_mask:
            kernels.write_available(rules, u, self.look_BN2, which_B, False, self.avail_BNA)
        draws_order = rules.shares_sightings and order_N is None
        if order_N is not None:
            self._order_N[:] = order_N
        elif not draws_order:
            self._order_N[:] = np.arange(rules.n)
        kernels.write_obs(
            rules, u, self.look_BN2, self.last_BN, self.clock_B, self._reach_BNA, self._first_BM, self._may_BMN,
            self._random_B, which_B, self._order_N, draws_order, self.obs_BNO,
        )  # fmt: skip
        if not self.settings.obs_instead_of_state:
            kernels.write_state(rules, u, self.look_BN2, self.last_BN, self.clock_B, which_B, self.state_BS)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns everything that later observations depend on besides the table: the arrays, not copies.

        Observations and available actions are among them, as one cannot observe a second time without changing the
        shared sightings.
        """
        return {
            "last_BN": self.last_BN,
            "clock_B": self.clock_B,
            "look_BN2": self.look_BN2,
            "first_BM": self._first_BM,
            "may_BMN": self._may_BMN,
            "random_B": self._random_B,
            "obs_BNO": self.obs_BNO,
            "state_BS": self.state_BS,
            "avail_BNA": self.avail_BNA,
            "reach_BNA": self._reach_BNA,
        }


def make_rules(settings: Sc2Settings) -> kernels.Rules:
    """Returns the settings as the kernels take them."""
    battle_map, family = settings.battle_map, settings.battle_map.family
    possible = set(battle_map.possible_types)
    allies = possible if battle_map.is_generated else set(battle_map.ally_types)

    def by_type(value: Callable[[str], float], types: Set[str] = possible, dtype: type = np.float64) -> np.ndarray:
        """Returns an array over all unit types, zero for those that cannot appear."""
        return np.array([value(name) if name in types else 0 for name in UNIT_NAMES], dtype)

    def reach(facts_key: str, common: float, least: float) -> np.ndarray:
        if settings.use_unit_ranges:
            return by_type(lambda name: max(getattr(UNITS[name], facts_key), least))
        return by_type(lambda name: common)

    angles = 2 * np.pi * (np.arange(LOOK_DIRECTIONS) / LOOK_DIRECTIONS)
    is_faithful = settings.sight_memory == "faithful"
    return kernels.Rules(
        n=settings.n_agents,
        m=settings.n_enemies,
        n_actions=settings.n_actions,
        first_attack=settings.first_attack,
        n_slots=settings.n_slots,
        limit=battle_map.limit,
        heals=family.heals,
        conic=settings.conic_fov,
        cone=math.pi / LOOK_DIRECTIONS,
        masks_actions=settings.action_mask,
        move=settings.move_amount,
        ally_shields=settings.ally_shields,
        enemy_shields=settings.enemy_shields,
        shows_ally_health=settings.obs_all_health,
        shows_enemy_health=settings.shows_enemy_health,
        shows_own_health=settings.obs_own_health,
        enemy_padding=settings.n_enemy_padding,
        shows_own_pos=settings.obs_own_pos,
        shows_last_action=settings.obs_last_action,
        shows_pathing=settings.obs_pathing_grid,
        shows_height=settings.obs_terrain_height,
        shows_time=settings.obs_timestep_number,
        shares_sightings=is_faithful or settings.prob_obs_enemy < 1,
        faithful=is_faithful,
        share_prob=settings.prob_obs_enemy,
        state_last_action=settings.state_last_action,
        state_time=settings.state_timestep_number,
        sight_K=reach("sight", settings.sight_range, 0.0),
        shoot_K=reach("shoot", settings.shoot_range, settings.min_attack_range),
        ally_slot_K=by_type(family.ally_slots.index, set(family.ally_slots), np.int64),
        enemy_slot_K=by_type(family.enemy_slots.index, set(family.enemy_slots), np.int64),
        max_cooldown_K=by_type(battle_map.max_cooldown, allies),
        ally_shield_K=by_type(lambda name: battle_map.max_shield(name, True), allies),
        enemy_shield_K=by_type(lambda name: battle_map.max_shield(name, False)),
        is_medivac_K=by_type(lambda name: name == "Medivac", dtype=np.bool_),
        walkable=np.ascontiguousarray(battle_map.walkable),
        # SMAC mirrors the height map in y, which was right for old versions of the game only.
        height=np.ascontiguousarray(battle_map.height[:, ::-1] / 255.0),
        look_L2=np.stack([np.cos(angles), np.sin(angles)], axis=1),
    )
