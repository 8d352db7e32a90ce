"""What our modules read of a host is what ``epymarl_lmac/seam.py`` says, under the names and types of the settings."""

import typing
from types import SimpleNamespace

import pytest
import torch
from learner_fixtures import GROUPS, Recorder, batch_of, full_scheme, settings

from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac import seam
from epymarl_lmac.settings.fields import settings_of
from epymarl_lmac.settings.schema import RUN_SETTINGS
from epymarl_lmac.tasks import EnvInfo
from learners import REGISTRY
from learners.twin_critic_learner import TwinCriticSettings
from modules.comm import REGISTRY as comm_REGISTRY
from modules.comm.lmac import LmacSettings

SETTINGS = {name: kind for name, kind in vars(seam).items() if name.endswith("Args")}
SIZES = EnvInfo(n_agents=2, n_actions=3, obs_dim=4, state_dim=5, episode_limit=6).as_epymarl()
READ_BY_METHODS = (seam.ControllerArgs, seam.SelectorArgs, seam.LearnerArgs, seam.LmacArgs)
METHODS = [None, *sorted(comm_REGISTRY)]


class HostBatch:
    """Episodes of a host: nothing beyond the protocol."""

    def __init__(self, batch):
        self._batch = batch
        self.device = batch.device

    def __getitem__(self, key):
        return self._batch[key]


def of_a_host(args):
    """Settings without any name that the protocols and the method's own settings leave out."""
    names = {name for protocol in READ_BY_METHODS for name in typing.get_type_hints(protocol)}
    if args.comm is not None:
        names |= {item.key for item in settings_of(comm_REGISTRY[args.comm].SETTINGS)}
    return SimpleNamespace(**{name: value for name, value in vars(args).items() if name in names})


@pytest.mark.parametrize("name", SETTINGS)
def test_a_protocol_of_settings_has_names_and_types_of_the_schema(name):
    known = {
        item.key: item.kind
        for item in [*RUN_SETTINGS.values(), *settings_of(LmacSettings), *settings_of(TwinCriticSettings)]
    }
    known |= {**dict.fromkeys(SIZES, int), "device": str}
    hints = typing.get_type_hints(SETTINGS[name])
    assert hints == {key: known.get(key) for key in hints}


@pytest.mark.parametrize("comm", METHODS)
def test_a_method_learns_from_what_the_protocols_name(comm):
    args = of_a_host(settings(comm=comm))
    mac = mac_REGISTRY["basic_mac"](full_scheme(), GROUPS, args)
    learner = REGISTRY["q_learner"](mac, full_scheme(), Recorder(), args)
    before = [parameter.detach().clone() for parameter in mac.agent.parameters()]
    learner.train(HostBatch(batch_of([3, 5])), t_env=1, episode_num=2)
    after = list(mac.agent.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("comm", METHODS)
def test_a_method_acts_on_what_the_protocols_name(comm):
    args = of_a_host(settings(comm=comm))
    mac = mac_REGISTRY["basic_mac"](full_scheme(), GROUPS, args)
    batch = HostBatch(batch_of([3, 5]))
    mac.init_hidden(2)
    actions = [mac.select_actions(batch, t_ep=t, t_env=0, test_mode=True) for t in range(2)]
    assert [tuple(chosen.shape) for chosen in actions] == [(2, mac.n_agents)] * 2
