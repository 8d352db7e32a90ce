"""Copies that play tests have a curriculum's final rules, with every runner; those that train begin at its start."""

import numpy as np
import pytest
import torch
from fake_run import Log, make_args

from components.transforms import OneHot
from runners import REGISTRY

ENV_ARGS = {
    "difficulty": "easy", "players": 5, "size": 6, "vision": 0, "add_rate": 0.3, "curriculum": [0.1, 0, 1000],
    "vocabulary": "coordinates", "max_episode_steps": 4, "time_limit_terminates": True,
}  # fmt: skip


class Gas:
    """Always chooses gas."""

    class action_selector:
        epsilon = 0.0

    def __init__(self):
        self.memory = {}

    def needs_one_step(self, test_mode):
        return False

    def init_hidden(self, batch_size):
        self.shape = (batch_size, 5)

    def select_actions(self, *args, **kwargs):
        return torch.zeros(self.shape, dtype=torch.long)


@pytest.mark.parametrize("name", ["vector", "episode", "parallel"])
def test_tests_are_played_at_the_final_rate(name):
    args = make_args(env="traffic_junction", env_args=ENV_ARGS, batch_size_run=1, test_nepisode=2)
    log = Log()
    runner = REGISTRY[name](args, log)
    try:
        info = runner.env_info
        scheme = {
            "state": {"vshape": info.state_dim},
            "obs": {"vshape": info.obs_dim, "group": "agents"},
            "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
            "avail_actions": {"vshape": (2,), "group": "agents", "dtype": torch.int},
            "reward": {"vshape": (1,)},
            "terminated": {"vshape": (1,), "dtype": torch.uint8},
        }
        runner.setup(scheme, {"agents": 5}, {"actions": ("actions_onehot", [OneHot(2)])}, Gas())
        runner.run()
        runner.run(test_mode=True)
        rates = log.last()
        assert (rates["add_rate_mean"], rates["test_add_rate_mean"]) == pytest.approx((0.1, 0.3))
        np.testing.assert_allclose(runner.evaluate()["add_rate"], 0.3)
    finally:
        runner.close_env()
