"""Predator-prey, both forms: hand-worked steps, starts, known returns, impossible settings."""

from __future__ import annotations

import numpy as np
import pytest
from grid_cases import PENALTY, make, settings

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks import task_id
from epymarl_lmac.tasks.predator_prey import PredatorPreySettings
from epymarl_lmac.tasks.predator_prey_optimum import search_values

UP, RIGHT, DOWN, LEFT, STAY = range(5)  # rules ic3net
P_RIGHT, P_DOWN, P_LEFT, P_UP, P_STAY, P_CATCH = range(6)  # rules penalty


def put(env, cells):
    """Puts predators, then prey, on the given cells of every copy."""
    state = env.state_dict()
    state["pos_BK2"][:] = cells
    env.load_state_dict(state)


def cells(env, copy=0):
    return env.state_dict()["pos_BK2"][copy].tolist()


def test_predators_move_through_each_other_and_stop_at_the_border():
    env = make("predator_prey")
    put(env, [[0, 0], [0, 1], [4, 4], [2, 2]])
    env.step(np.array([[RIGHT, LEFT, RIGHT]]))
    assert cells(env)[:3] == [[0, 1], [0, 0], [4, 4]]
    env.step(np.array([[UP, LEFT, DOWN]]))
    assert cells(env)[:3] == [[0, 1], [0, 0], [4, 4]]


def test_reward_grows_with_the_number_of_predators_on_the_prey():
    env = make("predator_prey")
    put(env, [[2, 1], [1, 2], [0, 0], [2, 2]])
    first = env.step(np.array([[RIGHT, STAY, STAY]]))
    np.testing.assert_allclose(env.player_reward_BN[0], [0.05, -0.05, -0.05])
    assert first.reward_B[0] == pytest.approx(-0.05) and first.info["reached_prey"][0] == 1
    second = env.step(np.array([[LEFT, DOWN, RIGHT]]))  # the first one has arrived and cannot leave
    np.testing.assert_allclose(env.player_reward_BN[0], [0.1, 0.1, -0.05])
    assert cells(env)[0] == [2, 2] and second.info["success"][0] == 0
    np.testing.assert_allclose(env.state_BS[0], [0.5, 0.5, 1, 0.5, 0.5, 1, 0, 0.25, 0, 0.5, 0.5])
    for action in (RIGHT, DOWN, DOWN):
        last = env.step(np.array([[STAY, STAY, action]]))
    assert last.info["success"][0] == 1 and last.reward_B[0] == pytest.approx(0.45)


def test_a_predator_sees_which_cell_it_is_in_and_who_shares_it():
    env = make("predator_prey")
    put(env, [[2, 2], [2, 2], [0, 1], [4, 4]])
    expected = np.zeros((3, 29))
    expected[0, [12, 28]] = expected[1, [12, 28]] = [1, 2]
    expected[2, [1, 28]] = 1
    np.testing.assert_array_equal(env.obs_BNO[0], expected)
    put(env, [[2, 2], [2, 1], [0, 1], [2, 2]])
    assert env.obs_BNO[0, 0, 27] == 1 and env.obs_BNO[0, 1, 27] == 0


def test_starts_are_different_cells_drawn_uniformly():
    env = make("predator_prey", 6000)
    pos = env.state_dict()["pos_BK2"]
    index = pos[..., 0] * 5 + pos[..., 1]
    assert all(len(set(row)) == 4 for row in index.tolist())
    for k in (0, 3):  # 6,000 draws over 25 cells: 240 each, standard deviation 15
        assert np.abs(np.bincount(index[:, k], minlength=25) - 240).max() < 6 * 15.2


def go_to(start, goal):
    """Returns the action of a shortest way."""
    if start[0] != goal[0]:
        return DOWN if goal[0] > start[0] else UP
    if start[1] != goal[1]:
        return RIGHT if goal[1] > start[1] else LEFT
    return STAY


def test_known_prey_earns_what_the_card_says():
    """All go straight to the prey; the mean return of 800 episodes against the exact expectation."""
    env = make("predator_prey", 800)
    total = np.zeros(800)
    for _ in range(env.episode_limit):
        now = env.state_dict()["pos_BK2"].tolist()
        actions = [[go_to(p, row[3]) for p in row[:3]] for row in now]
        total += env.step(np.array(actions)).reward_B
    s = PredatorPreySettings.from_env_args(settings("predator_prey"))
    assert abs(total.mean() - search_values(s)["oracle"]) < 5 * total.std() / np.sqrt(800)


@pytest.mark.parametrize(("size", "vision", "steps"), [(3, 0, 6), (5, 0, 20), (5, 1, 20), (10, 1, 40)])
def test_bounds_are_in_order(size, vision, steps):
    changed = settings("predator_prey", size=size, vision=vision, max_episode_steps=steps)
    found = search_values(PredatorPreySettings.from_env_args(changed))
    assert found["floor"] < found["alone_high"] <= found["together_high"] <= found["oracle"] + 1e-9


