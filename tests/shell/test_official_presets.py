"""``preset=official`` plays and learns as often as the released code does."""

import pytest

from epymarl_lmac.settings import load_settings

ENVIRONMENTS = {  # played between updates
    "cola": 1, "fullcomm": 1, "lmac_qmix": 1, "maic": 1, "masia": 1, "ndq": 16, "qmix": 1, "qmix_state": 1, "sms": 8,
    "t2mac": 1, "tarmac": 8,
}  # fmt: skip


@pytest.mark.parametrize("alg", ENVIRONMENTS)
def test_environments_and_target_copies_are_as_released(alg):
    s = load_settings(alg, "lbf", ["preset=official"])
    assert s.batch_size_run == ENVIRONMENTS[alg]
    assert s.updates_per_episode * s.batch_size_run == 1  # one update after every round
    assert 200 <= s.target_update_interval_or_tau / s.updates_per_episode <= 208  # episodes
