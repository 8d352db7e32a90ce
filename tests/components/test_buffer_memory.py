"""A replay buffer that does not fit is refused before the run, with the numbers and what would fit."""

import pytest
import torch

from components.buffer_memory import GIB, SHARE, check_fits, free_bytes
from components.episode_buffer import EpisodeBatch, ReplayBuffer
from components.transforms import OneHot
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.settings import load_settings
from run import Experiment
from utils.logging import Logger, get_logger

SCHEME = {
    "obs": {"vshape": 7, "group": "agents"},
    "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
}
GROUPS = {"agents": 3}
PREPROCESS = {"actions": ("actions_onehot", [OneHot(out_dim=5)])}


def test_bytes_of_a_buffer_are_those_of_its_episodes():
    one, buffer = (
        made(SCHEME, GROUPS, n, 6, preprocess=PREPROCESS) for made, n in ((EpisodeBatch, 1), (ReplayBuffer, 11))
    )
    n_floats, n_integers = 3 * 7 + 3 * 5, 3 + 1  # a step: obs, one-hot actions; actions, filled
    assert one.nbytes == 6 * (4 * n_floats + 8 * n_integers) and buffer.nbytes == 11 * one.nbytes


def test_what_a_method_stores_with_every_episode_is_counted():
    def needed(alg):
        experiment = Experiment(load_settings(alg, "lookout", ["use_cuda=False"]), Logger(get_logger()))
        assert experiment.buffer_bytes == experiment.buffer.nbytes
        return experiment.buffer_bytes

    assert needed("lmac_qmix") > needed("qmix")


def test_a_checkpoint_holds_no_second_buffer():
    experiment = Experiment(load_settings("qmix", "lookout", ["use_cuda=False"]), Logger(get_logger()))
    experiment.advance()
    saved = experiment.state_dict(0)["buffer"]["data"]
    assert all(tensor.data_ptr() == experiment.buffer[key].data_ptr() for key, tensor in saved.items())


def test_what_fits_is_counted():
    assert check_fits(2**20, 1024, 0.0, free=2 * GIB) == GIB
    assert check_fits(2**20, 1024, 1.0, free=0) == GIB


def test_more_than_is_free_is_refused_with_what_would_fit():
    with pytest.raises(SettingsError, match=r"needs 1\.00 GiB for buffer_size=1024 .* Use buffer_size=409 or less"):
        check_fits(2**20, 1024, 0.0, free=GIB // 2)
    fits = int(SHARE * (GIB // 2)) // 2**20
    assert check_fits(2**20, fits, 0.0, free=GIB // 2) == fits * 2**20


def test_more_than_the_limit_is_refused():
    with pytest.raises(SettingsError, match=r"buffer_memory_gib=0\.5 allows 0\.50 GiB.*raise buffer_memory_gib"):
        check_fits(2**20, 1024, 0.5, free=100 * GIB)


def test_this_machine_says_what_is_free():
    assert 2**20 < free_bytes("cpu") < 2**50


def test_a_run_is_refused_before_anything_is_played():
    settings = load_settings("qmix", "lookout", ["buffer_memory_gib=0.000001", "use_cuda=False"])
    with pytest.raises(SettingsError, match="replay buffer needs"):
        Experiment(settings, Logger(get_logger()))
