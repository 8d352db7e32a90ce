"""Reward and end of a battle, as SMAC computes them from two readings of the units.

Letters: B battles, N agents, M enemies, U = N + M units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from envs.battle.table import UnitTable
from envs.battle.units import UNIT_INDEX
from epymarl_lmac.tasks.sc2_constants import SMAC_COMM, SMACV2
from epymarl_lmac.tasks.sc2_settings import Sc2Settings

RUNNING, LOST, WON, DRAWN = 0, -1, 1, 2  # end codes of a battle


class Outcome(NamedTuple):
    """What one step did in every battle."""

    reward_B: np.ndarray  # float64 (B,), scaled
    code_B: np.ndarray  # int8 (B,), RUNNING, LOST, WON or DRAWN
    dead_allies_B: np.ndarray  # int64 (B,)
    dead_enemies_B: np.ndarray  # int64 (B,)


class Weights(NamedTuple):
    """The reward options of the settings, as the kernel takes them."""

    only_positive: bool
    is_sparse: bool
    absolute: bool  # v1: the absolute value; v2: negative sums count as 0
    death: float
    win: float
    defeat: float
    negative_scale: float
    scale_rate: float  # 0: no scaling


class EndRules(NamedTuple):
    """Which kinds of last units end a battle, by map type and flavour."""

    medivac: int  # number of the Medivac's type in the unit table
    medivacs_lose: bool  # the team is lost once only Medivacs live
    medivac_wins: bool  # won once exactly one enemy lives and it is a Medivac
    medivacs_win: bool  # won once no enemy but Medivacs lives
    win_first: bool  # the test for a lone enemy Medivac comes before the test for a loss


class Scorer:
    """Keeps what the reward compares with: health at the last reading and who has been counted dead.

    Attributes:
        max_reward_B: float64 (B,), the sum that a perfect first episode earns before scaling. It stays that of the
            first episode of which a step was played, also where later episodes have other enemies, as in SMACv2.
    """

    def __init__(self, settings: Sc2Settings, table: UnitTable) -> None:
        self.settings, self.table = settings, table
        B = table.num_envs
        self.max_reward_B = np.zeros(B)
        self._played_B = np.zeros(B, np.bool_)
        self._before_BU = np.zeros((B, table.n_slots))
        self._counted_BU = np.zeros((B, table.n_slots), np.bool_)
        self._weights = Weights(
            only_positive=settings.reward_only_positive,
            is_sparse=settings.reward_sparse,
            absolute=settings.flavour != SMACV2,
            death=settings.reward_death_value,
            win=settings.reward_win,
            defeat=settings.reward_defeat,
            negative_scale=settings.reward_negative_scale,
            scale_rate=settings.reward_scale_rate if settings.reward_scale else 0.0,
        )
        self._ends = end_rules(settings)

    def begin(self, which_B: np.ndarray) -> None:
        """Starts an episode in the battles of ``which_B`` (bool (B,)) from the table as it is."""
        first_B = which_B & ~self._played_B
        t, n, s = self.table, self.table.n_allies, self.settings
        most_B = t.health_max[:, n:].sum(1, np.float64) + t.shield_max[:, n:].sum(1, np.float64)
        self.max_reward_B[first_B] = most_B[first_B] + s.reward_death_value * t.n_enemies + s.reward_win
        self._before_BU[which_B] = (t.health.astype(np.float64) + t.shield)[which_B]
        self._counted_BU[which_B] = ~(t.alive & (t.health > 0))[which_B]

    def score(self, which_B: np.ndarray) -> Outcome:
        """Compares the table with the last reading in the battles of ``which_B``; others report nothing."""
        t = self.table
        B = t.num_envs
        self._played_B |= which_B
        outcome = Outcome(np.zeros(B), np.zeros(B, np.int8), np.zeros(B, np.int64), np.zeros(B, np.int64))
        _score(
            self._weights, self._ends, t.n_allies, t.unit_type, t.health, t.shield, t.alive, which_B,
            self._before_BU, self._counted_BU, self.max_reward_B, outcome,
        )  # fmt: skip
        return outcome

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns everything that later rewards depend on besides the table: the arrays, not copies."""
        return {
            "max_reward_B": self.max_reward_B,
            "played_B": self._played_B,
            "before_BU": self._before_BU,
            "counted_BU": self._counted_BU,
        }