def penalty(**changes):
    return make("predator_prey", **{**PENALTY, "players": 3, "prey": 2, "size": 5, **changes})


def test_two_predators_catch_a_prey_and_leave_with_it():
    env = penalty()
    put(env, [[0, 1], [1, 0], [4, 4], [0, 0], [4, 0]])
    assert env.avail_BNA[0, 0].tolist() == [1, 1, 1, 0, 1, 1] and env.avail_BNA[0, 2, P_CATCH] == 0
    result = env.step(np.array([[P_CATCH, P_CATCH, P_STAY]]))
    assert result.reward_B[0] == 10 and result.info["prey_caught"][0] == 1 and not result.terminated_B[0]
    assert env.alive_BN[0].tolist() == [0, 0, 1] and not env.obs_BNO[0, :2].any()
    assert env.avail_BNA[0, 0].tolist() == [0, 0, 0, 0, 1, 0]
    assert result.info["success"][0] == 1  # three predators can catch one prey at most
    np.testing.assert_array_equal(env.state_BS[0, :9], [0, 0, 0, 0, 0, 0, 1, 1, 1])


def test_an_attempt_alone_is_punished():
    env = penalty(penalty=1.5)
    put(env, [[0, 1], [2, 2], [4, 4], [0, 0], [4, 0]])
    result = env.step(np.array([[P_CATCH, P_STAY, P_STAY]]))
    assert result.reward_B[0] == -1.5 and env.alive_BN.all()


def test_an_attempt_beside_no_prey_does_nothing():
    env = penalty()
    put(env, [[2, 2], [0, 4], [4, 4], [0, 0], [4, 0]])
    assert env.step(np.array([[P_CATCH] * 3])).reward_B[0] == 0


def test_nobody_enters_a_cell_that_is_taken_and_prey_go_to_empty_cells():
    env = penalty(players=2, prey=1, num_envs=300)
    put(env, [[0, 1], [1, 0], [0, 0]])
    env.step(np.tile([P_LEFT, P_UP], (300, 1)))  # both blocked by the prey, which is shut in and stays
    assert (env.state_dict()["pos_BK2"] == [[0, 1], [1, 0], [0, 0]]).all()
    env.step(np.tile([P_RIGHT, P_STAY], (300, 1)))
    assert (env.state_dict()["pos_BK2"][:, 2] == [0, 1]).all()  # the only empty cell beside it
    env.step(np.tile([P_RIGHT, P_STAY], (300, 1)))
    went = {tuple(cell) for cell in env.state_dict()["pos_BK2"][:, 2].tolist()}
    assert went == {(0, 0), (1, 1), (0, 2)}


def test_the_order_of_predators_is_drawn_anew():
    env = penalty(players=2, prey=1, num_envs=200)
    put(env, [[2, 1], [2, 3], [0, 0]])
    env.step(np.tile([P_RIGHT, P_LEFT], (200, 1)))
    first = (env.state_dict()["pos_BK2"][:, 0] == [2, 2]).all(1).mean()
    assert 0.3 < first < 0.7


def test_an_episode_ends_when_nothing_is_left_to_hunt():
    env = penalty(players=2, prey=1)
    put(env, [[0, 1], [1, 0], [0, 0]])
    result = env.step(np.array([[P_CATCH, P_CATCH]]))
    assert result.terminated_B[0] and not result.truncated_B[0] and result.reward_B[0] == 10


def test_a_window_shows_predators_and_prey_and_nothing_beyond_the_border():
    env = penalty()
    put(env, [[0, 0], [1, 2], [4, 4], [2, 0], [4, 0]])
    window = env.obs_BNO[0, 0].reshape(5, 5, 2)
    assert np.argwhere(window[..., 0]).tolist() == [[2, 2], [3, 4]]
    assert np.argwhere(window[..., 1]).tolist() == [[4, 2]]


def test_task_ids():
    assert task_id("predator_prey", settings("predator_prey")) == "5x5-3p-v0"
    assert task_id("predator_prey", settings("predator_prey", **PENALTY)) == "10x10-8p-8prey-v2-pen2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": "mixed"}, "rules='mixed' is not known"),
        ({"players": 1}, "players=1 is not possible"),
        ({"size": 1}, "size=1 is not possible"),
        ({"size": 2, "players": 4}, "need 5 cells, but a grid of size 2 has 4"),
        ({"vision": 5}, "vision=5 is not possible; it must be an integer from 0 to 4"),
        ({"vision": 0.5}, "vision=0.5 is not possible"),
        ({"prey": 2}, "prey=2 needs rules: penalty"),
        ({"penalty": 1.0}, "penalty=1 needs rules: penalty"),
        ({**PENALTY, "penalty": -1}, "penalty=-1 is not possible"),
        ({**PENALTY, "stay": False}, "stay=False needs rules: ic3net"),
        ({"max_episode_steps": 0}, "max_episode_steps=0 is not possible"),
    ],
)
def test_impossible_settings_are_named(changes, message):
    with pytest.raises(TaskError, match=message):
        make("predator_prey", **changes)
