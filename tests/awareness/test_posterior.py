"""What can be known: enumerated beliefs are the true ones."""

import itertools

import numpy as np
import pytest

from epymarl_lmac.paths import make_host_importable
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks.lbf_posterior_sampled import SampledLbfPosterior
from epymarl_lmac.tasks.lbf_settings import LbfSettings
from epymarl_lmac.tasks.posterior import EXACT, SAMPLED, posterior_of

make_host_importable()
from envs.lbf import LbfEnv  # noqa: E402
from envs.lookout import LookoutEnv  # noqa: E402


def env_args(env, **changes):
    return {**merge("qmix", env, [])["env_args"], **changes}


def play(env, n_steps, seed):
    """Returns observations (T, N, O), actions (T, N) and states (T, S) of a copy at random."""
    rng = np.random.default_rng(seed)
    obs, actions, states = [env.obs_BNO[0].copy()], [], [env.state_BS[0].copy()]
    for _ in range(n_steps):
        chosen = rng.integers(env.n_actions, size=(1, env.n_agents))
        result = env.step(chosen)
        actions.append(chosen[0])
        obs.append(env.obs_BNO[0].copy())
        states.append(env.state_BS[0].copy())
        if result.terminated_B[0] or result.truncated_B[0]:
            break
    actions.append(np.zeros(env.n_agents, np.int64))
    return np.stack(obs), np.stack(actions), np.stack(states)


TINY = {"players": 2, "field_size": [4, 5], "max_food": 1, "max_episode_steps": 4}


def every_start(rows, cols):
    """Returns (starts, food cell, probability) of all starts of two players and one food, by the placing rule."""
    cells = list(itertools.product(range(rows), range(cols)))
    inner = [(r, c) for r, c in cells if 0 < r < rows - 1 and 0 < c < cols - 1]
    for a, b in itertools.permutations(cells, 2):
        free = [cell for cell in inner if cell not in (a, b)]
        for food in free:
            yield (a, b), food, 1 / len(free)


def replay(env, starts, food, level, actions):
    """Returns observations and states of the environment's own rules from a given start."""
    saved = env.state_dict()
    saved["field_BRC"][:] = 0
    saved["field_BRC"][0][food] = level
    saved["pos_BN2"][0] = starts
    saved["level_BN"][:] = 1
    saved["clock_B"][:] = 0
    saved["foods_B2"][:] = 1
    saved["total_B"][:] = level
    saved["live_B"][:] = True
    env.load_state_dict(saved)
    obs, states = [env.obs_BNO[0].copy()], [env.state_BS[0].copy()]
    for chosen in actions:
        env.step(chosen[None])
        obs.append(env.obs_BNO[0].copy())
        states.append(env.state_BS[0].copy())
    return np.stack(obs), np.stack(states)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_together_equals_brute_force_with_the_environments_own_rules(seed):
    args = env_args("lbf", **TINY)
    obs, actions, _ = play(LbfEnv(1, seed, **args), 3, seed)
    T = len(obs)
    found = posterior_of("lbf", args).together(obs, actions)
    env = LbfEnv(1, 0, **args)
    total, mean = np.zeros(T), np.zeros_like(found.mean)
    for starts, food, weight in every_start(4, 5):
        other, states = replay(env, starts, food, 2, actions[: T - 1])
        fits = np.cumprod((other == obs).all((1, 2)))
        total += weight * fits
        mean += weight * fits[:, None] * states
    np.testing.assert_allclose(found.mean, mean / total[:, None], atol=1e-6)


def test_alone_equals_brute_force_over_the_other_players_actions():
    args = env_args("lbf", **TINY)
    obs, actions, _ = play(LbfEnv(1, 5, **args), 2, 5)
    T = len(obs)
    found = posterior_of("lbf", args).alone(obs, actions)
    env = LbfEnv(1, 0, **args)
    total, mean = np.zeros(T), np.zeros((T, env.state_dim))
    for starts, food, weight in every_start(4, 5):
        first, _ = replay(env, starts, food, 2, [])
        if not np.array_equal(first[0, 0], obs[0, 0]):
            continue
        for others in itertools.product(range(6), repeat=T - 1):
            joint = np.stack([actions[: T - 1, 0], np.array(others, np.int64)], axis=1)
            seen, states = replay(env, starts, food, 2, joint)
            fits = np.cumprod((seen[:, 0] == obs[:, 0]).all(1))
            total += weight * fits
            mean += weight * fits[:, None] * states
    np.testing.assert_allclose(found.mean[:, 0], mean / total[:, None], atol=1e-6)


def test_hand_worked_first_step():
    """A lone player in a corner of a 3x3 field, whose one interior cell holds the food, knows everything."""
    args = env_args("lbf", players=1, field_size=3, max_food=1, max_episode_steps=3)
    env = LbfEnv(1, 0, **args)
    obs, state = replay(env, [(0, 0)], (1, 1), 1, [])
    belief = posterior_of("lbf", args).together(obs, np.zeros((1, 1), np.int64))
    np.testing.assert_allclose(belief.mean, state, atol=1e-9)
    assert belief.variance.max() < 1e-9


