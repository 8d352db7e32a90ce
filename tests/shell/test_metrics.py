"""The metrics file: append-only, torn lines, resuming, full disks."""

import errno
import math
import os

import pytest

from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.metrics import MetricsWriter, Row, read_metrics


def write(folder, rows, resume_after=None):
    writer = MetricsWriter(folder, resume_after)
    for t_env, key, value in rows:
        writer.write(key, value, t_env)
    writer.close()
    return writer


def test_rows_come_back_as_written(tmp_path):
    write(tmp_path, [(1, "a", 0.1), (2, "b", math.nan)])
    first, second = read_metrics(tmp_path)
    assert first == Row(1, "a", 0.1) and second[:2] == (2, "b") and math.isnan(second.value)


def test_resumed_run_replaces_rows_after_its_checkpoint_without_rewriting(tmp_path):
    write(tmp_path, [(1, "a", 1.0), (2, "a", 2.0), (3, "a", 3.0)])
    before = (tmp_path / "metrics.jsonl").read_bytes()
    writer = write(tmp_path, [(2, "a", 20.0)], resume_after=1)
    assert (tmp_path / "metrics.jsonl").read_bytes().startswith(before)
    assert [row.value for row in read_metrics(tmp_path)] == [1.0, 20.0]
    assert writer.n_rows == 2


def test_torn_last_line_is_ignored_and_ended_on_resume(tmp_path):
    write(tmp_path, [(1, "a", 1.0)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"t_env": 2, "ke')
    assert len(read_metrics(tmp_path)) == 1
    write(tmp_path, [(2, "a", 2.0)], resume_after=1)
    assert [row.value for row in read_metrics(tmp_path)] == [1.0, 2.0]


def test_damaged_middle_line_is_named(tmp_path):
    write(tmp_path, [(1, "a", 1.0)])
    path = tmp_path / "metrics.jsonl"
    path.write_text("garbage\n" + path.read_text())
    with pytest.raises(RecordError, match="line 1 is damaged"):
        read_metrics(tmp_path)


def test_new_run_does_not_touch_an_old_record(tmp_path):
    write(tmp_path, [(1, "a", 1.0)])
    with pytest.raises(RecordError, match="exists already"):
        MetricsWriter(tmp_path)


@pytest.mark.parametrize("partial", [0, 7])
def test_full_disk_leaves_whole_rows(tmp_path, monkeypatch, partial):
    writer = MetricsWriter(tmp_path)
    writer.write("a", 1.0, 1)
    real = os.write

    def full(fd, data):
        if partial:
            return real(fd, data[:partial])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RecordError, match="Cannot write"):
        writer.write("a", 2.0, 2)
    monkeypatch.undo()
    assert [row.value for row in read_metrics(tmp_path)] == [1.0]
    assert (tmp_path / "metrics.jsonl").read_bytes().endswith(b"\n")
