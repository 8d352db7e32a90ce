"""Metrics go to every sink; a mirror that fails stops nothing and says so twice."""

import json
import logging

import pytest
from sacred import Experiment
from sacred.observers import FileStorageObserver

from epymarl_lmac.record.sacred_observer import CarefulObserver
from epymarl_lmac.record.sinks import Mirror, SacredSink
from utils.logging import Logger


class Memory:
    def __init__(self, fail_from=None):
        self.rows, self.closed, self.fail_from = [], False, fail_from

    def write(self, key, value, t_env):
        if self.fail_from is not None and t_env >= self.fail_from:
            raise ConnectionError("gone")
        self.rows.append((key, value, t_env))

    def close(self):
        self.closed = True


def test_every_sink_gets_every_metric_and_is_closed():
    sinks = [Memory(), Memory()]
    logger = Logger(logging.getLogger("test"), sinks)
    logger.log_stat("a", 1, 5)
    logger.close()
    assert all(sink.rows == [("a", 1.0, 5)] and sink.closed for sink in sinks)
    assert logger.last_values() == {"a": 1.0}


def test_a_mirror_that_fails_warns_at_once_and_at_the_end():
    said = []
    mirror = Mirror("Board", lambda: Memory(fail_from=2), said.append)
    for t_env in (1, 2, 3):
        mirror.write("a", 0.0, t_env)
    assert len(said) == 1 and "Board failed (ConnectionError: gone)" in said[0] and "goes on" in said[0]
    mirror.close()
    assert len(said) == 2 and "2 metrics are missing" in said[1]


def test_a_mirror_that_cannot_start_counts_what_it_misses():
    said = []

    def refuse():
        raise OSError("no")

    mirror = Mirror("Board", refuse, said.append)
    mirror.write("a", 0.0, 1)
    mirror.close()
    assert mirror.n_lost == 1 and len(said) == 2


def test_a_sink_that_cannot_be_closed_does_not_keep_the_others_open():
    class Stuck(Memory):
        def close(self):
            raise ValueError("stuck")

    first = Memory()
    logger = Logger(logging.getLogger("test"), [first, Stuck()])
    with pytest.raises(ValueError, match="stuck"):
        logger.close()
    assert first.closed


def _sacred(folder, observer):
    experiment = Experiment("test", save_git_info=False)
    experiment.observers.append(observer)

    @experiment.main
    def train(_run):
        sink = SacredSink(_run)
        for t_env in (1, 2):
            sink.write("a", t_env / 2, t_env)
            sink.write("perf/steps_per_s", 100.0, t_env)
        return 3

    return experiment.run(options={"--loglevel": "CRITICAL"})


def test_sacred_gets_metrics_and_epymarls_info_without_speeds(tmp_path):
    _sacred(tmp_path, CarefulObserver(FileStorageObserver(tmp_path)))
    info = json.loads((tmp_path / "1" / "info.json").read_text())
    assert info == {"a": [0.5, 1.0], "a_T": [1, 2]}
    assert json.loads((tmp_path / "1" / "metrics.json").read_text())["a"]["steps"] == [1, 2]


def test_an_observer_that_fails_does_not_stop_the_run(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    run = _sacred(tmp_path, CarefulObserver(FileStorageObserver(blocked)))
    assert run.result == 3
    assert capsys.readouterr().err.count("Sacred's FileStorageObserver failed") == 1
