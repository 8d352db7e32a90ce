"""A metrics file that lost rows is resumed with a warning, and counts what is there."""

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.metrics import MetricsWriter, read_metrics


@pytest.fixture
def said():
    """What the console logger says; it does not propagate, so caplog would miss it."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("epymarl_lmac")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def write(folder, steps, resume_after=None):
    writer = MetricsWriter(folder, resume_after)
    for t_env in steps:
        writer.write("a", float(t_env), t_env)
    writer.close()
    return writer


def test_rows_that_a_power_cut_took_are_counted_and_named(tmp_path, said):
    write(tmp_path, [1, 2, 3])
    writer = write(tmp_path, [6], resume_after=5)
    (warning,) = said
    assert "lacks 2 of the 5 metrics" in warning and str(tmp_path) in warning
    assert writer.n_rows == 4
    mark = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[3])
    assert mark == {"resumed_after": 3, "missing": 2}


def test_a_second_resume_drops_what_came_after_its_checkpoint_though_rows_are_missing(tmp_path, said):
    write(tmp_path, [1, 2, 3])
    n_rows = write(tmp_path, [6], resume_after=5).n_rows
    write(tmp_path, [7, 8], resume_after=n_rows)  # rows 7 and 8 came after the checkpoint
    write(tmp_path, [70], resume_after=n_rows)
    assert [row.t_env for row in read_metrics(tmp_path)] == [1, 2, 3, 6, 70] and len(said) == 1


def test_a_whole_file_is_resumed_without_a_word(tmp_path, said):
    write(tmp_path, [1, 2, 3])
    assert write(tmp_path, [], resume_after=2).n_rows == 2 and not said


def test_a_lost_file_lacks_all_rows(tmp_path, said):
    assert write(tmp_path, [6], resume_after=5).n_rows == 1
    assert "lacks 5 of the 5 metrics" in said[0]


def test_rows_are_forced_to_the_disk(tmp_path, monkeypatch):
    writer, forced = MetricsWriter(tmp_path), []
    monkeypatch.setattr(os, "fsync", lambda fd: forced.append(Path(f"/proc/self/fd/{fd}").readlink()))
    writer.sync()
    assert forced == [tmp_path / "metrics.jsonl"]

    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RecordError, match=r"metrics\.jsonl: Input/output error"):
        writer.sync()
