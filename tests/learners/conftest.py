"""Learner tests use a stand-in bundle: the protocol engine has its own tests."""

import pytest
import torch
from learner_fixtures import FakeFlow, fake_bundle

from modules.comm import lmac


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def bundle(monkeypatch):
    made = fake_bundle()
    monkeypatch.setattr(lmac, "load_bundle_for", lambda args, n_obs: made)
    monkeypatch.setattr(lmac, "flow_map", lambda program: FakeFlow())
    return made
