"""The three runners play the same episodes where their environments are the same."""

import fake_envs as fake
import pytest
import torch
from fake_run import GROUPS, PREPROCESS, SCHEME, ScriptedMac, make_args, make_runner, register, same

from components.episode_buffer import EpisodeBatch
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.settings import load_settings
from runners.base import Runner
from runners.rollout import rollout


@pytest.fixture(autouse=True)
def _fakes(monkeypatch):
    register(monkeypatch)


@pytest.fixture
def close():
    runners: list[Runner] = []
    yield runners.append
    for runner in runners:
        runner.close_env()


def test_one_environment_gives_the_same_episodes_and_figures_in_all_runners(close):
    args = make_args(
        batch_size_run=1,
        env_args={"lengths": [2, 5, 3, 1], "noise": True},
        epsilon_start=0.6,
        epsilon_finish=0.2,
        test_nepisode=1,
    )
    results = {}
    for name in ("vector", "episode", "parallel"):
        runner, log = make_runner(name, args)
        close(runner)
        batches = [runner.run(test_mode=mode) for mode in (False, True, False, False)]
        results[name] = batches, log.rows, runner.t_env, runner.rules
    batches, rows, t_env, rules = results.pop("vector")
    assert t_env == 2 + 5 + 3
    assert rows
    for name, (other_batches, *rest) in results.items():
        assert all(same(a, b) for a, b in zip(batches, other_batches, strict=True)), name
        assert rest == [rows, t_env, rules]


def test_vector_copies_are_the_episodes_that_one_environment_plays_in_turn():
    vector, _ = make_runner("vector", make_args(batch_size_run=4))
    episode, _ = make_runner("episode", make_args(batch_size_run=1))
    batch = vector.run()
    for b in range(4):
        assert same(batch[b], episode.run())


def test_parallel_workers_are_environments_with_seeds_of_their_own(close):
    env_args = {"lengths": [2, 5, 3, 1], "noise": True}
    runner, log = make_runner("parallel", make_args(batch_size_run=2, env_args=env_args, test_nepisode=3))
    close(runner)
    own = [fake.FakeBatched(1, runner._env_seed("train", i), **env_args) for i in range(2)]
    for _ in range(2):
        batch = runner.run()
        for i in range(2):
            expected = EpisodeBatch(SCHEME, GROUPS, 1, fake.LIMIT + 1, preprocess=PREPROCESS)
            rollout(own[i], ScriptedMac(make_args()), expected, t_env=0)
            assert same(batch[i], expected)
    assert not torch.equal(batch["state"][0, 0], batch["state"][1, 0])
    runner.run(test_mode=True)
    # each of 2 workers plays game 0 (2 steps), then one of them plays game 1 (5 steps)
    assert log.last()["test_ep_length_mean"] == pytest.approx((2 + 2 + 5) / 3)


def test_episode_runner_plays_one_environment_only():
    with pytest.raises(SettingsError, match="batch_size_run=3; set batch_size_run=1") as error:
        make_runner("episode", make_args(batch_size_run=3))
    assert error.value.key == "batch_size_run"


def test_a_foreign_environment_plays_in_the_episode_runner():
    runner, log = make_runner("episode", make_args(env="engine", env_args={}, batch_size_run=1))
    batch = runner.run()
    assert batch["filled"].sum() == fake.LIMIT + 1
    assert not batch["terminated"].any()  # it tells its time limit as SMAC does
    assert log.last()["episode_limit_mean"] == 1.0
    assert runner.rules == "Engine"
    assert "map_mean" not in log.last()  # words are no figures
    runner.load_state_dict(runner.state_dict())  # an engine cannot be saved, the rest of the runner can
    assert runner.t_env == fake.LIMIT
    assert "cannot be saved" in log.warned[0][0]


def test_every_runner_lets_an_environment_be_drawn(close):
    scenes, env_args = [], load_settings("qmix", "lbf").env_args
    for name in ("vector", "episode", "parallel"):
        runner, _ = make_runner(name, make_args(env="lbf", env_args=env_args, batch_size_run=1))
        close(runner)
        env = runner._make_env("test", 1)
        env.reset()
        scenes.append(env.scene(0))
        env.close()
    assert scenes[0] == scenes[1] == scenes[2] and scenes[0].bodies


@pytest.mark.parametrize("name", ["vector", "episode"])
def test_exploration_of_one_round_can_be_given(name, close):
    args = make_args(batch_size_run=1, epsilon_start=1.0, epsilon_finish=1.0, env_args={"lengths": [5]})
    greedy, exploring = (make_runner(name, args)[0] for _ in range(2))
    close(greedy)
    close(exploring)
    batch = greedy.run(epsilon=0.0)
    best = greedy.mac.select_actions
    greedy.mac.init_hidden(1)
    with torch.no_grad():
        chosen = torch.stack([best(batch, t, 0, test_mode=True) for t in range(5)], 1)
    assert torch.equal(batch["actions"][:, :5, :, 0], chosen)
    assert greedy.mac.action_selector.epsilon == 0.0
    assert not same(batch, exploring.run()) and same(exploring.run(epsilon=0.0), greedy.run(epsilon=0.0))
