"""The same plan on Ray and through submitit: done, tried again after a lost worker, stopped, resumed, and refused."""

import json
import os
import re
import signal
import sys
import time

import pytest
from fake_records import FAKE_HOST, cell
from typer.testing import CliRunner

from epymarl_lmac.cli import app
from epymarl_lmac.compare import remote
from epymarl_lmac.compare import schedule as sc
from epymarl_lmac.compare.places import LOCAL, RAY, SLURM, choose_place
from epymarl_lmac.compare.ray_launcher import RayLauncher
from epymarl_lmac.compare.remote import UNWANTED, missing_paths, run_there
from epymarl_lmac.compare.schedule import Schedule, State
from epymarl_lmac.compare.slurm_launcher import SlurmLauncher, parse_slurm_options
from epymarl_lmac.errors import RecordError, SettingsError


@pytest.fixture(scope="module")
def ray_here(tmp_path_factory):
    """Returns a launcher on a Ray of this machine with two workers."""
    pytest.importorskip("ray")
    made = RayLauncher(tmp_path_factory.mktemp("shared"), n_local=2)
    yield made
    made.close()


@pytest.fixture(params=["ray", "submitit"])
def launcher(request, tmp_path):
    """Returns every way to start a run elsewhere."""
    if request.param == "ray":
        return request.getfixturevalue("ray_here")
    pytest.importorskip("submitit")
    return SlurmLauncher(tmp_path, {}, cluster="local")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(sc, "POLL_S", 0.05)
    monkeypatch.setattr(sc, "LOOK_S", 0.05)


def schedule(monkeypatch, out, behaviours):
    """Returns a schedule of one fake run a behaviour, and the lines it says."""
    cells = [cell(seed=seed, updates=(f"label={kind}",)) for seed, kind in enumerate(behaviours, start=1)]
    settings = json.dumps({str(one.seed): dict(one.settings) for one in cells})

    def command(argv, results, resume):
        updates = [f"local_results_path={results}", *([f"checkpoint_path={resume}"] if resume else [])]
        variables = [f"FAKE_SETTINGS={settings}", f"FAKE_ID={cells[0].run_id}"]
        return ["/usr/bin/env", *variables, sys.executable, str(FAKE_HOST), *argv, *updates]

    monkeypatch.setattr(sc, "host_command", command)
    said = []
    made = Schedule(cells, out, say=said.append)
    made.look()
    return made, said


def states(made):
    return [task.state for task in made.tasks]


def log_of(made, index=0):
    return sorted(made.logs.glob("*.log"))[index].read_text()


def silent(tasks):
    """Shows nothing."""


def at_half(made, launcher, do):
    """Runs a schedule and does something once, as soon as a run has logged half of its steps."""

    def show(tasks):
        if any(task.progress.t_env >= 500 for task in tasks) and not show.done:
            show.done = True
            do()

    show.done = False
    return made.run(launcher, 2, show)


def test_a_plan_is_done_and_not_done_twice(tmp_path, monkeypatch, launcher):
    made, _ = schedule(monkeypatch, tmp_path, ["fine", "crash_once"])
    assert made.run(launcher, 2, silent) is False
    assert states(made) == [State.DONE] * 2 and [task.attempts for task in made.tasks] == [1, 2]
    assert log_of(made).startswith("runs on ") and not list(made.logs.glob("*.ticket"))
    again, said = schedule(monkeypatch, tmp_path, ["fine", "crash_once"])
    again.run(launcher, 2, silent)
    assert states(again) == [State.DONE] * 2 and said == []


def test_a_killed_worker_takes_its_run_along_and_the_run_resumes_from_its_checkpoint(tmp_path, monkeypatch, launcher):
    made, said = schedule(monkeypatch, tmp_path, ["halfway"])

    def kill_worker():
        worker = int(re.search(r"started by process (\d+)", log_of(made))[1])
        os.kill(worker, signal.SIGKILL)

    at_half(made, launcher, kill_worker)
    (path,) = made.runs.glob("*/run.json")
    assert states(made) == [State.DONE] and json.loads(path.read_text())["resumed"]
    assert any("tried again" in line for line in said) and "resumed at step 500" in said[-2]


def test_a_signal_lets_the_runs_save_and_the_same_plan_resumes_them(tmp_path, monkeypatch, launcher):
    made, said = schedule(monkeypatch, tmp_path, ["slow"])
    assert at_half(made, launcher, lambda: os.kill(os.getpid(), signal.SIGINT)) is True
    assert states(made) == [State.STOPPED] and "asked to save" in said[-1]
    again, said = schedule(monkeypatch, tmp_path, ["slow"])
    again.run(launcher, 2, silent)
    assert states(again) == [State.DONE] and "resumed at step 500" in said[0]


def test_a_run_that_waits_for_room_is_shown_as_queued_and_leaves_at_once(tmp_path, monkeypatch, ray_here):
    made, _ = schedule(monkeypatch, tmp_path, ["slow"] * 3)
    seen = []

    def show(tasks):
        words = [task.state_text() for task in tasks]
        if sorted(words) == ["queued", "running", "running"] and tasks[0].progress.t_env >= 500 and not seen:
            seen.append(words)
            os.kill(os.getpid(), signal.SIGINT)

    assert made.run(ray_here, 3, show) is True
    assert seen[0][2] == "queued" and states(made) == [State.STOPPED] * 3
    assert len(list(made.logs.glob("*.log"))) == 2