def test_beliefs_are_calibrated_on_random_play():
    """Their mean squared error is their own variance; a decoder that knows as much cannot be better."""
    args = env_args("lbf")
    posterior = posterior_of("lbf", args)
    assert posterior.form == EXACT
    errors, variances = [], []
    for seed in range(30):
        obs, actions, states = play(LbfEnv(1, seed, **args), 25, seed)
        belief = posterior.together(obs, actions)
        errors.append(np.square(belief.mean - states).sum(1).mean())
        variances.append(belief.variance.sum(1).mean())
    standard_error = np.std(np.array(errors) - np.array(variances)) / np.sqrt(len(errors))
    assert abs(np.mean(errors) - np.mean(variances)) < 3 * standard_error


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"players": 6, "max_food": 4, "field_size": 11}, "6 players on 11x11 cells"),
        ({"field_size": 11}, "121 cells"),
        ({"max_food": 6}, "food sets"),
    ],
)
def test_a_field_too_large_to_enumerate_says_its_size_and_is_sampled(changes, said, caplog):
    posterior = posterior_of("lbf", env_args("lbf", **changes))
    assert posterior.form == SAMPLED
    assert said in caplog.text and "sampled" in caplog.text
    assert said in posterior.note


@pytest.mark.parametrize("changes", [{"sight": 0}, {"max_player_level": 3}, {"rules": "v3", "grid_observation": False}])
def test_a_game_without_a_posterior_says_that_a_learned_bound_stands_in(changes, caplog):
    assert posterior_of("lbf", env_args("lbf", **changes)) is None
    assert "learned lower bound" in caplog.text


def sampled(args, particles):
    return SampledLbfPosterior(LbfSettings.from_env_args(args), "a test", particles, particles)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_samples_tend_to_the_enumerated_belief(seed):
    """Their squared distance from the belief is a few of its variances divided by their number."""
    args = env_args("lbf", **TINY)
    obs, actions, _ = play(LbfEnv(1, seed, **args), 4, seed)
    exact, P = posterior_of("lbf", args), 2000
    for name in ("together", "alone"):
        expected, found = (getattr(form, name)(obs, actions) for form in (exact, sampled(args, P)))
        apart = np.square(found.mean - expected.mean).sum(-1)
        assert (apart <= 10 * expected.variance.sum(-1) / P + 1e-9).all()
        np.testing.assert_allclose(found.variance.sum(-1), expected.variance.sum(-1), rtol=0.1, atol=1e-9)


def test_the_same_history_gets_the_same_samples():
    args = env_args("lbf", players=3, max_food=2, field_size=6)
    obs, actions, _ = play(LbfEnv(1, 4, **args), 6, 4)
    first, second = (sampled(args, 50).together(obs, actions) for _ in range(2))
    np.testing.assert_array_equal(first.mean, second.mean)


def test_sampled_beliefs_are_calibrated_where_nothing_can_be_enumerated():
    args = env_args("lbf", players=3, max_food=2, field_size=7)
    posterior = sampled(args, 200)
    apart, variances = [], []
    for seed in range(24):
        obs, actions, states = play(LbfEnv(1, seed, **args), 12, seed)
        belief = posterior.together(obs, actions)
        variances.append(belief.variance.sum(1).mean())
        apart.append(np.square(belief.mean - states).sum(1).mean() - variances[-1])
    assert posterior.n_passed_over == 0
    standard_error = np.std(apart) / np.sqrt(len(apart))
    assert abs(np.mean(apart)) < 3 * standard_error < 0.4 * np.mean(variances)


def test_a_history_that_cannot_be_is_passed_over_and_counted():
    """A food where a moment ago there was none."""
    args = env_args("lbf", **TINY)
    obs, actions, _ = play(LbfEnv(1, 1, **args), 2, 1)
    layers = obs.reshape(len(obs), 2, 3, 3, 3)
    free = np.argwhere(layers[1, 0, 2] > 0)[0]
    actions[:] = 0
    layers[:] = layers[0]
    layers[1, 0, 1][tuple(free)], layers[1, 0, 2][tuple(free)] = 2, 0
    posterior = sampled(args, 20)
    belief = posterior.together(obs, actions)
    assert posterior.n_passed_over > 0
    assert f"{posterior.n_passed_over} entries of windows fitted none" in posterior.note
    assert np.isfinite(belief.mean).all()


def test_lookout_alone_and_together():
    args = env_args("lookout", noise=0.2)
    env = LookoutEnv(1, 3, **args)
    env.reset()
    obs = env.obs_BNO.copy()
    posterior = posterior_of("lookout", args)
    seen = int(obs[0, 0, :-1].argmax())
    K = args["targets"]
    actions = np.zeros((1, args["players"]), np.int64)
    together, alone = posterior.together(obs, actions), posterior.alone(obs, actions)
    expected = np.full(K, 0.2 / (K - 1))
    expected[seen] = 0.8
    np.testing.assert_allclose(together.mean[0, :K], expected)
    np.testing.assert_allclose(alone.mean[0, 0], together.mean[0])
    np.testing.assert_allclose(alone.mean[0, 1, :K], 1 / K)
    np.testing.assert_allclose(alone.variance[0, 1, :K], (1 / K) * (1 - 1 / K))


def test_a_task_without_a_posterior_brings_none():
    assert posterior_of("no_such_env", {}) is None
