"""TensorBoard and Weights & Biases get a run's metrics when asked, and cost two warnings when they fail."""

import sys
import time

import pytest

from epymarl_lmac.record.boards import board_mirrors
from epymarl_lmac.settings import load_settings

ROWS = [("test_return_mean", 0.25, 10), ("loss", 2.0, 10), ("test_return_mean", 0.5, 20)]


def settings(**values):
    """Returns a run's settings with some changed."""
    return {**vars(load_settings("iql", "lookout", [])), **values}


def mirror(folder, said, t_env=0, rows=ROWS, **values):
    """Makes the one mirror that the settings ask for, writes rows to it and ends it."""
    (made,) = board_mirrors(settings(**values), folder, t_env, said.append)
    for row in rows:
        made.write(*row)
    made.close()
    return made


def test_both_are_off_by_default(tmp_path):
    assert board_mirrors(settings(), tmp_path, 0, print) == []


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_gets_every_metric(tmp_path):
    pytest.importorskip("tensorboard")
    said = []
    assert mirror(tmp_path, said, use_tensorboard=True).n_lost == 0 and said == []
    assert scalars(tmp_path) == {"test_return_mean": [(10, 0.25), (20, 0.5)], "loss": [(10, 2.0)]}


def test_tensorboard_shows_no_step_twice_after_a_resume(tmp_path):
    pytest.importorskip("tensorboard")
    said = []
    mirror(tmp_path, said, use_tensorboard=True)
    mirror(tmp_path, said, t_env=10, rows=[("test_return_mean", 0.75, 20)], use_tensorboard=True)
    assert scalars(tmp_path)["test_return_mean"] == [(10, 0.25), (20, 0.75)] and said == []


def test_wandb_offline_keeps_every_metric_in_the_runs_folder(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    said = []
    values = {"use_wandb": True, "wandb_mode": "offline", "wandb_project": "tests"}
    assert mirror(tmp_path, said, **values).n_lost == 0 and said == []
    (record,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    wanted = [b"test_return_mean", b"loss", b"t_env", b"0.25", tmp_path.name.encode()]
    deadline = time.monotonic() + 30  # a process of W&B's own writes the file
    while any(text not in record.read_bytes() for text in wanted) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [text for text in wanted if text not in record.read_bytes()] == []
    assert b"0" * 40 not in record.read_bytes()


MISSING = {"use_tensorboard": ("tensorboard", "tensorboardX"), "use_wandb": ("wandb",)}


@pytest.mark.parametrize("key", MISSING)
def test_a_missing_package_is_two_warnings_with_the_command_that_installs_it(key, tmp_path, monkeypatch):
    for package in MISSING[key]:
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    said = []
    assert mirror(tmp_path, said, **{key: True}).n_lost == len(ROWS)
    assert len(said) == 2 and f"pip install {MISSING[key][0]}" in said[0] and "goes on" in said[0]
    assert "3 metrics are missing" in said[1]


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    said = []
    mirror(tmp_path, said, use_tensorboard=True)
    assert len(said) == 2 and "TensorBoard failed" in said[0]
