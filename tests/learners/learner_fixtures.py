"""Small settings, batches and a stand-in protocol bundle for learner and controller tests."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import torch

from components.episode_buffer import EpisodeBatch
from components.transforms import OneHot
from epymarl_lmac.settings.fields import defaults_of
from learners import REGISTRY as learner_REGISTRY
from modules.comm import REGISTRY as comm_REGISTRY

N, A, O, S, T = 3, 4, 5, 7, 6  # agents, actions, observation, state, stored steps
HISTORY = 3
D = O + A + N


class Recorder:
    """A logger that keeps what it is told."""

    def __init__(self):
        self.stats = {}

    def log_stat(self, key, value, t_env, to_sacred=True):
        self.stats.setdefault(key, []).append((t_env, value))


# Settings that keep a method's networks small here.
SMALL = {
    "lmac": {
        "latent_dim": 4,
        "comm_dropout": 0.0,
        "message_cache_mib": 0.0,
        "recon_form": "published",
        "cycle_form": "published",
    },
}

# An actor-critic, and SMS as it was released but for the noise.
POLICY = {
    "learner": "twin_critic_learner",
    "mixer": "linear",
    "agent": "linear",
    "use_rnn": False,
    "action_selector": "softmax",
    "obs_last_action": False,
    "critic_hidden_dim": 8,
}
SMS_POLICY = {**POLICY, "comm": "sms", "sms_form": "actor_critic"}


def settings(**changes):
    """Returns the settings of a small run, a method's own defaults among them; ``changes`` override."""
    values = {
        "n_agents": N,
        "n_actions": A,
        "obs_shape": O,
        "state_shape": S,
        "env": "fake",
        "env_args": {},
        "device": "cpu",
        "seed": 1,
        "agent": "rnn",
        "mac": "basic_mac",
        "mixer": "qmix",
        "learner": "q_learner",
        "action_selector": "epsilon_greedy",
        "epsilon_start": 1.0,
        "epsilon_finish": 0.05,
        "epsilon_anneal_time": 100,
        "evaluation_epsilon": 0.0,
        "test_greedy": True,
        "hidden_dim": 8,
        "use_rnn": True,
        "obs_last_action": True,
        "obs_agent_id": True,
        "add_state": False,
        "optimiser": "adam",
        "lr": 0.01,
        "optim_alpha": 0.99,
        "optim_eps": 1e-5,
        "gamma": 0.9,
        "grad_norm_clip": 10.0,
        "double_q": True,
        "standardise_rewards": False,
        "reward_std_floor": 0.0,
        "standardise_returns": False,
        "target_update_interval_or_tau": 200,
        "learner_log_interval": 0,
        "mixing_embed_dim": 4,
        "hypernet_layers": 2,
        "hypernet_embed": 8,
        "comm": None,
        "batch_size": 4,
        "buffer_size": 200,
    }
    if changes.get("comm"):
        values |= {**defaults_of(comm_REGISTRY[changes["comm"]].SETTINGS), **SMALL.get(changes["comm"], {})}
    own = learner_REGISTRY[changes.get("learner", values["learner"])].SETTINGS
    values |= {} if own is None else defaults_of(own)
    unknown = set(changes) - set(values)
    assert not unknown, unknown
    return SimpleNamespace(**{**values, **changes})


SCHEME = {
    "state": {"vshape": S},
    "obs": {"vshape": O, "group": "agents"},
    "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
    "avail_actions": {"vshape": (A,), "group": "agents", "dtype": torch.int},
    "reward": {"vshape": (1,)},
    "terminated": {"vshape": (1,), "dtype": torch.uint8},
}
GROUPS = {"agents": N}
PREPROCESS = {"actions": ("actions_onehot", [OneHot(out_dim=A)])}


def batch_of(lengths, seed=0, steps=T, avail=None):
    """Returns an EpisodeBatch of random episodes, one a length; they terminate at their last transition."""
    g = torch.Generator().manual_seed(seed)
    batch = EpisodeBatch(dict(SCHEME), GROUPS, len(lengths), steps, preprocess=PREPROCESS)
    for b, length in enumerate(lengths):
        for t in range(length + 1):
            data = {
                "state": torch.randn(1, S, generator=g),
                "obs": torch.randn(1, N, O, generator=g),
                "avail_actions": torch.ones(1, N, A, dtype=torch.int),
                "actions": torch.randint(0, A, (1, N, 1), generator=g),
            }
            if t < length:
                data["reward"] = torch.randn(1, 1, generator=g)
                data["terminated"] = torch.tensor([[int(t == length - 1)]], dtype=torch.uint8)
            batch.update(data, bs=b, ts=t)
    return batch


def losses_with_and_without_padding_scribbled_on(learner, loss_of=lambda learner, batch: learner.loss(batch)[0]):
    """Returns the loss of a batch with a short episode, as it is and with other numbers in the steps after its end."""
    batch = batch_of([2, T - 1])
    scribbled = copy.deepcopy(batch)
    for key in ("obs", "state", "reward", "actions_onehot"):
        scribbled.data.transition_data[key][0, 3:] = 77
    losses = []
    for one in (batch, scribbled):
        torch.manual_seed(3)  # sampled messages
        losses.append(loss_of(learner, one).detach())
    return losses


def full_scheme():
    """Returns the scheme with preprocessing applied, as a buffer shows it."""
    return EpisodeBatch(dict(SCHEME), GROUPS, 1, T, preprocess=PREPROCESS).scheme


class FakeProgram:
    """Sends every agent the observations of the next agent: now (history None) or L - 1 steps ago."""

    def __init__(self, history):
        self.spec = SimpleNamespace(history=history)
        self.message_dim = D

    def to(self, device):
        return self

    def message(self, o):
        seen = o if self.spec.history is None else o[:, 0]
        return seen.roll(-1, dims=1)


class FakeFlow:
    """Who sends what in a ``FakeProgram``."""

    def senders(self):
        """Every column of a receiver comes from the next agent."""
        return torch.eye(N, dtype=torch.bool).roll(1, dims=1).unsqueeze(1).expand(N, D, N).numpy()


def fake_bundle():
    """Returns a bundle with three protocol steps, the last one on history."""
    return SimpleNamespace(
        programs=[FakeProgram(None), FakeProgram(None), FakeProgram(HISTORY)],
        steps=[0, 1, 2],
        history=HISTORY,
        important_state=[0, 2, 5],
    )
