"""Our interface equals the published packages' own code, to the bit, on the same unit states.

Needs checkouts: SMAC_HOME (oxwhirl/smac), SMACV2_HOME (oxwhirl/smacv2), and LMAC_HOME (SaaangJun/LMAC), whose fork has
the SMAC-Comm maps and takes SMAC's own from the package. The game is not needed. Per map and set of options 50 unit
states, and one step from each; where SMAC's script leads the agents, four.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from published_packages import PublishedEnv, package
from sc2_oracle import MAPS
from sc2_states import V1_MAPS, V2_MAPS, after, draw_actions, draw_rows, env_args, rng_of

from envs.sc2 import Sc2Env, Sc2V2Env

N_STATES = 50
N_SCRIPT_STEPS = 4
HOMES = {  # flavour -> checkouts and the folder of the package in each
    "smac": (("SMAC_HOME", "."),),
    "smac_comm": (("LMAC_HOME", "src"), ("SMAC_HOME", ".")),
    "smacv2": (("SMACV2_HOME", "."),),
}
SMAC_COMM_FAMILIES = ("bZ_hM", "overload_bane", "overload_roach")
ONLY_SMAC_COMM = [name for name in V1_MAPS if MAPS[name][0] in SMAC_COMM_FAMILIES] + ["5z_vs_1ul"]
ON = {"obs_last_action": True, "obs_pathing_grid": True, "obs_terrain_height": True}
TIMES = {"obs_timestep_number": True, "state_timestep_number": True}
COMMON = [
    {},
    ON,
    {"move_amount": 3, **ON},
    {"obs_all_health": False},
    {"obs_all_health": False, "obs_own_health": False},
    {"state_last_action": True},
    {"reward_only_positive": False, "reward_defeat": -5},
    {"reward_sparse": True},
    {"reward_scale": False, "continuing_episode": True},
]
OWN = {
    "smac": [TIMES, {**ON, **TIMES}, {"state_last_action": False}, {"obs_instead_of_state": True}],
    "smac_comm": [
        {"obs_all_health": True, "obs_enemy_health": True, **ON},
        {"obs_all_health": True, "obs_enemy_health": False},
        {"obs_all_health": False, "obs_enemy_health": True, "obs_instead_of_state": True},
        {"sight_range": 5, "shoot_range": 4},
    ],
    "smacv2": [
        {**ON, **TIMES},
        {"conic_fov": True, **ON},
        {"conic_fov": True, "action_mask": False, "use_unit_ranges": False},
        {"action_mask": False, "obs_own_pos": False},
        {"prob_obs_enemy": 0.0, "min_attack_range": 5},
    ],
}
SCRIPT = [ON, {"heuristic_rest": True, **ON}]
SCRIPT_V2 = [
    {"heuristic_rest": True, "conic_fov": True},
    {"heuristic_rest": True, "action_mask": False, "obs_last_action": True},
]
CASES = [
    (flavour, name)
    for flavour in HOMES
    for name in (V2_MAPS if flavour == "smacv2" else V1_MAPS)
    if flavour != "smac" or name not in ONLY_SMAC_COMM
]

pytestmark = pytest.mark.usefixtures("still_battles")


@pytest.mark.parametrize(("flavour", "name"), CASES)
def test_interface_equals_the_published_package(flavour, name):
    with package(flavour, _folders(flavour)) as module:
        for options in [*COMMON, *OWN[flavour]]:
            _compare_on_states(module, flavour, name, options)


@pytest.mark.parametrize(("flavour", "name"), [case for case in CASES if case[0] != "smac_comm"])
def test_the_scripted_team_equals_the_published_package(flavour, name):
    with package(flavour, _folders(flavour)) as module:
        for options in [*SCRIPT, *(SCRIPT_V2 if flavour == "smacv2" else [])]:
            _compare_scripts(module, flavour, name, {"heuristic_ai": True, **options})


def _folders(flavour: str) -> list[Path]:
    """Returns the folders of a flavour's packages; skips the test where they are absent."""
    if missing := [home for home, _ in HOMES[flavour] if not os.environ.get(home)]:
        pytest.skip(f"not set: {', '.join(missing)}")
    return [Path(os.environ[home]) / folder for home, folder in HOMES[flavour]]


