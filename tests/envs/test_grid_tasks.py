"""What every small grid task promises: streams, saved state, finished copies, cards, limits, pictures, bad calls."""

from __future__ import annotations

import numpy as np
import pytest
from grid_cases import CASES, allowed_actions, make, settings

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks import task_card, task_id

ALL = pytest.mark.parametrize("case", CASES)


def make_case(case, num_envs, seed, **changes):
    env, own = CASES[case]
    return make(env, num_envs, seed, **{**own, **changes})


def play(env, steps, seed):
    """Plays random available actions with resets of finished copies; returns everything seen."""
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(steps):
        result = env.step(allowed_actions(env, rng))
        arrays = [*result[:3], *result.info.values(), env.obs_BNO, env.state_BS, env.avail_BNA, env.alive_BN]
        seen.append([array.copy() for array in arrays])
        env.reset(result.terminated_B | result.truncated_B)
    return seen


def assert_equal_play(first, second):
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@ALL
def test_same_seed_plays_the_same_and_another_does_not(case):
    first, second, third = (play(make_case(case, 6, seed), 60, 1) for seed in (5, 5, 6))
    assert_equal_play(first, second)
    assert any(
        not np.array_equal(a, b) for one, two in zip(first, third, strict=True) for a, b in zip(one, two, strict=True)
    )


@ALL
def test_a_copy_depends_on_its_own_stream_only(case):
    few, many = make_case(case, 2, 5), make_case(case, 7, 5)
    rng = np.random.default_rng(1)
    for _ in range(40):
        actions = allowed_actions(many, rng)
        one, all_ = few.step(actions[:2]), many.step(actions)
        np.testing.assert_array_equal(few.obs_BNO, many.obs_BNO[:2])
        np.testing.assert_array_equal(few.state_BS, many.state_BS[:2])
        few.reset(one.terminated_B | one.truncated_B)
        many.reset(all_.terminated_B | all_.truncated_B)


@ALL
def test_saved_state_continues_to_the_bit(case):
    env, other = make_case(case, 6, 5), make_case(case, 6, 77)
    play(env, 33, 1)
    other.load_state_dict(env.state_dict())
    for name in ("obs_BNO", "state_BS", "avail_BNA", "alive_BN"):
        np.testing.assert_array_equal(getattr(env, name), getattr(other, name), err_msg=name)
    assert_equal_play(play(env, 60, 2), play(other, 60, 2))


@ALL
def test_finished_copies_stay_as_they_are(case):
    env = make_case(case, 5, 3)
    rng = np.random.default_rng(0)
    over_B = np.zeros(5, bool)
    for _ in range(env.episode_limit):
        result = env.step(allowed_actions(env, rng))
        over_B |= result.terminated_B | result.truncated_B
    assert over_B.all()
    before, obs_BNO = env.state_dict(), env.obs_BNO.copy()
    result = env.step(allowed_actions(env, rng))
    assert not (result.reward_B.any() or result.terminated_B.any() or result.truncated_B.any())
    for name, array in env.state_dict().items():
        np.testing.assert_array_equal(before[name], array, err_msg=name)
    np.testing.assert_array_equal(env.obs_BNO, obs_BNO)


@ALL
def test_card_describes_every_column(case):
    """Every value lies in its column's range, and every column that can vary does, or is zero all along."""
    env = make_case(case, 64, 3)
    card = task_card(env.name, settings(env.name, **CASES[case][1]))
    assert card.task == task_id(env.name, card.settings) and card.n_agents == env.n_agents
    assert (len(card.obs), len(card.state), len(card.actions)) == (env.obs_dim, env.state_dim, env.n_actions)
    assert card.episode_limit == env.episode_limit
    rng = np.random.default_rng(0)
    for _ in range(60):
        for dims, array in ((card.obs, env.obs_BNO), (card.state, env.state_BS)):
            flat = array.reshape(-1, len(dims))
            low, high = np.array([d.low for d in dims]), np.array([d.high for d in dims])
            wrong = np.flatnonzero(((flat < low - 1e-6) | (flat > high + 1e-6)).any(0))
            assert not wrong.size, [dims[k] for k in wrong[:3]]
        result = env.step(allowed_actions(env, rng))
        env.reset(result.terminated_B | result.truncated_B)
    for dims in (card.obs, card.state):
        assert [d.index for d in dims] == list(range(len(dims)))
        assert len({d.name for d in dims}) == len(dims)


@ALL
def test_time_limit_can_be_a_truncation(case):
    env = make_case(case, 8, 3, time_limit_terminates=False)
    rng = np.random.default_rng(0)
    late_B = np.zeros(8, bool)
    for _ in range(env.episode_limit):
        was_live_B = ~late_B
        result = env.step(allowed_actions(env, rng) * 0 if env.name != "predator_prey" else env.avail_BNA.argmax(-1))
        late_B |= result.truncated_B
        assert not (result.terminated_B & result.truncated_B).any() and was_live_B[result.truncated_B].all()
    assert late_B.any()


@ALL
def test_render_shows_text_and_refuses_other_modes(case):
    env = make_case(case, 2, 3)
    assert f"step 0/{env.episode_limit}" in env.render(1)
    with pytest.raises(ValueError, match="copy 2 does not exist"):
        env.render(2)
    with pytest.raises(ValueError, match="render mode 'rgb' is not known"):
        env.render(0, "rgb")


@ALL
def test_bad_calls_are_named_and_change_nothing(case):
    env = make_case(case, 2, 3)
    before = env.state_dict()
    with pytest.raises(ValueError, match=r"actions have shape \(2, 1\)"):
        env.step(np.zeros((2, 1), int))
    with pytest.raises(ValueError, match=f"expected 0..{env.n_actions - 1}"):
        env.step(np.full((2, env.n_agents), env.n_actions))
    with pytest.raises(ValueError, match="expected one bool for each of 2 copies"):
        env.reset(np.ones(3, bool))
    with pytest.raises(ValueError, match="saved array 'clock_B'"):
        env.load_state_dict({**before, "clock_B": before["clock_B"][:1]})
    with pytest.raises(ValueError, match="saved state has arrays"):
        env.load_state_dict({"clock_B": before["clock_B"]})
    for name, array in env.state_dict().items():
        np.testing.assert_array_equal(before[name], array, err_msg=name)


@pytest.mark.parametrize("env", ["hallway", "hallway_group", "predator_prey", "traffic_junction"])
def test_missing_and_unknown_arguments_are_named(env):
    with pytest.raises(TaskError, match=r"unknown keys \['colour'\]"):
        task_id(env, settings(env, colour=1))
    fewer = settings(env)
    fewer.pop("time_limit_terminates")
    with pytest.raises(TaskError, match=r"missing keys \['time_limit_terminates'\]"):
        task_id(env, fewer)
    with pytest.raises(TaskError, match="time_limit_terminates='no' must be true or false"):
        make(env, time_limit_terminates="no")
    with pytest.raises(TaskError, match="num_envs=0 copies is not possible"):
        make(env, 0)
