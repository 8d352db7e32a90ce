"""Files are whole or absent."""

import errno
import os
from pathlib import Path

import pytest

from epymarl_lmac.errors import CheckpointError, RecordError
from epymarl_lmac.record.files import whole_file, write_json, write_text


def test_a_file_replaces_the_one_before(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_json_is_sorted_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": tmp_path.parent.parent})
    text = (tmp_path / "a.json").read_text()
    assert text.index('"a"') < text.index('"b"') and text.endswith("}\n")


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a.txt") as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("owner", "step"), [(os, "fsync"), (Path, "replace")])
def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch, owner, step):
    write_text(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, step, full)
    with pytest.raises(RecordError, match=r"Cannot write .*a.txt: No space left on device"):
        write_text(tmp_path / "a.txt", "new")
    monkeypatch.undo()
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_missing_folder_is_one_clear_error_of_the_callers_class(tmp_path):
    missing = whole_file(tmp_path / "nowhere" / "a", CheckpointError)
    with pytest.raises(CheckpointError, match="No such file or directory"), missing:
        pass


def test_the_file_and_its_name_are_forced_to_the_disk(tmp_path, monkeypatch):
    forced, real = [], os.fsync

    def note(handle):
        forced.append(Path(f"/proc/self/fd/{handle}").is_dir())
        real(handle)

    monkeypatch.setattr(os, "fsync", note)
    write_text(tmp_path / "a.txt", "x")
    assert forced == [False, True]