def _make(module: ModuleType, flavour: str, name: str, options: dict) -> tuple[Sc2Env, PublishedEnv]:
    env_name = "sc2v2" if flavour == "smacv2" else "sc2"
    args = env_args(env_name, map_name=name, **options)
    if env_name == "sc2":
        args["flavour"] = flavour
    env = (Sc2V2Env if env_name == "sc2v2" else Sc2Env)(1, 0, **args)
    published = PublishedEnv(module, flavour, name, env.settings)
    assert (published.env.n_actions, published.env.episode_limit) == (env.n_actions, env.episode_limit)
    return env, published


def _draw_state(env: Sc2Env, published: PublishedEnv, name: str, rng: np.random.Generator) -> tuple[dict, list[int]]:
    """Puts both into a state; returns its units and the order in which SMACv2 visits the agents."""
    rows = draw_rows(name, rng)
    last, order = rng.integers(0, env.n_actions, env.n_agents), rng.permutation(env.n_agents).tolist()
    steps = int(rng.integers(env.episode_limit))
    published.write(rows, last, steps, order)
    looks = np.tile([1.0, 0.0], (env.n_agents, 1))
    env.write_battle(0, rows, last_actions_N=last, steps=steps, looks_N2=looks, order_N=order)
    return rows, order


def _compare_on_states(module: ModuleType, flavour: str, name: str, options: dict) -> None:
    env, published = _make(module, flavour, name, options)
    rng = rng_of(flavour, name, sorted(options.items()))
    for state in range(N_STATES):
        where = f"{options}, state {state}"
        rows, order = _draw_state(env, published, name, rng)
        _compare(env, published, where)

        actions, next_rows = draw_actions(env.avail_BNA[0], rng), after(rows, rng)
        published.env.max_reward = env.max_reward_B[0]
        reward, is_over, info = published.play(actions, next_rows)
        result = env.step_to(0, actions, next_rows, order_N=order)
        _compare(env, published, f"{where}, a step later")
        assert result.reward_B[0] == np.float32(reward), where
        assert (result.terminated_B[0] or result.truncated_B[0]) == is_over, where
        for key, value in info.items():
            if key != "episode_limit":
                assert result.info[key][0] == value, (key, where)


def _compare_scripts(module: ModuleType, flavour: str, name: str, options: dict) -> None:
    env, published = _make(module, flavour, name, options)
    script, moved = env.scripted_team, 0
    assert script is not None
    rng = rng_of("script", flavour, name, sorted(options.items()))
    for state in range(N_STATES):
        rows, order = _draw_state(env, published, name, rng)
        _compare(env, published, f"{options}, state {state}")
        for step in range(N_SCRIPT_STEPS):
            where = f"{options}, state {state}, step {step}"
            alive_N, next_rows = env.alive_BN[0].copy(), after(rows, rng)
            given = rng.integers(0, env.n_actions, env.n_agents)
            played = given.copy()
            _, is_over, _ = published.play(played, next_rows)
            result = env.step_to(0, given, next_rows, order_N=order)
            targets = [-1 if target is None else target for target in published.env.heuristic_targets]
            np.testing.assert_array_equal(script.target_BN[0][alive_N], np.array(targets)[alive_N], err_msg=where)
            np.testing.assert_array_equal(script.actions_BN[0], np.where(alive_N, played, 0), err_msg=where)
            _compare(env, published, where)
            moved += int(((played >= 2) & (played <= 5) & alive_N).sum())
            rows = next_rows
            if is_over:
                assert result.terminated_B[0], where
                break
    assert (moved > 0) == bool(options.get("heuristic_rest") and env.settings.action_mask)


def _compare(env: Sc2Env, published: PublishedEnv, where: str) -> None:
    obs, state, avail = published.views()
    np.testing.assert_array_equal(env.avail_BNA[0], avail, err_msg=f"available actions, {where}")
    np.testing.assert_array_equal(env.obs_BNO[0], obs, err_msg=f"observations, {where}")
    np.testing.assert_array_equal(env.state_BS[0], state, err_msg=f"state, {where}")
