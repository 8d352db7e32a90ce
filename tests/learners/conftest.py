"""Learner tests use a stand-in bundle: the protocol engine has its own tests."""

import pytest
import torch
from learner_fixtures import FakeFlow, fake_bundle

import controllers.lmac_controller as lmac_controller


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def bundle(monkeypatch):
    made = fake_bundle()
    monkeypatch.setattr(lmac_controller, "load_bundle_for", lambda args, n_obs: made)
    monkeypatch.setattr(lmac_controller, "flow_map", lambda program: FakeFlow())
    return made
