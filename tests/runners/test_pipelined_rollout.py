"""More episodes than processes in a round, in two groups that take turns: which episodes are played, and how."""

import functools
import multiprocessing

import fake_envs as fake
import pytest
import torch
from fake_run import GROUPS, PREPROCESS, SCHEME, RememberingMac, ScriptedMac, make_args, make_runner, same

from components.episode_buffer import EpisodeBatch
from epymarl_lmac.errors import SettingsError, TaskError
from epymarl_lmac.settings import load_settings
from runners.pipelined_rollout import pipelined_rollout
from runners.rollout import rollout
from runners.worker_pool import EnvWorkerError, WorkerPool

LENGTHS = [2, 5, 3, 1]


@pytest.fixture
def play(parallel):
    """Returns a function that makes a parallel runner."""

    def make(mac=RememberingMac, **changes):
        return parallel(mac, **{"env_args": {"lengths": LENGTHS}, **changes})

    return make


def alone(mac, env, n_episodes):
    """Returns episodes of one environment, played one after the other."""
    episodes = []
    for _ in range(n_episodes):
        batch = EpisodeBatch(SCHEME, GROUPS, 1, fake.LIMIT + 1, preprocess=PREPROCESS)
        rollout(env, mac, batch, t_env=0)
        episodes.append(batch)
    return episodes


def stagger(runner):
    """Lets worker i begin with game i, so that the workers of a group end at different steps."""
    state = runner._env.state_dict()
    runner._env.load_state_dict(state | {f"{i}.episode": fake.np.array(i - 1) for i in range(runner._env.num_envs)})


