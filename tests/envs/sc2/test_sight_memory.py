"""SMACv2's shared memory of sightings: faithful to its error, or clean."""

from __future__ import annotations

import numpy as np
import pytest
from sc2_states import env_args

from envs.sc2 import Sc2V2Env

pytestmark = pytest.mark.usefixtures("still_battles")

ORDER = [0, 1, 2, 3, 4]


def _env(enemies_x: list[float], **changes: object) -> Sc2V2Env:
    """Agent 0 at x = 2, agent 4 at x = 3, the others in the far east; enemies where they are put, all at y = 16."""
    env = Sc2V2Env(1, 0, **env_args("sc2v2", map_name="zerg_5_vs_5", **changes))
    rows = env.read_battle(0)
    rows["x"][:] = [2, 31, 31, 31, 3, *enemies_x]
    rows["y"][:] = 16
    env.write_battle(0, rows, order_N=ORDER)
    return env


def _seen(env: Sc2V2Env, agent: int) -> list[bool]:
    """Which enemy rows of an agent are filled."""
    s = env.settings
    rows = env.obs_BNO[0, agent, s.move_width : s.move_width + s.n_enemies * s.enemy_width]
    return rows.reshape(s.n_enemies, -1).any(1).tolist()


def test_a_slot_that_nobody_has_seen_empties_the_slots_before_it():
    near, far = 4.0, 16.0
    xs = [near, near, far, near, near]
    assert _seen(_env(xs), 0) == [False, False, False, True, True]
    assert _seen(_env(xs, sight_memory="clean"), 0) == [True, True, False, True, True]


def test_without_sharing_only_the_first_to_see_an_enemy_sees_it():
    env = _env([4.0] * 5, prob_obs_enemy=0.0, sight_memory="clean")
    assert _seen(env, 0) == [True] * 5 and _seen(env, 4) == [False] * 5
    rows = env.read_battle(0)
    rows["alive"][0] = False
    env.step_to(0, np.ones(5, int), rows, order_N=ORDER)  # the first observer dies and its slots are free again
    assert _seen(env, 4) == [True] * 5


def test_the_order_of_the_agents_decides_what_faithful_shows_them():
    first = _env([4.0, 4.0, 31.0, 4.0, 4.0])  # agents 1 to 3 see enemy 2, agents 0 and 4 the others
    assert _seen(first, 0) == [False, False, False, True, True] and _seen(first, 4) == [True, True, False, True, True]
    rows = first.read_battle(0)
    first.write_battle(0, rows, order_N=[1, 0, 2, 3, 4])
    assert _seen(first, 0) == [True, True, False, True, True]


def test_a_new_episode_visits_the_agents_twice():
    env = _env([4.0] * 5)
    env._simulator._rows = env.read_battle(0)
    env._simulator._rows["x"][5:] = [4, 4, 31, 4, 4]
    env.reset()
    assert _seen(env, 0) == [True, True, False, True, True]  # whatever the order was


def test_saved_battles_go_on_to_the_bit():
    one, two = (Sc2V2Env(3, 0, **env_args("sc2v2", map_name="zerg_5_vs_5", prob_obs_enemy=0.5)) for _ in range(2))
    stop = np.where(one.avail_BNA[:, :, 1] > 0, 1, 0)
    for _ in range(3):
        one.step(stop)
    two.load_state_dict(one.state_dict())
    for env in (one, two):
        env.reset(np.array([True, False, True]))
        env.step(stop)
    np.testing.assert_array_equal(one.obs_BNO, two.obs_BNO)
    np.testing.assert_array_equal(one.state_BS, two.state_BS)
    assert one.get_stats() == two.get_stats()


def test_a_saved_state_of_another_size_is_refused_by_the_array():
    one, two = (Sc2V2Env(B, 0, **env_args("sc2v2", map_name="zerg_5_vs_5")) for B in (2, 3))
    with pytest.raises(ValueError, match=r"saved array 'observer\.last_BN' is int64 \(2, 5\)"):
        two.load_state_dict(one.state_dict())


def test_the_time_limit_is_an_end_or_a_cut():
    for cut in (False, True):
        env = Sc2V2Env(2, 0, **env_args("sc2v2", map_name="zerg_5_vs_5", continuing_episode=cut))
        env.write_battle(1, env.read_battle(1), steps=199)
        result = env.step(np.where(env.avail_BNA[:, :, 1] > 0, 1, 0))
        assert result.terminated_B.tolist() == [False, not cut] and result.truncated_B.tolist() == [False, cut]
        assert env.get_stats() == {
            "battles_won": 0, "battles_game": 1, "timeouts": 1, "battles_draw": 1, "win_rate": 0, "restarts": 0
        }  # fmt: skip


def test_rewards_stay_scaled_by_the_first_episode_that_was_played():
    env = Sc2V2Env(1, 0, **env_args("sc2v2", map_name="zerg_5_vs_5"))
    rows = env.read_battle(0)
    rows["health_max"][5:] = 100
    env.write_battle(0, rows)
    assert env.max_reward_B.tolist() == [5 * 110 + 200]
    env.step(np.where(env.avail_BNA[:, :, 1] > 0, 1, 0))
    rows["health_max"][5:] = 50
    env.write_battle(0, rows)
    assert env.max_reward_B.tolist() == [5 * 110 + 200]