def end_rules(settings: Sc2Settings) -> EndRules:
    """Returns how battles of a map end in a flavour."""
    map_type, flavour = settings.battle_map.map_type, settings.flavour
    heals = settings.battle_map.family.heals
    if flavour == SMACV2:
        return EndRules(UNIT_INDEX["Medivac"], heals, False, heals, False)
    is_comm_bane = flavour == SMAC_COMM and map_type == "bZ_hM"
    lone = heals or is_comm_bane
    return EndRules(UNIT_INDEX["Medivac"], lone, lone, False, is_comm_bane)


@njit(cache=True)
def _end_code(ends: EndRules, n: int, b: int, unit_type: np.ndarray, health: np.ndarray, alive: np.ndarray) -> int:
    """Returns how battle b stands."""
    allies = allies_no_healer = enemies = enemies_no_healer = 0
    for k in range(alive.shape[1]):
        if not (alive[b, k] and health[b, k] > 0):
            continue
        is_healer = unit_type[b, k] == ends.medivac
        if k < n:
            allies += 1
            allies_no_healer += not is_healer
        else:
            enemies += 1
            enemies_no_healer += not is_healer
    is_lone = enemies == 1 and enemies_no_healer == 0
    if ends.win_first and is_lone:
        return WON
    if (allies == 0 and enemies > 0) or (ends.medivacs_lose and allies_no_healer == 0):
        return LOST
    if allies > 0 and enemies == 0:
        return WON
    if (ends.medivac_wins and is_lone) or (ends.medivacs_win and enemies_no_healer == 0):
        return WON
    return DRAWN if allies == 0 and enemies == 0 else RUNNING


@njit(cache=True)
def _score(
    weights: Weights,
    ends: EndRules,
    n: int,
    unit_type: np.ndarray,
    health: np.ndarray,
    shield: np.ndarray,
    alive: np.ndarray,
    which_B: np.ndarray,
    before_BU: np.ndarray,
    counted_BU: np.ndarray,
    max_reward_B: np.ndarray,
    outcome: Outcome,
) -> None:
    for b in range(which_B.shape[0]):
        if not which_B[b]:
            continue
        damage = kills = losses = 0.0
        for k in range(alive.shape[1]):
            is_dead = not (alive[b, k] and health[b, k] > 0)
            if is_dead:
                if k < n:
                    outcome.dead_allies_B[b] += 1
                else:
                    outcome.dead_enemies_B[b] += 1
            if not counted_BU[b, k]:
                if is_dead:
                    counted_BU[b, k] = True
                    lost = before_BU[b, k]  # a death counts as all that was left
                else:
                    lost = before_BU[b, k] - np.float64(health[b, k]) - np.float64(shield[b, k])
                if k >= n:
                    damage += lost
                    kills += weights.death * is_dead
                else:
                    losses += weights.negative_scale * (lost + weights.death * is_dead)
            before_BU[b, k] = np.float64(health[b, k]) + np.float64(shield[b, k])
        reward = 0.0
        if not weights.is_sparse:
            reward = damage + kills
            if not weights.only_positive:
                reward -= losses
            elif weights.absolute:
                reward = abs(reward)
            else:
                reward = max(reward, 0.0)
        code = _end_code(ends, n, b, unit_type, health, alive)
        outcome.code_B[b] = code
        if code == WON:
            reward = 1.0 if weights.is_sparse else reward + weights.win
        elif code == LOST:
            reward = -1.0 if weights.is_sparse else reward + weights.defeat
        if weights.scale_rate > 0:
            reward /= max_reward_B[b] / weights.scale_rate
        outcome.reward_B[b] = reward
