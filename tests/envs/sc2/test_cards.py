"""Task cards: every number that the environment shows has a name, a meaning and a range that holds."""

from __future__ import annotations

import numpy as np
import pytest
from sc2_states import V1_MAPS, V2_MAPS, draw_rows, env_args, rng_of

from envs.sc2 import Sc2Env, Sc2V2Env
from epymarl_lmac.tasks import task_card, task_id

pytestmark = pytest.mark.usefixtures("still_battles")

ALL_ON = {"obs_last_action": True, "obs_pathing_grid": True, "obs_terrain_height": True, "state_last_action": True}
TIMES = {"obs_timestep_number": True, "state_timestep_number": True}
CASES = [("sc2", name, {"flavour": flavour}) for name in V1_MAPS for flavour in ("smac", "smac_comm")]
CASES += [("sc2v2", name, {}) for name in V2_MAPS]
CASES += [
    ("sc2", "MMM", {"flavour": "smac", **ALL_ON, **TIMES}),
    ("sc2", "2s3z", {"obs_instead_of_state": True, **TIMES}),
    ("sc2", "1o_2r_vs_4r", {"obs_all_health": False, "obs_own_health": False, "obs_enemy_health": False}),
    ("sc2v2", "terran_5_vs_5", {"conic_fov": True, **ALL_ON, **TIMES}),
]


@pytest.mark.parametrize(("env_name", "name", "options"), CASES)
def test_a_card_describes_every_number_of_the_arrays(env_name, name, options):
    args = env_args(env_name, map_name=name, **options)
    card = task_card(env_name, args)
    B = 40
    env = (Sc2Env if env_name == "sc2" else Sc2V2Env)(B, 0, **args)
    rng = rng_of("card", name)
    for b in range(B):
        last = rng.integers(-1, env.n_actions, env.n_agents)
        env.write_battle(b, draw_rows(name, rng), last_actions_N=last, steps=b % env.episode_limit)
    assert (card.n_agents, card.episode_limit) == (env.n_agents, env.episode_limit)
    assert len(card.actions) == len(set(card.actions)) == env.n_actions
    columns = (
        (card.obs, env.obs_BNO.reshape(-1, env.obs_dim)),
        (card.state, env.state_BS),
    )
    for dims, values in columns:
        assert len(dims) == values.shape[1]
        assert [d.index for d in dims] == list(range(len(dims)))
        assert len({d.name for d in dims}) == len(dims)
        low, high = np.array([d.low for d in dims]), np.array([d.high for d in dims])
        too_low, too_high = (values < low - 1e-6).any(0), (values > high + 1e-6).any(0)
        assert [d.name for d, wrong in zip(dims, too_low | too_high, strict=True) if wrong] == []
        moves = [d.name for d, value in zip(dims, np.ptp(values, 0) > 0, strict=True) if value]
        assert len(moves) > len(dims) / 3  # the ranges have been tried


def test_columns_stand_where_their_names_say():
    args = env_args("sc2", map_name="bane_vs_hM")
    card, env = task_card("sc2", args), Sc2Env(1, 0, **args)
    rows = env.read_battle(0)
    rows["x"][:], rows["y"][:] = [10, 16, 20, 16, 16], [31, 29, 31, 30.5, 31]
    rows["health"][3], rows["cooldown"][1] = 45, 5
    env.write_battle(0, rows)
    state = dict(zip([d.name for d in card.state], env.state_BS[0].tolist(), strict=True))
    assert (state["agent1_cooldown"], state["agent2_x"], state["enemy0_health"]) == (5, 0.125, 0.5625)
    assert (state["enemy1_is_Medivac"], state["enemy1_is_Hydralisk"], state["enemy0_is_Hydralisk"]) == (1, 0, 1)
    obs = dict(zip([d.name for d in card.obs], env.obs_BNO[0, 1].tolist(), strict=True))
    assert (obs["enemy0_attackable"], obs["enemy0_dy"], obs["own_health"]) == (1, 0.75, 1)
    assert obs["enemy1_attackable"] == 0 and env.avail_BNA[0, 1, 7] == 1


def test_enemy_health_that_nobody_sees_is_not_called_observable():
    seen = {d.name: d.observable for d in task_card("sc2", env_args("sc2", map_name="1o_10b_vs_1r")).state}
    hidden = {d.name: d.observable for d in task_card("sc2", env_args("sc2", map_name="bane_vs_hM")).state}
    assert seen["enemy0_health"] and not hidden["enemy0_health"]
    assert hidden["enemy0_x"] and not hidden["agent0_cooldown"]


def test_task_ids_name_what_differs_from_the_published_settings():
    assert task_id("sc2", env_args("sc2", map_name="bane_vs_hM")) == "bane_vs_hM"
    assert task_id("sc2", env_args("sc2", map_name="3m")) == "3m"
    assert task_id("sc2", env_args("sc2", map_name="3m", flavour="smac_comm")) == "3m-smac_comm"
    assert task_id("sc2", env_args("sc2", map_name="bane_vs_hM", sight_range=4)) == "bane_vs_hM-sight_range_4"
    assert task_id("sc2v2", env_args("sc2v2")) == "terran_5_vs_5"
    assert task_id("sc2v2", env_args("sc2v2", conic_fov=True)) == "terran_5_vs_5-conic_fov_true"


@pytest.mark.parametrize("name", [*V1_MAPS, *V2_MAPS])
def test_goals_tell_teams_and_end(name):
    env = "sc2v2" if name in V2_MAPS else "sc2"
    goal = task_card(env, env_args(env, map_name=name)).goal
    assert "agents" in goal and "won once" in goal and "  " not in goal and "None" not in goal
