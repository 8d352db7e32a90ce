import pytest
import torch

from epymarl_lmac.protocol import build_program
from epymarl_lmac.protocol.engine import bundle
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import task_card
from protocol_gen.collect import collect


@pytest.fixture(scope="session")
def buffer(tmp_path_factory):
    """Recorded lookout episodes, made once."""
    path = tmp_path_factory.mktemp("buffer") / "trajectories.h5"
    card = task_card("lookout", merge("qmix", "lookout")["env_args"])
    collect(path, card, "lookout", [], n_episodes=64, n_heldout=32, t_max=100)
    torch.set_num_threads(1)
    return path


@pytest.fixture(scope="session")
def programs():
    """Programs that were built so far, by text; tracing one takes seconds."""
    return {}


@pytest.fixture
def builder(programs, monkeypatch):
    """Builds a text once a session, rejections included."""

    def build(text, spec, limits=None, real=None):
        key = (text, spec)
        if key not in programs:
            try:
                programs[key] = build_program(text, spec, limits, real)
            except Exception as err:
                programs[key] = err
        if isinstance(programs[key], Exception):
            raise programs[key]
        return programs[key]

    monkeypatch.setattr(bundle, "build_program", build)
    return build
