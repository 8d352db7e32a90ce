"""Hallway and hallway in groups: hand-worked steps, starts, optima by enumeration, impossible settings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from grid_cases import RANDOM, make, settings

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks import task_card, task_id
from epymarl_lmac.tasks.hallway import HallwaySettings
from epymarl_lmac.tasks.hallway_optimum import clock_solves, group_optimum, values

STAY, LEFT, RIGHT = 0, 1, 2


def place(env, positions):
    """Puts the agents of every copy into the given cells."""
    state = env.state_dict()
    state["pos_BN"][:] = positions
    env.load_state_dict(state)


def of(env="hallway", **changes):
    return HallwaySettings.from_env_args(env, settings(env, **changes))


def test_agents_that_arrive_together_win():
    env = make("hallway", 3)
    place(env, [2, 1])
    result = env.step(np.array([[LEFT, STAY]] * 3))
    assert not result.reward_B.any() and not result.terminated_B.any()
    np.testing.assert_array_equal(env.obs_BNO[0], [[1], [1]])
    result = env.step(np.array([[LEFT, LEFT], [LEFT, STAY], [RIGHT, STAY]]))
    assert result.reward_B.tolist() == [1, 0, 0]
    assert result.terminated_B.tolist() == [True, True, False]
    assert result.info["success"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(env.state_BS, [[0, 0], [0, 1], [2, 1]])


def test_nobody_leaves_the_corridor_at_its_end():
    env = make("hallway", lengths=[2, 3])
    place(env, [2, 2])
    env.step(np.array([[RIGHT, RIGHT]]))
    np.testing.assert_array_equal(env.state_BS, [[2, 3]])
    env.step(np.array([[RIGHT, RIGHT]]))
    np.testing.assert_array_equal(env.state_BS, [[2, 3]])


def test_published_starts_are_uniform_and_the_limit_is_ten_more_than_the_longest_corridor():
    env = make("hallway", 4000, lengths=[2, 6])
    starts = env.state_BS
    assert (np.bincount(starts[:, 0].astype(int))[1:] > 1800).all() and set(starts[:, 0]) == {1, 2}
    # 4,000 draws over 6 cells: 667 each, standard deviation 24
    assert np.abs(np.bincount(starts[:, 1].astype(int))[1:] - 667).max() < 6 * 24
    assert env.episode_limit == 16
    for t in range(1, 17):
        result = env.step(np.zeros((4000, 2), int))
        assert result.terminated_B.all() == (t == 16)


def test_random_lengths_start_at_the_far_end_and_set_the_time_limit():
    env = make("hallway", 500, **{**RANDOM, "time_slack": 2})
    lengths = env.state_BS[:, 2:]
    np.testing.assert_array_equal(env.state_BS[:, :2], lengths)
    assert set(lengths.ravel()) == {1, 2, 3, 4, 5, 6}
    ended_at = np.zeros(500, int)
    for t in range(1, env.episode_limit + 1):
        ended_at[env.step(np.full((500, 2), RIGHT)).terminated_B] = t
    np.testing.assert_array_equal(ended_at, lengths.max(1) + 2)


def test_groups_win_and_fail_one_by_one():
    env = make("hallway_group", lengths=[2, 2, 2, 2], group_ids=[0, 0, 1, 1])
    place(env, [1, 1, 2, 2])
    result = env.step(np.array([[LEFT] * 4]))
    assert result.reward_B[0] == 1 and not result.terminated_B[0]
    np.testing.assert_array_equal(env.obs_BNO[0], [[0, 0], [0, 0], [1, 1], [1, 1]])
    env.step(np.array([[RIGHT, RIGHT, STAY, STAY]]))  # the first group cannot move any more
    np.testing.assert_array_equal(env.obs_BNO[0, :, 0], [0, 0, 1, 1])
    result = env.step(np.array([[STAY, STAY, LEFT, LEFT]]))
    assert result.reward_B[0] == 1 and result.terminated_B[0] and result.info["success"][0] == 1


def test_an_episode_with_one_won_and_one_failed_group_goes_on_to_the_limit():
    env = make("hallway_group", lengths=[2, 2, 2, 2], group_ids=[0, 0, 1, 1])
    place(env, [1, 1, 1, 2])
    result = env.step(np.array([[LEFT, LEFT, LEFT, STAY]]))
    assert result.reward_B[0] == 1 and not result.terminated_B[0]
    assert (result.info["success"][0], result.info["groups_won"][0]) == (0, 1)
    n_more = 0
    while not result.terminated_B[0]:
        result = env.step(np.array([[LEFT] * 4]))
        n_more += 1
    assert n_more == env.episode_limit - 1 and result.reward_B[0] == 0


def test_all_groups_failed_ends_the_episode():
    env = make("hallway_group", lengths=[2, 2, 2, 2], group_ids=[0, 0, 1, 1])
    place(env, [1, 2, 1, 2])
    result = env.step(np.array([[LEFT] * 4]))
    assert result.terminated_B[0] and result.reward_B[0] == 0 and result.info["groups_won"][0] == 0


def test_groups_that_arrive_together_lose_half_a_reward_each_and_cannot_win_again():
    env = make("hallway_group", lengths=[2, 2, 2, 2], group_ids=[0, 0, 1, 1], reward_win=10.0)
    place(env, [1, 1, 1, 1])
    result = env.step(np.array([[LEFT] * 4]))
    assert result.reward_B[0] == -10 and not result.terminated_B[0]
    np.testing.assert_array_equal(env.obs_BNO[0], [[0, 1]] * 4)  # still active, in the goal
    env.step(np.array([[RIGHT] * 4]))
    np.testing.assert_array_equal(env.obs_BNO[0], [[1, 1]] * 4)
    assert env.step(np.array([[LEFT, LEFT, STAY, STAY]])).reward_B[0] == 0


def best_alone_by_enumeration(lengths, slack):
    """The best of all ways in which every agent can choose its time from its own start."""
    last = max(lengths) + slack
    policies = [list(itertools.product(*(range(x, last + 1) for x in range(1, k + 1)))) for k in lengths]
    starts = list(itertools.product(*(range(1, k + 1) for k in lengths)))
    best = 0
    for policy in itertools.product(*policies):
        times = [{policy[i][x - 1] for i, x in enumerate(start)} for start in starts]
        wins = sum(len(t) == 1 and max(t) <= max(start) + slack for t, start in zip(times, starts, strict=True))
        best = max(best, wins)
    return best / len(starts)


@pytest.mark.parametrize(("lengths", "slack"), [([3, 3], 0), ([4, 4], 0), ([2, 4], 0), ([3, 3], 1), ([2, 2, 3], 0)])
def test_optimum_without_communication_by_enumeration(lengths, slack):
    found = group_optimum(of(lengths=lengths, random_lengths=True, time_slack=slack), 0)
    assert found == pytest.approx(best_alone_by_enumeration(lengths, slack))


def test_optimum_with_communication_is_reached_by_agents_that_wait_for_the_longest():
    env = make("hallway", 200, **RANDOM)
    longest = env.state_BS[:, 2:].max(1)
    total = np.zeros(200)
    for t in range(env.episode_limit):
        must_go = env.obs_BNO[:, :, 0] >= longest[:, None] - t
        total += env.step(np.where(must_go, LEFT, STAY)).reward_B
    assert (total == 1).all()
    assert values(of(**RANDOM), communication=True) == (1, 1)


def test_a_clock_wins_the_published_form_without_messages():
    env = make("hallway_group", 200)
    arrival = np.array([5, 5, 10, 10, 10])
    total = np.zeros(200)
    for t in range(env.episode_limit):
        must_go = env.obs_BNO[:, :, 0] >= arrival - t
        total += env.step(np.where(must_go, LEFT, STAY)).reward_B
    assert (total == 2).all()
    assert values(of("hallway_group"), communication=False) == (2, 2)
    assert "No messages are needed" in task_card("hallway_group", settings("hallway_group")).goal


@pytest.mark.parametrize(
    ("env", "changes", "solved"),
    [
        ("hallway", {}, True),
        ("hallway", {"time_slack": 0}, True),
        ("hallway", RANDOM, False),
        ("hallway", {"random_lengths": True, "time_slack": 4}, False),
        ("hallway", {"random_lengths": True, "time_slack": 5}, True),
        ("hallway_group", {}, True),
        ("hallway_group", {"lengths": [4] * 4, "group_ids": [0, 0, 1, 1], "time_slack": 0}, False),
    ],
)
def test_whether_a_clock_solves_it(env, changes, solved):
    assert clock_solves(of(env, **changes)) == solved


def test_bounds_of_groups_enclose_each_other():
    s = of("hallway_group", lengths=[3, 3, 3, 3], group_ids=[0, 0, 1, 1], **RANDOM)
    (low, high), (best, same) = values(s, communication=False), values(s, communication=True)
    assert 0 < low <= high <= best == same <= 2 and low < best


def test_card_states_the_value_of_messages():
    assert "0.3056 without communication and 1 when" in task_card("hallway", settings("hallway", **RANDOM)).goal


def test_task_ids():
    assert task_id("hallway", settings("hallway")) == "6x6"
    assert task_id("hallway", settings("hallway", **RANDOM, reward_win=10.0)) == "6x6-random-slack0-w10"
    assert task_id("hallway_group", settings("hallway_group")) == "3x5-4x6x10"


@pytest.mark.parametrize(
    ("env", "changes", "message"),
    [
        ("hallway", {"lengths": [6]}, "must be a list of at least 2 integers"),
        ("hallway", {"lengths": "6x6"}, "must be a list of at least 2 integers"),
        ("hallway", {"lengths": [6, 0]}, r"lengths\[1\]=0 is not possible"),
        ("hallway", {"lengths": [6, 2.5]}, r"lengths\[1\]=2.5 is not possible"),
        ("hallway", {"time_slack": -1}, "time_slack=-1 is not possible"),
        ("hallway", {"reward_win": -1}, "reward_win=-1 is not possible"),
        ("hallway", {"reward_win": float("nan")}, "reward_win=nan is not possible"),
        ("hallway_group", {"group_ids": [0, 0]}, "group_ids has 2 entries, but lengths has 5"),
        ("hallway_group", {"group_ids": [0, 0, 2, 2, 2]}, "without a gap"),
    ],
)
def test_impossible_settings_are_named(env, changes, message):
    with pytest.raises(TaskError, match=message):
        make(env, **changes)
