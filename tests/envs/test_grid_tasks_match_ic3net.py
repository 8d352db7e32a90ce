"""Traffic junction and predator-prey, step by step beside IC3Net's own environments.

Set IC3NET_CHECKOUT to a checkout of https://github.com/IC3Net/IC3Net to run these tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from grid_cases import HARD, MEDIUM, make, settings

from benchmarks.ic3net_games import flat, is_checkout, load_module, make_predator_prey, make_traffic_junction
from envs.traffic_junction_kernels import ALIVE, LAST, ROUTE, WAIT
from epymarl_lmac.tasks.traffic_routes import routes

CHECKOUT = Path(os.environ.get("IC3NET_CHECKOUT", ""))
pytestmark = pytest.mark.skipif(
    not is_checkout(CHECKOUT), reason="IC3Net: set IC3NET_CHECKOUT to a checkout of its repository"
)

TRAFFIC = {
    "easy": {},
    "easy vision 1": {"vision": 1},
    "easy coordinates": {"vocabulary": "coordinates", "vision": 1},
    "medium": MEDIUM,
    "medium crowded": {**MEDIUM, "vision": 1, "add_rate": 0.9},
    "medium small": {**MEDIUM, "size": 4, "players": 4},
    "hard": {**HARD, "vision": 1, "add_rate": 0.3},
    "hard small": {**HARD, "size": 9, "vision": 1, "players": 8, "add_rate": 0.5},
    "hard coordinates": {**HARD, "vocabulary": "coordinates"},
}


class Arrivals:
    """Gives the reference the arrivals that our game drew, in place of its own random numbers."""

    def __init__(self, env):
        self._cars_N5 = env.state_dict()["cars_BN5"][0]
        n = env._n_per_arrival
        is_new_N = (self._cars_N5[:, ALIVE] == 1) & (self._cars_N5[:, WAIT] == 0)
        self._by_arrival = {int(self._cars_N5[i, ROUTE]) // n: int(i) for i in np.flatnonzero(is_new_N)}
        self._n_per_arrival, self._arrival, self._car = n, -1, -1

    def uniform(self):
        self._arrival += 1
        self._car = self._by_arrival.pop(self._arrival, -1)
        return 0.0 if self._car >= 0 else 1.0

    def choice(self, options):
        if np.ndim(options) == 0:
            assert options == self._n_per_arrival
            return int(self._cars_N5[self._car, ROUTE]) % self._n_per_arrival
        assert self._car in options
        return self._car

    def assert_used(self):
        assert not self._by_arrival


@pytest.mark.parametrize("case", TRAFFIC)
def test_traffic_junction_step_by_step(case, monkeypatch):
    env = make("traffic_junction", 1, 11, **TRAFFIC[case])
    game = make_traffic_junction(CHECKOUT, settings("traffic_junction", **TRAFFIC[case]))
    rng = np.random.default_rng(2)
    n_crashed = 0
    for _ in range(6):
        env.reset()
        np.testing.assert_array_equal(env.obs_BNO[0], flat(game.reset()))
        for _ in range(env.episode_limit):
            actions_N = (rng.random(env.n_agents) < 0.3).astype(int)
            result = env.step(actions_N[None])
            arrivals = Arrivals(env)
            with monkeypatch.context() as patched:
                patched.setattr(np.random, "uniform", arrivals.uniform)
                patched.setattr(np.random, "choice", arrivals.choice)
                observation, reward_N, _, info = game.step(actions_N)
            arrivals.assert_used()
            np.testing.assert_allclose(env.obs_BNO[0], flat(observation), rtol=0, atol=1e-6)
            np.testing.assert_allclose(env.player_reward_BN[0], reward_N, rtol=1e-12)
            assert result.reward_B[0] == pytest.approx(reward_N.sum(), rel=1e-6, abs=1e-6)
            np.testing.assert_array_equal(env.alive_BN[0], info["alive_mask"])
            assert result.info["success"][0] == game.stat["success"]
            state_N6 = env.state_BS[0].reshape(-1, 6)
            np.testing.assert_allclose(state_N6[:, 1:3] * (env.settings.side - 1), game.car_loc, atol=1e-5)
            np.testing.assert_array_equal(state_N6[:, 4], game.car_last_act)
            np.testing.assert_array_equal(env.state_dict()["cars_BN5"][0, :, LAST], game.car_last_act)
        n_crashed += 1 - game.stat["success"]
    assert n_crashed > 0


@pytest.mark.parametrize(("difficulty", "size"), [("medium", 4), ("medium", 14), ("hard", 9), ("hard", 18)])
def test_routes_are_the_references(difficulty, size):
    helper = load_module(CHECKOUT, "traffic_helper")
    grid = np.zeros((size, size), int)
    for road in helper.get_road_blocks(size, size, difficulty):
        grid[road] = 1
    theirs = helper.get_routes((size, size), grid, difficulty)
    assert routes(difficulty, size) == [[[tuple(cell) for cell in route] for route in arrival] for arrival in theirs]


PREDATOR_PREY = {
    "easy": {},
    "vision 1": {"vision": 1},
    "vision 2 no stay": {"vision": 2, "stay": False},
    "medium": {"players": 5, "size": 10, "vision": 1, "max_episode_steps": 40},
    "crowded": {"players": 6, "size": 3, "vision": 2},
}


@pytest.mark.parametrize("case", PREDATOR_PREY)
def test_predator_prey_step_by_step(case):
    env = make("predator_prey", 1, 11, **PREDATOR_PREY[case])
    game = make_predator_prey(CHECKOUT, settings("predator_prey", **PREDATOR_PREY[case]))
    rng = np.random.default_rng(2)
    n_reached = 0
    for _ in range(10):
        env.reset()
        pos_K2 = env.state_dict()["pos_BK2"][0].astype(int)
        game._get_cordinates = lambda pos_K2=pos_K2: pos_K2
        np.testing.assert_array_equal(env.obs_BNO[0], flat(game.reset()))
        for _ in range(env.episode_limit):
            actions_N = rng.integers(0, env.n_actions, env.n_agents)
            result = env.step(actions_N[None])
            observation, reward_N, _, _ = game.step(actions_N)
            np.testing.assert_array_equal(env.obs_BNO[0], flat(observation))
            np.testing.assert_allclose(env.player_reward_BN[0], reward_N, rtol=1e-12)
            assert result.info["success"][0] == game.stat["success"]
        n_reached += game.reached_prey.sum()
    assert n_reached > 0
