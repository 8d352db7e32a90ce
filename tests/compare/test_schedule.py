"""Runs are started, skipped, tried again, stopped and resumed; a fake host stands for the real one."""

import json
import os
import signal
import sys
import threading

import pytest
from fake_records import FAKE_HOST, cell, write_run

from epymarl_lmac.checkpoint import RunLock
from epymarl_lmac.compare import schedule as sc
from epymarl_lmac.compare.launch import LocalLauncher
from epymarl_lmac.compare.schedule import Schedule, State


@pytest.fixture(autouse=True)
def fake_training(monkeypatch):
    monkeypatch.setattr(sc, "POLL_S", 0.02)
    monkeypatch.setattr(sc, "LOOK_S", 0.02)

    def command(argv, results, resume):
        updates = [f"local_results_path={results}", *([f"checkpoint_path={resume}"] if resume else [])]
        return [sys.executable, str(FAKE_HOST), *argv, *updates]

    monkeypatch.setattr(sc, "host_command", command)


def schedule(monkeypatch, out, behaviours, **options):
    """Returns a schedule of one run a behaviour, with seeds 1, 2, ...; and the lines it says."""
    cells = [cell(seed=seed, updates=(f"label={kind}",)) for seed, kind in enumerate(behaviours, start=1)]
    monkeypatch.setenv("FAKE_SETTINGS", json.dumps({str(one.seed): dict(one.settings) for one in cells}))
    monkeypatch.setenv("FAKE_ID", cells[0].run_id)
    said = []
    made = Schedule(cells, out, say=said.append, **options)
    made.look()
    return made, said


def run(made, show=lambda tasks: None, jobs=2):
    return made.run(LocalLauncher(), jobs, show)


def states(made):
    return [task.state for task in made.tasks]


def records(out):
    return [json.loads(path.read_text()) for path in sorted((out / "runs").glob("*/run.json"))]


def test_all_runs_are_done_and_none_is_done_twice(tmp_path, monkeypatch):
    made, said = schedule(monkeypatch, tmp_path, ["fine"] * 3)
    assert run(made) is False
    assert states(made) == [State.DONE] * 3 and len(records(tmp_path)) == 3
    again, said = schedule(monkeypatch, tmp_path, ["fine"] * 3)
    assert states(again) == [State.DONE] * 3
    run(again)
    assert said == [] and len(records(tmp_path)) == 3


def test_no_more_runs_than_jobs_go_at_a_time(tmp_path, monkeypatch):
    made, _ = schedule(monkeypatch, tmp_path, ["fine"] * 4)
    seen = []
    run(made, lambda tasks: seen.append(sum(task.state is State.RUNNING for task in tasks)), jobs=1)
    assert max(seen) == 1 and states(made) == [State.DONE] * 4


def test_a_crashed_run_is_tried_once_more(tmp_path, monkeypatch):
    made, said = schedule(monkeypatch, tmp_path, ["crash_once"])
    run(made)
    assert states(made) == [State.DONE] and made.tasks[0].attempts == 2
    assert any("crashed (exit code 1); tried again" in line for line in said)


def test_a_run_that_crashes_twice_reports_its_last_lines(tmp_path, monkeypatch):
    made, said = schedule(monkeypatch, tmp_path, ["crash", "fine"])
    run(made)
    assert states(made) == [State.FAILED, State.DONE] and made.tasks[0].attempts == 2
    assert made.tasks[0].error == ["exit code 1; last lines:", "the engine broke", "ValueError: bad luck"]
    assert "ValueError: bad luck" in said[-1] or "ValueError: bad luck" in "\n".join(said)


def stop_when_running(made, signum=signal.SIGINT):
    """Sends this process a signal as soon as a run has logged half of its steps, SIGHUP twice, as terminals may do."""

    def show(tasks):
        if any(task.progress.t_env >= 500 for task in tasks) and not show.sent:
            show.sent = True
            for _ in range(2 if signum == signal.SIGHUP else 1):
                os.kill(os.getpid(), signum)

    show.sent = False
    return run(made, show)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_runs_save_and_the_same_plan_resumes_them(tmp_path, monkeypatch, signum, hears_signals):
    made, said = schedule(monkeypatch, tmp_path, ["slow"])
    assert stop_when_running(made, signum) is True
    assert states(made) == [State.STOPPED] and "asked to save" in said[-1]
    again, said = schedule(monkeypatch, tmp_path, ["slow"])
    assert run(again) is False
    (record,) = records(tmp_path)
    assert states(again) == [State.DONE] and record["resumed"] and "resumed at step 500" in said[0]


def test_a_run_of_another_process_is_waited_for(tmp_path, monkeypatch):
    one = cell(updates=("label=fine",))
    folder = write_run(tmp_path / "runs", one, status="running", t_env=10)
    lock = RunLock(folder)
    made, said = schedule(monkeypatch, tmp_path, ["fine"])
    assert states(made) == [State.ELSEWHERE]

    def finish():
        run = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**run, "status": "finished", "t_env": 1000}))
        lock.release()

    threading.Timer(0.3, finish).start()
    run(made)
    assert states(made) == [State.DONE] and said == []


def test_a_dead_run_without_a_checkpoint_starts_anew_beside_the_old_record(tmp_path, monkeypatch):
    write_run(tmp_path / "runs", cell(updates=("label=fine",)), status="running", t_env=10)
    made, _ = schedule(monkeypatch, tmp_path, ["fine"])
    assert states(made) == [State.WAITING] and made.tasks[0].folder is None
    run(made)
    assert len(records(tmp_path)) == 2 and states(made) == [State.DONE]


def test_finished_runs_of_other_folders_count(tmp_path, monkeypatch):
    write_run(tmp_path / "earlier", cell(updates=("label=fine",)))
    made, _ = schedule(monkeypatch, tmp_path, ["fine"], also=[tmp_path / "earlier"])
    assert states(made) == [State.DONE]


def test_gpus_are_shared_out(tmp_path, monkeypatch):
    made, _ = schedule(monkeypatch, tmp_path, ["fine"] * 3, gpus=["0", "3"])
    run(made)
    assert {record["gpu"] for record in records(tmp_path)} <= {"0", "3"} and states(made) == [State.DONE] * 3