def games(batch):
    """Returns which game every episode is, from what is observed first."""
    return [int(row[0, 0, 0]) // 1000 for row in batch["obs"]]


@pytest.mark.parametrize("num_envs", [1, 2, 3, 4])
def test_every_episode_is_as_if_played_alone_and_each_worker_plays_its_own_in_order(play, num_envs):
    env_args = {"lengths": LENGTHS, "noise": True}
    runner, _ = play(batch_size_run=7, num_envs=num_envs, env_args=env_args)
    stagger(runner)
    batch = runner.run()
    own = [fake.FakeBatched(1, runner._env_seed("train", i), **env_args) for i in range(num_envs)]
    for i, env in enumerate(own):
        env.episode = i - 1
    left = [alone(RememberingMac(make_args()), env, 7) for env in own]
    for row in range(7):
        worker = next(i for i, episodes in enumerate(left) if episodes and same(batch[row], episodes[0]))
        left[worker].pop(0)
    assert sum(7 - len(episodes) for episodes in left) == 7


def test_a_round_has_as_many_episodes_as_asked_and_all_count(play):
    runner, log = play(batch_size_run=9, num_envs=2, env_args={"lengths": [2, 5]})
    batch = runner.run()
    lengths = batch["filled"].sum((1, 2)) - 1
    # Each worker plays games of 2 and 5 steps in turn; whoever ends first begins the next.
    assert sorted(games(batch)) == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert runner.t_env == int(lengths.sum()) == 5 * 2 + 4 * 5
    assert log.last()["ep_length_mean"] == pytest.approx(30 / 9)
    assert log.last()["episode_limit_mean"] == pytest.approx(4 / 9)
    assert log.last()["won_mean"] == pytest.approx(4 / 9)


def test_a_worker_that_ends_begins_the_next_episode_at_once(play):
    runner, _ = play(batch_size_run=4, num_envs=2, env_args={"lengths": [5, 1, 1]})
    stagger(runner)
    batch = runner.run()
    # Worker 0 plays game 0 (5 steps); meanwhile worker 1 plays games 1 and 2 (1 step each) and begins game 3.
    assert games(batch) == [0, 1, 2, 3]


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_a_seed_plays_the_same_rounds_again(play, epsilon):
    changes = {"batch_size_run": 6, "num_envs": 3, "epsilon_start": epsilon, "epsilon_finish": epsilon}
    (one, one_log), (other, other_log) = (play(**changes) for _ in range(2))
    stagger(one)
    stagger(other)
    for mode in (False, True, False):
        assert same(one.run(test_mode=mode), other.run(test_mode=mode))
    assert one_log.rows == other_log.rows


def test_as_many_processes_as_episodes_play_what_copies_in_step_play(play):
    class InStep(RememberingMac):
        """The same without what a runner needs to have rows at different steps."""

        needs_one_step = property()

    pipelined, log = play(batch_size_run=4)
    in_step, in_step_log = play(mac=InStep, batch_size_run=4)
    for mode in (False, True, False):
        assert same(pipelined.run(test_mode=mode), in_step.run(test_mode=mode))
    assert pipelined._is_pipelined and not in_step._is_pipelined
    assert log.rows == in_step_log.rows


def test_test_episodes_are_as_many_as_asked_and_played_by_num_envs_processes(play):
    runner, log = play(batch_size_run=3, num_envs=2, test_nepisode=5)
    batch = runner.run(test_mode=True)
    assert batch.batch_size == 5 and runner._test_env.num_envs == 2 and runner.t_env == 0
    lengths = batch["filled"].sum((1, 2)) - 1
    assert log.last()["test_ep_length_mean"] == pytest.approx(float(lengths.sum()) / 5)


def test_test_episodes_come_in_rounds_that_fit_memory(play, monkeypatch):
    runner, log = play(batch_size_run=2, test_nepisode=5)
    monkeypatch.setattr(runner, "max_test_copies", 2)
    assert runner.run(test_mode=True).batch_size == 1  # rounds of 2, 2 and 1
    found = runner.evaluate()
    assert len(found["return"]) == 5
    assert found["ep_length"].mean() == pytest.approx(log.last()["test_ep_length_mean"])


def test_evaluation_is_the_same_at_every_call_and_changes_nothing(play):
    runner, _ = play(batch_size_run=4, num_envs=2, test_nepisode=6)
    runner.run()
    before = runner.state_dict()
    first, second = runner.evaluate(), runner.evaluate()
    assert all((first[key] == second[key]).all() for key in first) and len(first["return"]) == 6
    assert str(before) == str(runner.state_dict())


def test_a_resumed_run_equals_an_uninterrupted_one(play):
    changes = {
        "env_args": {"lengths": LENGTHS, "noise": True},
        "batch_size_run": 5,
        "num_envs": 2,
        "epsilon_start": 0.6,
        "epsilon_finish": 0.2,
    }
    runner, log = play(**changes)
    runner.run()
    runner.run(test_mode=True)
    state = runner.state_dict()
    log.rows.clear()
    expected = [runner.run(test_mode=mode) for mode in (False, True, False)]
    resumed, resumed_log = play(**changes)
    resumed.load_state_dict(state)
    assert all(same(resumed.run(test_mode=m), b) for m, b in zip((False, True, False), expected, strict=True))
    assert resumed_log.rows == log.rows


def test_where_messages_are_exchanged_all_rows_of_a_call_are_at_one_step(play):
    seen = []

    class Watching(ScriptedMac):
        in_step = True

        def select_actions(self, ep_batch, t_ep, *args, **kwargs):
            seen.append((ep_batch["obs"][:, t_ep, 0, 0].long() % 1000 // 100).tolist())
            return super().select_actions(ep_batch, t_ep, *args, **kwargs)

    runner, _ = play(mac=Watching, batch_size_run=5, num_envs=2)
    batch = runner.run()
    assert all(len(set(steps)) == 1 for steps in seen)
    assert {len(steps) for steps in seen} == {1, 2}
    assert sorted(games(batch)) == [0, 0, 1, 1, 2]  # the fifth episode is played by one of them


def test_a_round_that_was_interrupted_does_not_spoil_the_next(play):
    runner, _ = play(batch_size_run=4, num_envs=2)
    choose, calls = runner.mac.select_actions, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return choose(*args, **kwargs)

    runner.mac.select_actions = interrupted
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    runner.mac.select_actions = choose
    assert runner.run()["filled"].sum((1, 2)).gt(0).all()


@pytest.mark.parametrize(("fault", "text"), [("raise", "ZeroDivisionError"), ("kill", "SIGKILL")])
def test_a_worker_that_fails_in_a_round_is_named(play, fault, text):
    runner, _ = play(env="engine", env_args={"fault": fault}, batch_size_run=4, num_envs=2)
    with pytest.raises(EnvWorkerError, match=text) as caught:
        runner.run()
    assert (caught.value.worker, caught.value.step) == (0, 1)


def test_an_environment_that_does_not_end_in_time_is_named():
    make = functools.partial(fake.FakeEndless, seed=1)
    pool = WorkerPool("endless", [make], [1])
    batch = EpisodeBatch(SCHEME, GROUPS, 1, fake.LIMIT, preprocess=PREPROCESS)
    try:
        with pytest.raises(TaskError, match=r"worker 0 of env endless did not end an episode within .*limit=4 steps"):
            pipelined_rollout(pool, ScriptedMac(make_args()), batch, t_env=0)
    finally:
        pool.close()


def test_actions_of_the_wrong_shape_are_refused(play):
    class Wrong(ScriptedMac):
        def select_actions(self, ep_batch, *args, **kwargs):
            return torch.zeros(ep_batch.batch_size, fake.N + 1, dtype=torch.long)

    runner, _ = play(mac=Wrong, batch_size_run=2)
    with pytest.raises(ValueError, match=r"shape \(1, 4\); expected \(1, 3\)"):
        runner.run()


def test_what_a_controller_remembers_must_have_the_same_names_at_every_step(play):
    class Forgetful(ScriptedMac):
        def select_actions(self, ep_batch, t_ep, *args, **kwargs):
            self.memory = {**self.memory, **({"late": self.memory["rows"]} if t_ep else {})}
            return super().select_actions(ep_batch, t_ep, *args, **kwargs)

    runner, _ = play(mac=Forgetful, batch_size_run=6, num_envs=3)
    stagger(runner)
    with pytest.raises(ValueError, match=r"remembers \['late', 'rows'\] and \['rows'\] of episodes that are joined"):
        runner.run()


def test_drawn_tests_show_every_step_of_the_first_copy(play):
    runner, log = play(env="engine", env_args={}, batch_size_run=2, num_envs=2, test_nepisode=4, render=True)
    runner.run(test_mode=True)
    assert [text for _, text in log.shown] == [f"step {t}" for t in range(1, fake.LIMIT + 1)] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["num_envs=9", "batch_size_run=8"], r"num_envs=9 processes would play batch_size_run=8 episodes"),
        (["num_envs=-1"], r"num_envs"),
    ],
)
def test_a_number_of_processes_that_cannot_be_is_refused(words, message):
    with pytest.raises(SettingsError, match=message) as error:
        load_settings("qmix", "lookout", words)
    assert error.value.key == "num_envs"


def test_copies_that_step_in_one_call_are_as_many_as_episodes():
    with pytest.raises(SettingsError, match=r"num_envs=2.*runner=vector.*num_envs=0") as error:
        make_runner("vector", make_args(batch_size_run=3, num_envs=2))
    assert error.value.key == "num_envs"


def test_a_controller_without_rows_needs_a_process_an_episode(play):
    class InStep(ScriptedMac):
        needs_one_step = property()

    with pytest.raises(SettingsError, match=r"num_envs=2 is less than batch_size_run=3.*InStep.*num_envs=0"):
        play(mac=InStep, batch_size_run=3, num_envs=2)
    assert multiprocessing.active_children() == []  # its processes are closed
