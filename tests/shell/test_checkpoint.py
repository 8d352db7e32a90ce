"""Checkpoints are whole or absent, and hold what was put in."""

import errno
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from epymarl_lmac import checkpoint as ckpt
from epymarl_lmac.errors import CheckpointError

STATE = {
    "tensor": torch.arange(6.0).view(2, 3),
    "array": np.arange(4, dtype=np.float32),
    "words": np.array([2**64 - 1, 5], dtype=np.uint64),
    "flags": np.array([True, False]),
    "nested": {"list": [1, 2.5, "x", None], "scalar": np.int64(7)},
}


def test_state_comes_back_equal(tmp_path):
    ckpt.save_checkpoint(tmp_path, STATE, 10)
    loaded = ckpt.load_checkpoint(tmp_path)
    assert torch.equal(loaded["tensor"], STATE["tensor"])
    for key in ("array", "words", "flags"):
        assert loaded[key].dtype == STATE[key].dtype and np.array_equal(loaded[key], STATE[key])
    assert loaded["nested"] == {"list": [1, 2.5, "x", None], "scalar": 7}


def own_memory():
    """Returns the bytes of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_a_large_buffer_is_not_read_into_memory_beside_the_one_that_it_fills(tmp_path):
    ckpt.save_checkpoint(tmp_path, {"buffer": torch.ones(32 << 20)}, 10)  # 128 MiB
    before = own_memory()
    loaded = ckpt.load_checkpoint(tmp_path)
    assert loaded["buffer"].sum() == 32 << 20
    assert own_memory() - before < 32 << 20


def test_what_was_loaded_outlives_its_file_and_does_not_change_it(tmp_path):
    path = ckpt.save_checkpoint(tmp_path, STATE, 10)
    content = path.read_bytes()
    loaded = ckpt.load_checkpoint(tmp_path)
    loaded["tensor"] += 1
    assert path.read_bytes() == content
    path.unlink()
    assert torch.equal(loaded["tensor"], STATE["tensor"] + 1)


def test_only_the_newest_is_kept(tmp_path):
    for t_env in (10, 20):
        ckpt.save_checkpoint(tmp_path, {**STATE, "t": t_env}, t_env)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-20.pt"]
    assert ckpt.load_checkpoint(tmp_path)["t"] == 20


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write failed")])
def test_full_disk_keeps_the_one_before(tmp_path, monkeypatch, error):
    ckpt.save_checkpoint(tmp_path, {**STATE, "t": 10}, 10)

    def full(state, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"t_env=20 could not be written.*is untouched"):
        ckpt.save_checkpoint(tmp_path, STATE, 20)
    monkeypatch.undo()
    assert ckpt.load_checkpoint(tmp_path)["t"] == 10
    assert not list(tmp_path.glob("*.part"))


def test_every_kind_of_damage_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        ckpt.load_checkpoint(tmp_path)
    path = ckpt.save_checkpoint(tmp_path, STATE, 10)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="SHA-256"):
        ckpt.load_checkpoint(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        ckpt.load_checkpoint(tmp_path)
    (tmp_path / ckpt.INDEX).write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        ckpt.load_checkpoint(tmp_path)


def test_objects_are_not_loaded(tmp_path):
    """A file that would run code on unpickling is refused, even with a matching hash."""

    class Bomb:
        def __reduce__(self):
            return print, ("ran",)

    path = ckpt.save_checkpoint(tmp_path, STATE, 10)
    torch.save({"bomb": Bomb()}, path)
    index = json.loads((tmp_path / ckpt.INDEX).read_text())
    index["sha256"] = ckpt._sha256(path)
    (tmp_path / ckpt.INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="cannot be read"):
        ckpt.load_checkpoint(tmp_path)


def test_random_state_restores_every_stream(tmp_path):
    sampler = np.random.default_rng(3)
    np.random.standard_normal()

    def draw():
        return (
            random.random(),
            np.random.random(),
            np.random.standard_normal(),
            torch.rand(1).item(),
            sampler.random(),
        )

    ckpt.save_checkpoint(tmp_path, ckpt.random_state(sampler), 1)
    expected = draw()
    ckpt.set_random_state(ckpt.load_checkpoint(tmp_path), sampler)
    assert draw() == expected


def test_lock_is_exclusive_until_released(tmp_path):
    lock = ckpt.RunLock(tmp_path)
    with pytest.raises(CheckpointError, match="in use by another process"):
        ckpt.RunLock(tmp_path)
    lock.release()
    ckpt.RunLock(tmp_path).release()


def test_differing_settings_are_all_named():
    with pytest.raises(CheckpointError, match=r"lr: 0.1 there, 0.2 here; mixer: 'vdn' there, None here"):
        ckpt.check_same_run({"lr": 0.1, "mixer": "vdn", "t_max": 1}, {"lr": 0.2, "mixer": None, "t_max": 2})
