"""Environment processes that choose their actions themselves: which episodes a round has, and who may do so."""

import functools
import multiprocessing

import fake_envs as fake
import numpy as np
import pytest
from fake_run import GROUPS, PREPROCESS, SCHEME, PortableMac, RememberingMac, make_args, same

from components.episode_buffer import EpisodeBatch
from epymarl_lmac.errors import SettingsError, TaskError
from epymarl_lmac.seeding import derive_seed
from runners import parallel_runner, worker_pool
from runners.adapters import OneEnv
from runners.episode_player import ControllerSource
from runners.rollout import rollout
from runners.worker_pool import EnvWorkerError, WorkerPool
from runners.worker_rollout import worker_rollout


@pytest.fixture
def play(parallel):
    """Returns a function that makes a parallel runner whose episodes follow from their seed."""

    def make(mac=PortableMac, **changes):
        return parallel(mac, **{"env": "seeded", "env_args": {}, "batch_size_run": 7, "num_envs": 1, **changes})

    return make


def exploring(**changes):
    return {"epsilon_start": 0.5, "epsilon_finish": 0.5, **changes}


def test_every_episode_is_what_a_controller_plays_here_from_its_seed(play):
    runner, _ = play(**exploring())
    runner.mac.weight = 3.0
    batch = runner.run()
    assert runner.acting == "workers"
    mac, round_seed = PortableMac(runner.args), derive_seed(runner.args.seed, "round train 0")
    mac.weight = 3.0
    for e in range(7):
        env = OneEnv(fake.Seeded(0))
        env.seed_next(derive_seed(round_seed, f"episode {e}"))
        mac.seed_acting(derive_seed(round_seed, f"episode {e}"))
        alone = EpisodeBatch(SCHEME, GROUPS, 1, fake.LIMIT + 1, preprocess=PREPROCESS)
        rollout(env, mac, alone, t_env=0)
        assert same(batch[e], alone)


def test_the_number_of_processes_changes_nothing(play):
    found = []
    for num_envs in (1, 3):
        runner, log = play(**exploring(num_envs=num_envs))
        found.append(([runner.run(test_mode=mode) for mode in (False, True, False)], log.rows))
    for batches, rows in found[1:]:
        assert all(same(one, other) for one, other in zip(batches, found[0][0], strict=True))
        assert rows == found[0][1]


def test_all_episodes_count(play):
    runner, log = play(num_envs=2)
    batch = runner.run()
    lengths = (batch["filled"].sum((1, 2)) - 1).tolist()
    assert len(set(lengths)) > 1 and runner.t_env == sum(lengths)
    assert log.last()["ep_length_mean"] == pytest.approx(np.mean(lengths))
    assert log.last()["episode_limit_mean"] == pytest.approx(np.mean([n == fake.LIMIT for n in lengths]))
    returns = batch["reward"].sum((1, 2)).double()
    assert log.last()["return_mean"] == pytest.approx(float(returns.mean()))
    assert runner.mac.n_calls == sum(lengths) + 7  # what the copies counted came back


def test_copies_follow_the_controller_and_the_exploration_of_a_round(play):
    (one, _), (other, _) = play(), play()
    assert same(one.run(), other.run())
    other.mac.weight = 2.0
    assert not same(one.run(), other.run())
    other.mac.weight, other.t_env = 1.0, one.t_env
    assert not same(one.run(epsilon=0.0), other.run(epsilon=1.0))


def test_a_resumed_run_goes_on_with_the_same_episodes(play):
    whole, _ = play(**exploring())
    whole.run()
    resumed, _ = play(**exploring(num_envs=2))
    resumed.t_env = whole.t_env
    assert same(whole.run(), resumed.run())
    assert same(whole.run(test_mode=True), resumed.run(test_mode=True))


def test_a_run_resumed_where_workers_act_is_not_called_another_one(play):
    whole, _ = play(**exploring())
    whole.run()
    state = whole.state_dict()
    assert not state["env"], "the engine can be saved"
    resumed, log = play(**exploring())
    resumed.load_state_dict(state)
    assert log.warned == []
    assert same(whole.run(), resumed.run())
    main, log = play(**exploring(acting="main"))
    main.load_state_dict(state)
    assert "does not equal an uninterrupted one" in log.warned[0][0]


