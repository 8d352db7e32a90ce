"""Environment processes: what goes wrong in one is told, and none is left behind."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_envs as fake
import pytest
from fake_run import make_args, make_runner, register, same

from epymarl_lmac.errors import TaskError
from runners import worker_pool
from runners.worker_pool import EnvWorkerError, WorkerPool


@pytest.fixture(autouse=True)
def _fakes(monkeypatch):
    register(monkeypatch)


def pool_of(*faults, **timeouts):
    factories = [
        functools.partial(fake.make_engine, seed=40 + i, common_reward=True, reward_scalarisation="sum", fault=fault)
        for i, fault in enumerate(faults)
    ]
    return WorkerPool("engine", factories, [40 + i for i in range(len(faults))], **timeouts)


def play(pool, steps):
    pool.reset()
    for _ in range(steps):
        pool.step(fake.np.zeros((pool.num_envs, fake.N), fake.np.int64))


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("raise", ["failed in step(): ZeroDivisionError", "return 1 // 0", "engine: about to divide"]),
        ("kill", ["was killed by SIGKILL", "smaller batch_size_run"]),
        ("exit", ["ended with exit status 3 during step()", "engine: lost its licence"]),
    ],
)
def test_a_failing_worker_is_named_and_all_workers_end(fault, expected):
    pool = pool_of("", fault)
    pids = pool.pids
    with pytest.raises(EnvWorkerError) as caught:
        play(pool, 3)
    error = caught.value
    assert (error.worker, error.env, error.seed, error.step) == (1, "engine", 41, 1)
    assert str(error).startswith("Env worker 1 (engine, seed 41) at step 1 ")
    for text in expected:
        assert text in str(error)
    assert all(is_gone(pid) for pid in pids)


def test_a_worker_that_hangs_is_ended_at_the_deadline():
    pool = pool_of("hang", answer_timeout_s=0.5)
    pids = pool.pids
    began = time.monotonic()
    with pytest.raises(EnvWorkerError, match=r"seed 40\) at step 1 gave no answer to step\(\) in time"):
        play(pool, 3)
    assert time.monotonic() - began < 5  # 0.5 s of waiting; the rest is room for a busy machine
    assert all(is_gone(pid) for pid in pids)


def test_a_run_that_was_suspended_waits_on(monkeypatch):
    monkeypatch.setattr(worker_pool, "SLICE_S", 0.5)
    pool = pool_of("", answer_timeout_s=2.0)
    wait, stopped = worker_pool.wait, pool.pids

    def wait_in_a_suspended_run(pipes, timeout):
        if not stopped:
            return wait(pipes, timeout)
        time.sleep(2.5)  # longer than any answer may take
        os.kill(stopped.pop(), signal.SIGCONT)
        return []

    monkeypatch.setattr(worker_pool, "wait", wait_in_a_suspended_run)
    os.kill(stopped[0], signal.SIGSTOP)
    pool.reset()
    assert not stopped
    pool.close()


def test_a_worker_killed_from_outside_is_told():
    pool = pool_of("", "")
    play(pool, 1)
    os.kill(pool.pids[0], signal.SIGKILL)
    with pytest.raises(EnvWorkerError, match=r"worker 0 \(engine, seed 40\) at step 1 was killed by SIGKILL"):
        play(pool, 5)
    assert all(is_gone(pid) for pid in pool.pids)


def test_closing_ends_all_workers_and_their_files_and_may_be_repeated():
    pool = pool_of("", "")
    logs = pool._logs
    assert logs.is_dir()
    pool.close()
    pool.close()
    assert all(is_gone(pid) for pid in pool.pids)
    assert not logs.exists()
    with pytest.raises(RuntimeError, match="are closed"):
        pool.reset()


def test_workers_outlive_ctrl_c_and_sigterm_so_that_the_run_can_be_saved():
    pool = pool_of("")
    os.kill(pool.pids[0], signal.SIGINT)
    os.kill(pool.pids[0], signal.SIGTERM)
    play(pool, 2)
    pool.close()
    assert is_gone(pool.pids[0])


@pytest.mark.parametrize("way", ["exit", "kill"])
def test_workers_end_with_a_parent_that_never_closed_them(way):
    """The worker is busy in the environment when its parent is killed, idle when it leaves."""
    fault = "hang" if way == "kill" else ""
    script = (
        "import functools, os, signal, time\n"
        "import fake_envs as fake, numpy as np\n"
        "from runners.worker_pool import WorkerPool\n"
        "if __name__ == '__main__':\n"
        "    make = functools.partial(fake.make_engine, seed=1, common_reward=True,\n"
        f"                             reward_scalarisation='sum', fault={fault!r})\n"
        "    pool = WorkerPool('engine', [make], [1])\n"
        "    pool.reset()\n"
        "    pool.step(np.zeros((1, fake.N), np.int64))\n"
        "    print(pool.pids[0], flush=True)\n"
        f"    if {way == 'kill'}:\n"
        "        pool._send(0, 'step', np.zeros(fake.N, np.int64))\n"
        "        time.sleep(0.2)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    paths = os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
    )
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while not is_gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_gone(pid)


def test_settings_that_the_environment_refuses_are_told_as_they_are():
    args = make_args(env="lbf", env_args={}, reward_scalarisation="mean", batch_size_run=1)
    with pytest.raises(TaskError, match=r"^env 'lbf' does not offer common_reward=True, reward_scalarisation='mean'"):
        make_runner("parallel", args)


def test_an_environment_that_cannot_travel_is_refused():
    with pytest.raises(TaskError, match=r"'local' cannot be started in another process.*runner=episode"):
        WorkerPool("local", [lambda: fake.Engine(0)], [0])


def test_resumed_parallel_run_equals_uninterrupted_run():
    args = make_args(
        env_args={"lengths": [2, 5, 3, 1], "noise": True},
        batch_size_run=2,
        test_nepisode=2,
        epsilon_start=0.6,
        epsilon_finish=0.2,
    )
    runner, log = make_runner("parallel", args)
    runner.run()
    runner.run(test_mode=True)
    state = runner.state_dict()
    log.rows.clear()
    expected = [runner.run(test_mode=mode) for mode in (False, True, False)]
    runner.close_env()

    resumed, resumed_log = make_runner("parallel", args)
    resumed.load_state_dict(state)
    found = [resumed.run(test_mode=mode) for mode in (False, True, False)]
    resumed.close_env()
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    assert resumed_log.rows == log.rows


def test_a_state_of_more_environments_is_refused():
    pool = pool_of("")
    try:
        with pytest.raises(ValueError, match="an environment 3, but only 1 run"):
            pool.load_state_dict({"3.episode": fake.np.zeros(1)})
    finally:
        pool.close()
