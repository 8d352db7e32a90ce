"""A replay buffer that does not fit is refused before the run, with the numbers and what would fit."""

import pytest
import torch

from components.buffer_memory import GIB, SHARE, check_fits, episode_bytes, free_bytes
from components.episode_buffer import ReplayBuffer
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


def test_bytes_of_an_episode_are_those_of_the_buffer():
    buffer = ReplayBuffer(SCHEME, GROUPS, 11, 6, preprocess=PREPROCESS)
    tensors = [*buffer.data.transition_data.values(), *buffer.data.episode_data.values()]
    assert 11 * episode_bytes(SCHEME, GROUPS, 6, PREPROCESS) == sum(tensor.nbytes for tensor in tensors)


def test_what_fits_is_counted():
    assert check_fits(2**20, 1024, 0.0, free=2 * GIB) == GIB
    assert check_fits(2**20, 1024, 1.0, free=0) == GIB
    assert check_fits(2**20, 1024, 0.0, free=None) == GIB


def test_more_than_is_free_is_refused_with_what_would_fit():
    with pytest.raises(SettingsError, match=r"needs 1\.00 GiB for buffer_size=1024 .* Use buffer_size=409 or less"):
        check_fits(2**20, 1024, 0.0, free=GIB // 2)
    fits = int(SHARE * (GIB // 2)) // 2**20
    assert check_fits(2**20, fits, 0.0, free=GIB // 2) == fits * 2**20


def test_more_than_the_limit_is_refused():
    with pytest.raises(SettingsError, match=r"buffer_memory_gib=0\.5 allows 0\.50 GiB.*raise buffer_memory_gib"):
        check_fits(2**20, 1024, 0.5, free=100 * GIB)


def test_this_machine_says_what_is_free():
    free = free_bytes("cpu")
    assert free is None or 2**20 < free < 2**50


def test_a_run_is_refused_before_anything_is_played():
    settings = load_settings("qmix", "lookout", ["buffer_memory_gib=0.000001", "use_cuda=False"])
    with pytest.raises(SettingsError, match="replay buffer needs"):
        Experiment(settings, Logger(get_logger()))
