"""Trajectories: how many, from where, and that others can read them."""

import dataclasses
import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from designs import TEXTS
from host_runs_for_design import small_run

from epymarl_lmac.awareness.inputs import extended_obs, messages
from epymarl_lmac.errors import RecordError, SettingsError, TaskError
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.paths import make_host_importable
from epymarl_lmac.protocol import ProtocolSpec
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import task_card
from protocol_gen import collect as collecting
from protocol_gen import trajectories


@pytest.fixture
def card():
    return task_card("lookout", merge("qmix", "lookout")["env_args"])


def test_the_file_explains_itself_to_any_reader(buffer, card):
    with h5py.File(buffer) as file:
        assert json.loads(file.attrs["obs_columns"]) == [d.name for d in card.obs]
        assert json.loads(file.attrs["env_args"]) == card.settings
        assert file["train/obs"].shape == (64, 3, 3, 5) and file["heldout/obs"].shape == (32, 3, 3, 5)
        assert file["train/obs"].attrs["axes"] == "episode, step, agent, observation column"
        assert (file["train/length"][:] == 3).all()
        rewards, actions = file["train/reward"][:], file["train/actions"][:]
        target = file["train/state"][:, 0, :4].argmax(1)
        right = (actions[:, :2] == target[:, None, None]).all(2)
        np.testing.assert_allclose(rewards[:, :2], right / 2)


def test_episodes_are_spread_over_training_in_both_groups(tmp_path, card):
    path = tmp_path / "t.h5"
    collecting.collect(path, card, "lookout", [], n_episodes=64, n_heldout=32, t_max=640)
    with h5py.File(path) as file:
        for group in ("train", "heldout"):
            t_env = file[f"{group}/t_env"][:]
            assert t_env.min() <= 240 and t_env.max() >= 400
            assert len(np.unique(t_env)) == len(t_env) // 16
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_collection_leaves_no_file_and_starts_again(tmp_path, card, monkeypatch):
    path, real, calls = tmp_path / "t.h5", trajectories.Writer.add, []

    def add(self, group, arrays):
        calls.append(group)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(self, group, arrays)

    monkeypatch.setattr(trajectories.Writer, "add", add)
    with pytest.raises(KeyboardInterrupt):
        collecting.collect(path, card, "lookout", [], 48, 16, t_max=10)
    assert list(tmp_path.iterdir()) == []
    collecting.collect(path, card, "lookout", [], 48, 16, t_max=10)
    assert len(trajectories.read(path)[0]) == 48


def test_the_networks_of_a_run_can_play(tmp_path, card):
    run = small_run(tmp_path / "results")
    path = tmp_path / "t.h5"
    notes = collecting.collect(path, card, "lookout", [], 64, 16, record=run)
    assert run.name in notes["behaviour"] and len(trajectories.read(path)[1]) == 16
    other = dataclasses.replace(card, settings={**card.settings, "steps": 3})
    with pytest.raises(SettingsError, match="is a run of lookout"):
        collecting.collect(path, other, "lookout", [], 64, 16, record=run)


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "t.h5"
    path.write_bytes(b"no")
    with pytest.raises(RecordError, match="cannot be read"):
        trajectories.read(path)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "other"
    with pytest.raises(RecordError, match="no trajectory file of ours"):
        trajectories.read(path)


def test_numbers_below_one_are_refused(tmp_path, card):
    with pytest.raises(SettingsError, match="--heldout=0"):
        collecting.collect(tmp_path / "t.h5", card, "lookout", [], 5, 0)


def test_decoders_read_what_the_controller_reads(builder):
    """x and messages of stored episodes equal those of the controller and LMAC on the same batch."""
    make_host_importable()

    from epymarl_lmac.awareness.inputs import Episodes
    from epymarl_lmac.settings import load_settings
    from modules.comm.lmac import LmacComm
    from run import Experiment
    from utils.logging import Logger, get_logger

    words = ["use_cuda=False", "runner=vector", "batch_size_run=8", "env_args.steps=4"]
    experiment = Experiment(load_settings("qmix", "lookout", words), Logger(get_logger()))
    with torch.no_grad():
        batch = experiment.runner.run(test_mode=False)
    batch.data.transition_data["filled"][2:5, 3:] = 0  # episodes of different length
    programs = [builder(t, ProtocolSpec(3, 12, 10 if k == 2 else None)) for k, t in enumerate(TEXTS)]
    comm = LmacComm.__new__(LmacComm)
    torch.nn.Module.__init__(comm)
    comm.shared = SimpleNamespace(programs=programs)
    steps = experiment.mac.steps(batch)
    filled = batch["filled"].squeeze(-1)
    episodes = Episodes(batch["obs"], batch["actions"].squeeze(-1), batch["state"], filled.sum(1))
    packing, layout = episodes.packing(), XLayout(4)
    x = extended_obs(episodes, packing, layout)
    assert torch.equal(x, steps.x_RND)
    assert torch.equal(messages(programs, x, packing, layout), comm.messages(steps))


def test_a_card_of_other_sizes_is_refused_before_anything_is_played(tmp_path, card):
    other = dataclasses.replace(card, state=card.state[:-1])
    with pytest.raises(TaskError, match="state_shape is 7, the card says 6"):
        collecting.collect(tmp_path / "t.h5", other, "lookout", [], 16, 16)
    assert list(tmp_path.iterdir()) == []


def test_no_training_steps_at_all_are_refused(tmp_path, card):
    with pytest.raises(SettingsError, match="--train-steps=0 must be at least 1"):
        trajectories_path = tmp_path / "t.h5"
        collecting.collect(trajectories_path, card, "lookout", [], n_episodes=1, n_heldout=1, t_max=0)
