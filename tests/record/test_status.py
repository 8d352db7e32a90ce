"""A record says what became of its run."""

import json

import pytest

from epymarl_lmac.checkpoint import RunLock, is_locked
from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.provenance import read_run
from epymarl_lmac.record.status import (
    DEAD,
    ERROR_LINES,
    FAILED,
    FINISHED,
    RUNNING,
    STOPPED,
    RunStatus,
    attempts_of,
    status_of,
)


@pytest.fixture
def status(tmp_path):
    return RunStatus(tmp_path, {"algorithm": "qmix"})


def test_a_run_in_progress_holds_its_lock(tmp_path, status):
    lock = RunLock(tmp_path)
    assert status_of(tmp_path) == RUNNING
    lock.release()
    assert status_of(tmp_path) == DEAD


def test_asking_for_the_lock_takes_nothing_from_its_holder(tmp_path):
    assert not is_locked(tmp_path)
    lock = RunLock(tmp_path)
    assert is_locked(tmp_path) and is_locked(tmp_path)
    lock.release()
    assert not is_locked(tmp_path)
    RunLock(tmp_path).release()


def test_the_end_is_recorded_with_the_last_metrics(tmp_path, status):
    status.end(FINISHED, 800, {"test_return_mean": 0.5})
    run = read_run(tmp_path)
    assert (run["status"], run["t_env"], run["end_metrics"]) == ("finished", 800, {"test_return_mean": 0.5})
    assert run["ended"] and run["wall_s"] >= 0 and run["algorithm"] == "qmix"


def test_an_error_is_recorded_with_its_last_lines(tmp_path, status):
    try:
        raise RecordError("x\n" * 100 + "the end")
    except RecordError as err:
        status.fail(err, 7)
    run = read_run(tmp_path)
    assert run["status"] == FAILED and len(run["error"]) == ERROR_LINES and run["error"][-1] == "the end"


def test_a_status_that_cannot_be_written_hides_no_error(tmp_path, status, monkeypatch):
    def full(*_):
        raise RecordError("disk full")

    monkeypatch.setattr("epymarl_lmac.record.status.write_json", full)
    status.fail(ValueError("first"), 7)
    monkeypatch.undo()
    assert status_of(tmp_path) == DEAD


def test_a_resumed_run_forgets_how_it_ended_and_counts_its_attempts(tmp_path, status):
    status.end(STOPPED, 5, {"a": 1.0})
    RunStatus(tmp_path, {}, 5, resume=True)
    run = read_run(tmp_path)
    assert run["status"] == RUNNING and "ended" not in run
    assert [attempt["t_env"] for attempt in run["attempts"]] == [0, 5]


def test_resuming_a_run_that_has_nothing_left_to_do_keeps_its_end_metrics(tmp_path, status):
    status.end(FINISHED, 5, {"a": 1.0, "b": 2.0})
    RunStatus(tmp_path, {}, 5, resume=True).end(FINISHED, 5, {})
    assert read_run(tmp_path)["end_metrics"] == {"a": 1.0, "b": 2.0}
    RunStatus(tmp_path, {}, 5, resume=True).end(FINISHED, 9, {"b": 3.0})
    assert read_run(tmp_path)["end_metrics"] == {"a": 1.0, "b": 3.0}


FIRST = {
    "git": {"commit": "one"},
    "packages": {"torch": "2.0"},
    "machine": {"cpus": 2},
    "settings": {"t_max": 5, "test_nepisode": 100, "shape": (1, 2), "checkpoint_path": ""},
    "evaluation": {"test_nepisode": 100},
}
SECOND = {
    **FIRST,
    "git": {"commit": "two"},
    "settings": {"t_max": 9, "test_nepisode": 5, "shape": (1, 2), "checkpoint_path": "here"},
    "evaluation": {"test_nepisode": 5},
}


def test_every_attempt_says_what_it_ran_with(tmp_path):
    RunStatus(tmp_path, FIRST).end(STOPPED, 5, {})
    RunStatus(tmp_path, SECOND, 5, resume=True)
    run = read_run(tmp_path)
    first, second = run["attempts"]
    assert (first["git"], second["git"]) == ({"commit": "one"}, {"commit": "two"})
    assert first["packages"] == second["packages"] == {"torch": "2.0"} and second["machine"] == {"cpus": 2}
    assert second["changed_settings"] == {
        "t_max": {"before": 5, "now": 9},
        "test_nepisode": {"before": 100, "now": 5},
    }
    assert run["settings"]["t_max"] == 9 and run["evaluation"] == {"test_nepisode": 5}
    assert run["settings"]["checkpoint_path"] == ""  # says how this attempt began, and nothing of the run
    assert run["git"] == {"commit": "one"}  # the first attempt's; each attempt has its own
    views = attempts_of(run)
    assert [view["settings"]["t_max"] for view in views] == [5, 9]
    assert [view["git"]["commit"] for view in views] == ["one", "two"]


def test_records_without_a_status_count_as_finished(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"algorithm": "qmix"}))
    assert status_of(tmp_path) == FINISHED