def test_the_capacity_of_a_cluster_is_what_its_nodes_hold(ray_here, tmp_path):
    assert ray_here.capacity(10) == 2 and ray_here.capacity(1) == 1
    pytest.importorskip("submitit")
    assert SlurmLauncher(tmp_path, {}, cluster="local").capacity(30) == 30


def test_a_machine_without_the_shared_folder_says_so(tmp_path, ray_here):
    lost = tmp_path / "elsewhere"
    with pytest.raises(RecordError, match=f"does not see {lost}"):
        run_there([sys.executable, "-c", ""], str(lost / "log"), str(lost / "ticket"), "x", {})
    assert missing_paths([str(lost), str(tmp_path)]) == [str(lost)]
    with pytest.raises(RecordError, match=f"does not see {lost}; --out, the project"):
        ray_here._check_paths([str(tmp_path), str(lost)])


def test_a_job_whose_ticket_is_gone_or_replaced_starts_nothing(tmp_path):
    command = [sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"]
    paths = str(tmp_path / "log"), str(tmp_path / "ticket")
    assert run_there(command, *paths, "mine", {}) == UNWANTED
    (tmp_path / "ticket").write_text("a later one's")
    assert run_there(command, *paths, "mine", {}) == UNWANTED and not (tmp_path / "ran").exists()
    (tmp_path / "ticket").write_text("mine")
    assert run_there(command, *paths, "mine", {}) == 0 and (tmp_path / "ran").exists()


def test_nodes_that_are_too_small_are_named(ray_here):
    with pytest.raises(SettingsError, match="has the 64 cores and 0 GPUs of a run; the largest have 2 and 0"):
        ray_here._useful_nodes("", 64, 0)


PLAN = ["compare", "--algs", "qmix", "--envs", "lookout", "--seeds", "1", "--t-max", "1000", "--no-calibration"]
BAD = {
    "no cluster there": (["--cluster", "ray://127.0.0.1:1"], "no Ray cluster answers at 'ray://127.0.0.1:1'"),
    "an address after --ray": (["--ray", "127.0.0.1:1"], "the address of a Ray cluster after --cluster"),
    "no address": (["--cluster", "head"], "no Ray cluster answers at 'head'"),
    "no Slurm": (["--slurm"], "there is no Slurm here"),
    "two ways": (["--slurm", "--ray"], "two ways to start runs"),
    "devices of this machine": (["--ray", "--gpus", "0,1"], "--gpus-per-run 1"),
    "cores without a cluster": (["--cpus-per-run", "4"], "n_threads=N"),
    "Slurm's options alone": (["--slurm-option", "partition=gpu"], "give --slurm too"),
    "no option": (["--slurm", "--slurm-option", "gpu"], "write KEY=VALUE"),
    "a part of a GPU": (["--slurm", "--gpus-per-run", "0.5"], "whole GPUs only"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_message(case, tmp_path, monkeypatch):
    words, message = BAD[case]
    for package, flags in (("ray", ("--ray", "--cluster")), ("submitit", ("--slurm",))):
        if any(flag in words for flag in flags):
            pytest.importorskip(package)
    monkeypatch.setattr("shutil.which", lambda name: None)
    done = CliRunner().invoke(app, [*PLAN, "--out", str(tmp_path), *words], standalone_mode=False)
    assert isinstance(done.exception, SettingsError) and message in str(done.exception)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("flag", "package"), [("--ray", "ray"), ("--slurm", "submitit")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(flag, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    done = CliRunner().invoke(app, [*PLAN, "--out", str(tmp_path), flag], standalone_mode=False)
    assert isinstance(done.exception, SettingsError)
    assert f"{flag} needs the package {package}" in str(done.exception)
    assert "pip install 'epymarl-lmac[cluster]'" in str(done.exception)


def test_an_unknown_parameter_of_submitit_is_named(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(SettingsError, match=r"--slurm-option: .*partitoin"):
        SlurmLauncher(tmp_path, parse_slurm_options(["partitoin=gpu"]))


def test_options_name_the_place():
    nothing = (False, "", False, [], 1, 0.0, [])
    assert choose_place(*nothing).kind == LOCAL
    assert choose_place(False, "ray://x:1", False, [], 2, 0.5, []).kind == RAY
    chosen = choose_place(False, "", True, ["partition=gpu", "timeout_min=60"], 1, 1.0, [])
    assert chosen.kind == SLURM and chosen.slurm == {"slurm_partition": "gpu", "timeout_min": 60}


def test_a_read_error_of_the_ticket_ends_no_run(tmp_path):
    assert remote._is_wanted(tmp_path, "x")  # a folder: reading it fails, but it is there


@pytest.mark.slow
def test_runs_learn_the_same_here_and_on_ray(tmp_path, ray_here):
    from epymarl_lmac.compare.launch import LocalLauncher
    from epymarl_lmac.record.metrics import PERF, read_metrics

    updates = ("hidden_dim=8", "batch_size=4", "batch_size_run=4", "test_nepisode=4", "test_interval=200")
    found = []
    for name, launcher in (("local", LocalLauncher()), ("ray", ray_here)):
        made = Schedule([cell("iql", t_max=400, updates=updates)], tmp_path / name)
        made.run(launcher, 1, lambda tasks: time.sleep(0.2))
        assert states(made) == [State.DONE]
        (folder,) = made.runs.glob("*/run.json")
        found.append([row for row in read_metrics(folder.parent) if not row.key.startswith(PERF)])
    assert found[0] == found[1] and len(found[0]) > 10
