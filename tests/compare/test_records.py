"""Which record a plan goes on with."""

import pytest
from fake_records import cell, write_run

from epymarl_lmac.checkpoint import RunLock
from epymarl_lmac.compare.records import best_record, read_records


def best(root, of):
    records, damaged = read_records([root])
    assert not damaged
    return best_record(of, records)


def test_a_finished_run_with_enough_steps_is_complete(tmp_path):
    interval = ("test_interval=50",)
    write_run(tmp_path, cell(updates=interval))
    assert best(tmp_path, cell(updates=interval)).complete(1000)
    assert not best(tmp_path, cell(t_max=2000, updates=interval)).complete(2000)


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_anything_else_is_not_complete(tmp_path, status):
    write_run(tmp_path, cell(), status=status)
    assert not best(tmp_path, cell()).complete(1000)


def test_a_run_of_other_settings_seed_or_tests_does_not_count(tmp_path):
    write_run(tmp_path, cell())
    for other in (cell(updates=("lr=0.1",)), cell(seed=2), cell(updates=("test_nepisode=5",)), cell("vdn")):
        assert best(tmp_path, other) is None


def test_a_longer_run_of_the_same_settings_counts(tmp_path):
    write_run(tmp_path, cell(t_max=5000, updates=("test_interval=50",)))
    assert best(tmp_path, cell()).complete(1000)


def test_the_complete_run_comes_before_the_furthest(tmp_path):
    write_run(tmp_path, cell(), status="failed", t_env=3000, name="failed")
    write_run(tmp_path, cell(), name="finished")
    assert best(tmp_path, cell()).folder.name == "finished"


def test_a_run_in_progress_comes_before_one_that_stopped(tmp_path):
    write_run(tmp_path, cell(), status="stopped", t_env=900, name="stopped")
    folder = write_run(tmp_path, cell(), status="running", t_env=100, name="running")
    lock = RunLock(folder)
    try:
        assert best(tmp_path, cell()).folder.name == "running"
    finally:
        lock.release()
    assert best(tmp_path, cell()).status == "stopped"


def test_damaged_records_are_named_and_left_out(tmp_path):
    write_run(tmp_path, cell())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "run.json").write_text("{}")
    records, damaged = read_records([tmp_path])
    assert len(records) == 1 and len(damaged) == 2 and "bad" in damaged[0]


DAMAGED = {
    "a list": "[1, 2]",
    "no algorithm": '{"task": "x", "seed": 1, "settings": {"seed": 1}}',
    "settings that are a list": '{"algorithm": "a", "task": "x", "seed": 1, "settings": [1], "t_env": 1}',
    "steps that are a word": '{"algorithm": "a", "task": "x", "seed": 1, "settings": {"seed": 1}, "t_env": "some"}',
}


@pytest.mark.parametrize("case", DAMAGED)
def test_one_bad_record_hides_no_other(tmp_path, case):
    write_run(tmp_path, cell())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text(DAMAGED[case])
    records, (sentence,) = read_records([tmp_path])
    assert len(records) == 1 and "bad/run.json is damaged" in sentence


def test_a_lock_that_cannot_be_read_leaves_its_run_out(tmp_path):
    write_run(tmp_path, cell())
    (write_run(tmp_path, cell(), name="other") / "lock").mkdir()
    records, (sentence,) = read_records([tmp_path])
    assert len(records) == 1 and "other/lock cannot be read: Is a directory" in sentence
