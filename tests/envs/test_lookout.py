"""Lookout: rules, optimum, streams, saved state, task card."""

import itertools

import numpy as np
import pytest

from envs.lookout import LookoutEnv
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks import task_card
from epymarl_lmac.tasks.lookout import optimum

ARGS = {"players": 3, "targets": 4, "steps": 2, "noise": 0.0, "random_scout": False, "time_limit_terminates": True}


def make(num_envs=8, seed=1, **changes):
    env = LookoutEnv(num_envs, seed, **{**ARGS, **changes})
    env.reset()
    return env


def target(env):
    return env.state_BS[:, : env.n_actions].argmax(1)


def test_reward_only_if_all_name_the_target():
    env = make()
    right = np.repeat(target(env)[:, None], 3, axis=1)
    assert (env.step(right).reward_B == 0.5).all()
    wrong = right.copy()
    wrong[:, 2] = (wrong[:, 2] + 1) % 4
    result = env.step(wrong)
    assert (result.reward_B == 0).all() and result.terminated_B.all() and not result.truncated_B.any()
    after = env.step(right)
    assert not after.reward_B.any() and not after.terminated_B.any()


def test_time_limit_can_be_a_truncation():
    env = make(steps=1, time_limit_terminates=False)
    result = env.step(np.zeros((8, 3), dtype=np.int64))
    assert result.truncated_B.all() and not result.terminated_B.any()


def test_only_the_scout_sees_the_target():
    env = make(64, random_scout=True)
    scout = env.state_BS[:, 4:].argmax(1)
    assert len(set(scout)) == 3
    for b in range(64):
        for i in range(3):
            expected = np.zeros(5)
            if i == scout[b]:
                expected[target(env)[b]] = expected[4] = 1
            assert np.array_equal(env.obs_BNO[b, i], expected)


def test_optimum_without_communication_by_enumeration():
    """The best of all joint policies in which only the scout's choice depends on the target."""
    K = 3
    best = 0.0
    for follow in itertools.product(range(K), repeat=K):  # the scout's choice for each target
        for others in itertools.product(range(K), repeat=2):
            wins = sum(follow[k] == k and all(o == k for o in others) for k in range(K))
            best = max(best, wins / K)
    assert optimum({**ARGS, "targets": K}, communication=False) == pytest.approx(best)


@pytest.mark.parametrize("noise", [0.0, 0.25, 0.9])
def test_optimum_with_communication_by_enumeration(noise):
    """All follow a function of what the scout saw; the best such function, against the exact distribution."""
    K = 3
    seen_given = [[1 - noise if s == k else noise / (K - 1) for s in range(K)] for k in range(K)]
    best = max(
        sum(seen_given[k][s] / K for k in range(K) for s in range(K) if follow[s] == k)
        for follow in itertools.product(range(K), repeat=K)
    )
    assert optimum({**ARGS, "targets": K, "noise": noise}, communication=True) == pytest.approx(best)


def test_noise_misleads_as_often_as_it_says():
    env = make(4000, noise=0.3)
    misled = (env.obs_BNO[:, 0, :4].argmax(1) != target(env)).mean()
    assert abs(misled - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 4000)


def test_copies_have_streams_of_their_own():
    few, many = make(3), make(9)
    assert np.array_equal(target(few), target(many)[:3])
    assert len(set(target(many))) > 1


def test_saved_state_continues_to_the_bit():
    env, other = make(seed=1), make(seed=2)
    env.step(np.zeros((8, 3), dtype=np.int64))
    other.load_state_dict(env.state_dict())
    for _ in range(5):
        assert np.array_equal(env.obs_BNO, other.obs_BNO) and np.array_equal(env.state_BS, other.state_BS)
        actions = np.ones((8, 3), dtype=np.int64)
        assert all(np.array_equal(a, b) for a, b in zip(env.step(actions)[:3], other.step(actions)[:3], strict=True))
        env.reset()
        other.reset()


def test_card_describes_the_arrays():
    env = make(200, random_scout=True, noise=0.2)
    card = task_card("lookout", {**ARGS, "random_scout": True, "noise": 0.2})
    assert (len(card.obs), len(card.state), len(card.actions)) == (env.obs_dim, env.state_dim, env.n_actions)
    for dims, array in ((card.obs, env.obs_BNO), (card.state, env.state_BS)):
        for d in dims:
            column = array[..., d.index]
            assert column.min() >= d.low and column.max() <= d.high and column.max() == 1


def test_card_hash_changes_with_the_columns_only():
    same = task_card("lookout", {**ARGS, "noise": 0.1}).hash()
    assert task_card("lookout", ARGS).hash() == same
    assert task_card("lookout", {**ARGS, "targets": 5}).hash() != same


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"players": 1}, "players=1 must be at least 2"),
        ({"targets": 1}, "targets=1 must be at least 2"),
        ({"noise": 1.5}, "noise=1.5 must lie between 0 and 1"),
        ({"extra": 1}, r"unknown arguments \['extra'\]"),
    ],
)
def test_impossible_settings_are_named(changes, message):
    with pytest.raises(TaskError, match=message):
        LookoutEnv(1, 1, **{**ARGS, **changes})
