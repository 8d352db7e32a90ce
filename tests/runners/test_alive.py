"""Who is alive, and every agent's own reward, reach the episode batch from every runner."""

import numpy as np
import pytest
import torch
from alive_envs import LIMIT, DyingEnv, N
from fake_run import GROUPS, Log, make_args

import envs
from components.transforms import OneHot
from envs.batched import SingleEnv
from envs.making import make_one
from epymarl_lmac.errors import SettingsError, TaskError
from epymarl_lmac.tasks import EnvEntry
from run import optional_fields
from runners import REGISTRY

PER_AGENT = {"vshape": (1,), "group": "agents", "dtype": torch.float32}
BASIC = {
    "state": {"vshape": 1},
    "obs": {"vshape": 1, "group": "agents"},
    "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
    "avail_actions": {"vshape": (2,), "group": "agents", "dtype": torch.int},
    "reward": {"vshape": (1,)},
    "terminated": {"vshape": (1,), "dtype": torch.uint8},
}


class Zeros:
    """A controller that always chooses action 0."""

    class action_selector:
        epsilon = 0.0

    def init_hidden(self, batch_size):
        self.shape = (batch_size, N)

    def select_actions(self, *args, **kwargs):
        return torch.zeros(self.shape, dtype=torch.long)


def play(runner_name, fields, **env_args):
    runner = REGISTRY[runner_name](make_args(env="dying", env_args=env_args, batch_size_run=3), Log())
    try:
        runner.setup({**BASIC, **fields}, GROUPS, {"actions": ("actions_onehot", [OneHot(2)])}, Zeros())
        return runner.run(), runner.env_info
    finally:
        runner.close_env()


@pytest.fixture(autouse=True)
def _dying(monkeypatch):
    entry = EnvEntry(batched=DyingEnv, rewards=("sum", "per_agent"))
    monkeypatch.setitem(envs.ENTRIES, "dying", entry)


@pytest.mark.parametrize("runner_name", ["vector", "parallel"])
def test_alive_and_agent_rewards_are_stored_at_their_steps(runner_name):
    batch, info = play(runner_name, {"alive": PER_AGENT, "agent_reward": PER_AGENT})
    assert info.has_alive and info.reward_per_agent
    lengths = [2, 3, 4] if runner_name == "vector" else [2, 2, 2]  # a worker's only copy is copy 0
    for b, length in enumerate(lengths):
        for t in range(LIMIT + 1):
            alive = [float(t <= length and n + 2 > t) for n in range(N)]
            earned = [float(n + 1) * (t < length) for n in range(N)]
            assert batch["alive"][b, t, :, 0].tolist() == alive
            assert batch["agent_reward"][b, t, :, 0].tolist() == earned
            assert batch["reward"][b, t, 0].item() == sum(earned)


def test_fields_that_a_batch_lacks_are_not_written():
    batch, _ = play("vector", {})
    assert "alive" not in batch.scheme and "agent_reward" not in batch.scheme


@pytest.mark.parametrize("name", ["alive_BN", "reward_BN"])
def test_an_environment_that_forgets_what_it_promised_is_named(name):
    with pytest.raises(TaskError, match=rf"DyingEnv.step\(\) returned no {name}"):
        play("vector", {"alive": PER_AGENT, "agent_reward": PER_AGENT}, forgets=name)


def test_fields_follow_from_the_environment_and_the_learner():
    info = DyingEnv(1, 0).describe()
    asks = type("Asks", (), {"READS_AGENT_REWARD": True})
    assert optional_fields(info, object, "q_learner") == {"alive": PER_AGENT}
    assert set(optional_fields(info, asks, "own")) == {"alive", "agent_reward"}
    plain = envs.REGISTRY["lookout"](
        seed=1, players=2, targets=2, steps=1, noise=0.0, random_scout=False, time_limit_terminates=True
    ).batched.describe()
    assert optional_fields(plain, object, "q_learner") == {}
    with pytest.raises(SettingsError, match="learner=own reads a reward for each agent"):
        optional_fields(plain, asks, "own")


def test_a_host_gets_every_agents_reward_where_it_asks_for_it():
    env = make_one("dying", envs.ENTRIES["dying"], seed=0, common_reward=False)
    env.reset()
    assert env.step([0, 0, 0])[1] == [1.0, 2.0, 3.0]
    assert env.get_alive().tolist() == [True, True, True]
    env.step([0, 0, 0])
    assert env.get_alive().tolist() == [False, True, True]
    env.reset()
    assert env.get_alive().all()
    assert make_one("dying", envs.ENTRIES["dying"], seed=0).step(np.zeros(3))[1] == 6.0


def test_one_copy_has_no_agents_rewards_where_the_environment_has_none():
    env = envs.REGISTRY["lookout"](
        seed=1, players=2, targets=2, steps=1, noise=0.0, random_scout=False, time_limit_terminates=True
    )
    with pytest.raises(ValueError, match="LookoutEnv has no reward for each agent"):
        SingleEnv(env.batched, common_reward=False)


@pytest.mark.parametrize("runner_name", ["episode", "parallel"])
def test_agents_that_are_not_there_at_the_start_are_stored_as_with_the_batched_environment(runner_name):
    env_args = dict(
        difficulty="easy", players=5, size=6, vision=0, add_rate=0.3, curriculum=None, vocabulary="coordinates",
        max_episode_steps=4, time_limit_terminates=True,
    )  # fmt: skip
    stored = {}
    for name in ("vector", runner_name):
        args = make_args(env="traffic_junction", env_args=env_args, batch_size_run=1)
        runner = REGISTRY[name](args, Log())
        try:
            info = runner.env_info
            mac = Zeros()
            mac.init_hidden = lambda batch_size, mac=mac: setattr(mac, "shape", (batch_size, 5))
            mac.memory, mac.needs_one_step = {}, lambda test_mode: False  # as the pipelined round asks it
            sizes = {"state": {"vshape": info.state_dim}, "obs": {"vshape": info.obs_dim, "group": "agents"}}
            fields = {**BASIC, **sizes, "alive": PER_AGENT}
            runner.setup(fields, {"agents": 5}, {"actions": ("actions_onehot", [OneHot(2)])}, mac)
            stored[name] = [runner.run()["alive"][0, :, :, 0] for _ in range(2)]
        finally:
            runner.close_env()
    for expected, found in zip(stored["vector"], stored[runner_name], strict=True):
        assert not expected[0].any() and expected.any()
        assert torch.equal(found, expected)
