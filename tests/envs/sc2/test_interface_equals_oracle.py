"""Observations, state, available actions, reward and end equal those of a second, scalar implementation.

200 unit states a map and flavour, and one step from each of them: 400 readings, compared to the bit.
"""

from __future__ import annotations

import numpy as np
import pytest
from sc2_oracle import Oracle
from sc2_states import (
    V1_MAPS,
    V2_MAPS,
    after,
    as_units,
    draw_actions,
    draw_rows,
    env_args,
    rng_of,
)

from envs.sc2 import Sc2Env, Sc2V2Env
from epymarl_lmac.tasks.sc2_settings import Sc2Settings

N_STATES = 200
CASES = [("sc2", name, flavour, {}) for name in V1_MAPS for flavour in ("smac", "smac_comm")]
CASES += [("sc2v2", name, "smacv2", {}) for name in V2_MAPS]
ALL_ON = {"obs_last_action": True, "obs_pathing_grid": True, "obs_terrain_height": True}
TIMES = {"obs_timestep_number": True, "state_timestep_number": True}
NO_HEALTH = {"obs_all_health": False, "obs_own_health": False}
OPTIONS = [
    ("sc2", "2s3z", "smac", {**ALL_ON, **TIMES}),
    ("sc2", "MMM", "smac", {**ALL_ON, **NO_HEALTH, "state_last_action": False}),
    ("sc2", "1o_10b_vs_1r", "smac", {**ALL_ON, **TIMES, "sight_range": 4, "shoot_range": 3.5}),
    ("sc2", "3s_vs_5z", "smac", {**ALL_ON, "move_amount": 3}),
    ("sc2", "2s3z", "smac", {"move_amount": 1.5}),
    ("sc2v2", "terran_5_vs_5", "smacv2", {**ALL_ON, "move_amount": 1}),
    ("sc2", "1o_2r_vs_4r", "smac_comm", {**ALL_ON, "obs_enemy_health": False, "state_last_action": True}),
    ("sc2", "5z_vs_1ul", "smac_comm", {**NO_HEALTH, "obs_enemy_health": True}),
    ("sc2", "bane_vs_hM", "smac_comm", {**ALL_ON, "obs_all_health": True, "obs_enemy_health": True}),
    ("sc2", "3s_vs_5z", "smac", {**TIMES, "obs_instead_of_state": True}),
    ("sc2", "3s5z", "smac", {"reward_only_positive": False, "reward_defeat": -7, "reward_death_value": 4}),
    ("sc2", "MMM2", "smac_comm", {"reward_sparse": True}),
    ("sc2", "2s3z", "smac", {"reward_sparse": True, "reward_scale": False}),
    ("sc2", "3m", "smac", {"reward_only_positive": False, "reward_scale": False, "reward_negative_scale": 0.25}),
    ("sc2v2", "terran_5_vs_5", "smacv2", {**ALL_ON, **TIMES}),
    ("sc2v2", "terran_10_vs_10", "smacv2", {"conic_fov": True, **ALL_ON}),
    ("sc2v2", "protoss_5_vs_5", "smacv2", {"conic_fov": True, "sight_memory": "clean"}),
    ("sc2v2", "zerg_5_vs_5", "smacv2", {"use_unit_ranges": False, "action_mask": False, "obs_own_pos": False}),
    ("sc2v2", "terran_5_vs_5", "smacv2", {"min_attack_range": 5, **NO_HEALTH, "sight_memory": "clean"}),
    ("sc2v2", "protoss_10_vs_10", "smacv2", {"reward_only_positive": False, "action_mask": False, "conic_fov": True}),
]


def _pair(env: str, name: str, flavour: str, options: dict) -> tuple[Sc2Env, Oracle]:
    """Returns the environment and the oracle of a case."""
    args = env_args(env, map_name=name, **options)
    if env == "sc2":
        args["flavour"] = flavour
    made = (Sc2Env if env == "sc2" else Sc2V2Env)(N_STATES, 0, **args)
    settings = made.settings
    known = {key: getattr(settings, key) for key in Sc2Settings.__dataclass_fields__ if key != "battle_map"}
    return made, Oracle(name, flavour, {**known, **options})


def _compare(env: Sc2Env, oracle: Oracle, b: int, units: tuple, order: list, last: list, step: int) -> None:
    """Asserts that battle b is seen as the oracle sees it."""
    avail = [oracle.available(*units, i) for i in range(oracle.n)]
    assert env.avail_BNA[b].tolist() == avail, f"available actions of state {b}"
    obs = oracle.obs(*units, order, last, step)
    _assert_same(env.obs_BNO[b], obs, f"observations of state {b}")
    state = obs.ravel() if env.settings.obs_instead_of_state else oracle.state(*units, last, step)
    _assert_same(env.state_BS[b], state, f"state {b}")


def _assert_same(got: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Asserts equality to the bit; the slow comparison only explains a difference."""
    if got.dtype != expected.dtype or not np.array_equal(got, expected):
        np.testing.assert_array_equal(got, expected, err_msg=what)


pytestmark = pytest.mark.usefixtures("still_battles")


@pytest.mark.parametrize(("env_name", "name", "flavour", "options"), CASES + OPTIONS)
def test_interface_equals_the_scalar_oracle_to_the_bit(env_name, name, flavour, options):
    env, oracle = _pair(env_name, name, flavour, options)
    rng = rng_of(env_name, name, flavour, sorted(options.items()))
    n_ends = 0
    for b in range(N_STATES):
        rows = draw_rows(name, rng)
        units = as_units(rows, oracle.n)
        oracle.reset_memory()
        last = [int(a) for a in rng.integers(-1, oracle.A, oracle.n)]
        step = int(rng.integers(oracle.limit - 2))
        order = [int(i) for i in rng.permutation(oracle.n)]
        env.write_battle(b, rows, last_actions_N=last, steps=step, looks_N2=oracle.looks, order_N=order)
        _compare(env, oracle, b, units, order, last, step)

        actions = draw_actions(env.avail_BNA[b], rng)
        next_rows = after(rows, rng)
        result = env.step_to(b, actions, next_rows, order_N=order)
        next_units = as_units(next_rows, oracle.n)
        oracle.look(actions.tolist())
        oracle.forget(*next_units)
        _compare(env, oracle, b, next_units, order, actions.tolist(), step + 1)
        oracle.max_reward = env.max_reward_B[b]
        assert result.reward_B[b] == pytest.approx(oracle.reward(units, next_units), rel=1e-6, abs=1e-6)
        code = oracle.end(*next_units)
        assert result.terminated_B[b] == (code is not None)
        assert result.info["battle_won"][b] == (code == 1)
        if flavour != "smac_comm":
            assert result.info["dead_allies"][b] == sum(not u["alive"] for u in next_units[0])
            assert result.info["dead_enemies"][b] == sum(not u["alive"] for u in next_units[1])
        n_ends += code is not None
    assert 0 < n_ends < N_STATES  # both kinds of step have been compared


@pytest.mark.parametrize("name", V1_MAPS)
def test_reward_is_scaled_by_the_enemies_of_the_first_episode(name):
    env, oracle = _pair("sc2", name, "smac", {})
    oracle.start_rewards(as_units(env.read_battle(0), oracle.n)[1])
    assert env.max_reward_B.tolist() == [oracle.max_reward] * N_STATES