def test_test_rounds_differ_and_evaluation_is_the_same_at_every_call(play, monkeypatch):
    runner, _ = play(test_nepisode=4)
    monkeypatch.setattr(runner, "max_test_copies", 2)
    rounds = []
    runner.evaluate(lambda batch: rounds.append(batch))
    runner.t_env = 500  # networks of another step meet the same episodes
    runner.evaluate(lambda batch: rounds.append(batch))
    assert [batch.batch_size for batch in rounds] == [2, 2, 2, 2]
    assert not same(rounds[0], rounds[1])
    assert same(rounds[0], rounds[2]) and same(rounds[1], rounds[3])


class InStep(PortableMac):
    in_step = True


class InStepInTests(PortableMac):
    def needs_one_step(self, test_mode):
        return test_mode


def test_as_many_processes_as_cores_play_where_they_choose_and_as_many_as_episodes_else(play, monkeypatch):
    monkeypatch.setattr(parallel_runner, "n_cores", lambda: 2)
    runner, _ = play(mac=InStepInTests, batch_size_run=3, num_envs=0)
    assert runner._env.num_envs == 2  # as many as cores
    runner.run(test_mode=True)
    assert runner._test_env.num_envs == 3  # not as many as this machine has cores


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"acting": "main"}, "acting=main"),
        ({"env": "engine"}, "episodes of env engine do not follow from a seed each"),
        ({"mac": RememberingMac}, "RememberingMac cannot act in other processes"),
        ({"mac": InStep}, "messages are exchanged or compared between episodes"),
        ({"device": "cuda"}, "the networks are on cuda"),
    ],
)
def test_the_main_process_chooses_where_they_cannot_and_the_reason_is_told(play, changes, why):
    runner, _ = play(**changes)
    assert runner.acting == "main" and why in runner.note
    if changes.get("acting") == "main":
        assert runner.run().batch_size == 7
        return
    with pytest.raises(SettingsError, match=f"acting=workers is not possible: {why}"):
        play(**changes | {"acting": "workers"})


@pytest.mark.parametrize(
    ("fault", "text"), [("raise", "failed in play()"), ("kill", "was killed by SIGKILL"), ("exit", "lost its licence")]
)
def test_a_worker_that_fails_in_an_episode_is_named(play, fault, text):
    runner, _ = play(env_args={"fault": fault}, num_envs=2)
    with pytest.raises(EnvWorkerError, match=r"Env worker [01] \(seeded, seed") as error:
        for _ in range(3):
            runner.run()
    assert text in str(error.value)
    assert not multiprocessing.active_children()


def test_a_worker_that_hangs_is_ended_at_the_deadline(monkeypatch):
    monkeypatch.setattr(worker_pool, "EPISODE_STEP_S", 0.0)
    factories = [
        functools.partial(fake.make_seeded, seed=i, common_reward=True, reward_scalarisation="sum", fault="hang")
        for i in range(2)
    ]
    pool = WorkerPool("seeded", factories, [0, 1], answer_timeout_s=3.0)
    args = make_args()
    pool.make_controllers(ControllerSource(PortableMac, SCHEME, GROUPS, PREPROCESS, args), None)
    batch = EpisodeBatch(SCHEME, GROUPS, 6, fake.LIMIT + 1, preprocess=PREPROCESS)
    with pytest.raises(EnvWorkerError, match="gave no answer to play"):
        worker_rollout(pool, PortableMac(args), batch, 0, False, seed=1)
    assert not multiprocessing.active_children()


def test_a_round_that_was_interrupted_does_not_spoil_the_next(play, monkeypatch):
    runner, _ = play()
    once = [KeyboardInterrupt()]
    wait = WorkerPool.wait_for_any

    def interrupted(pool, workers):
        if once:
            raise once.pop()
        return wait(pool, workers)

    monkeypatch.setattr(WorkerPool, "wait_for_any", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    untouched, _ = play()
    assert same(runner.run(), untouched.run())


def test_actions_of_the_wrong_shape_are_refused(play):
    runner, _ = play(mac=Wrong)
    with pytest.raises(EnvWorkerError, match="the controller chose actions of shape"):
        runner.run()


class Wrong(PortableMac):
    """Chooses for one agent only."""

    def select_actions(self, *args, **kwargs):
        return super().select_actions(*args, **kwargs)[:, :1]


def test_settings_that_the_environment_refuses_in_an_episode_are_told_as_they_are(play):
    runner, _ = play(mac=Refusing)
    with pytest.raises(TaskError, match="no such field"):
        runner.run()


class Refusing(PortableMac):
    def select_actions(self, *args, **kwargs):
        raise TaskError("no such field")
