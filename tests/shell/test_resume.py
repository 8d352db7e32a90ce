"""Runs repeat to the bit, and go on to the bit after being stopped."""

import shutil
import signal

import pytest
from host_runs import argv, figures, host, run_folders, start_and_stop

from epymarl_lmac.settings import algorithms

# Run with every change. The others take seconds each in the long tier; that their learners go on to the bit is tested
# in process for all of them (tests/learners).
FAST = ("lmac_qmix",)
TIERS = [pytest.param(alg, marks=() if alg in FAST else pytest.mark.slow) for alg in algorithms()]


@pytest.mark.parametrize("alg", TIERS)
def test_stopped_and_resumed_equals_uninterrupted(alg, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = host([*argv(alg, whole, t_max=1600), "env_args.steps=2"])
    assert done.returncode == 0, done.stderr
    code = start_and_stop(argv(alg, parts, t_max=1600), parts, after_step=300)
    assert code == 128 + signal.SIGTERM
    (folder,) = run_folders(parts)
    stopped_at = figures(folder)[-1][0]
    assert stopped_at < 1600, "the run ended before it could be stopped"
    resumed = host(argv(alg, parts, t_max=1600, checkpoint_path=folder))
    assert resumed.returncode == 0, resumed.stderr
    (expected,) = run_folders(whole)
    assert figures(folder) == figures(expected)


@pytest.mark.slow  # in process: tests/learners/test_sms_policy.py
def test_a_learner_that_takes_two_batches_an_update_goes_on_to_the_bit(tmp_path):
    small = ["preset=official", "on_policy_batch_size=4", "learn_from_episodes=16", "sms_select_from=400"]
    small += ["batch_size_run=4", "updates_per_episode=0.5"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = host([*argv("sms", whole, t_max=1600), *small])
    assert done.returncode == 0, done.stderr
    assert start_and_stop([*argv("sms", parts, t_max=1600), *small], parts, after_step=300) == 128 + signal.SIGTERM
    (folder,) = run_folders(parts)
    assert figures(folder)[-1][0] < 1600, "the run ended before it could be stopped"
    assert host([*argv("sms", parts, t_max=1600, checkpoint_path=folder), *small]).returncode == 0
    (expected,) = run_folders(whole)
    assert figures(folder) == figures(expected)


def test_killed_run_resumes_from_its_last_checkpoint(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert host(argv("qmix", whole, t_max=1600)).returncode == 0
    arguments = argv("qmix", parts, t_max=1600, save_model_interval=200)
    assert start_and_stop(arguments, parts, after_step=700, signum=signal.SIGKILL) == -signal.SIGKILL
    (folder,) = run_folders(parts)
    assert host([*arguments, f"checkpoint_path={folder}"]).returncode == 0
    (expected,) = run_folders(whole)
    assert figures(folder) == figures(expected)


def test_resume_on_lbf_restores_the_environments(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert host(argv("vdn", whole, "lbf", t_max=3000)).returncode == 0
    assert start_and_stop(argv("vdn", parts, "lbf", t_max=3000), parts, after_step=500) == 143
    (folder,) = run_folders(parts)
    assert host(argv("vdn", parts, "lbf", t_max=3000, checkpoint_path=folder)).returncode == 0
    (expected,) = run_folders(whole)
    assert figures(folder) == figures(expected)


def test_ctrl_c_saves_and_leaves(tmp_path):
    code = start_and_stop(argv("iql", tmp_path, t_max=100_000), tmp_path, after_step=200, signum=signal.SIGINT)
    (folder,) = run_folders(tmp_path)
    assert code == 128 + signal.SIGINT
    assert (folder / "checkpoint.json").is_file()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Where a finished run of IQL is, to be copied."""
    results = tmp_path_factory.mktemp("finished")
    assert host(argv("iql", results, t_max=200)).returncode == 0
    return results


@pytest.fixture
def folder(finished, tmp_path):
    """A finished run of IQL."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (folder,) = run_folders(tmp_path)
    return folder


def test_a_second_process_cannot_resume_a_run_in_use(tmp_path, folder):
    from epymarl_lmac.checkpoint import RunLock

    before = figures(folder)
    lock = RunLock(folder)
    try:
        refused = host(argv("iql", tmp_path, t_max=400, checkpoint_path=folder))
    finally:
        lock.release()
    assert refused.returncode == 2
    assert "in use by another process" in refused.stderr
    assert figures(folder) == before


def test_checkpoint_of_another_algorithm_is_refused(tmp_path, folder):
    before = figures(folder)
    refused = host(argv("vdn", tmp_path, t_max=400, checkpoint_path=folder))
    assert refused.returncode == 2
    assert "name: 'iql' there, 'vdn' here" in refused.stderr
    assert figures(folder) == before


def test_corrupted_checkpoint_is_refused(tmp_path, folder):
    (path,) = folder.glob("checkpoint-*.pt")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused = host(argv("iql", tmp_path, t_max=400, checkpoint_path=folder))
    assert refused.returncode == 2
    assert "is damaged" in refused.stderr and "Traceback" not in refused.stderr
