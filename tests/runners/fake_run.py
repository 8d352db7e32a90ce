"""What a runner needs around the fake environments: settings, controller, log."""

from types import SimpleNamespace

import fake_envs as fake
import torch
from fake_envs import A, N, O, S

import envs
from components.action_selectors import EpsilonGreedyActionSelector
from components.transforms import OneHot
from epymarl_lmac.tasks import EnvEntry
from runners import REGISTRY

SCHEME = {
    "state": {"vshape": S},
    "obs": {"vshape": O, "group": "agents"},
    "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
    "avail_actions": {"vshape": (A,), "group": "agents", "dtype": torch.int},
    "reward": {"vshape": (1,)},
    "terminated": {"vshape": (1,), "dtype": torch.uint8},
}
GROUPS = {"agents": N}
PREPROCESS = {"actions": ("actions_onehot", [OneHot(A)])}


class ScriptedMac:
    """Q-values that depend on what is observed, and on nothing else; exploration as ``args`` say."""

    in_step = False  # whether all episodes of a call must be at the same step

    def __init__(self, args):
        self.action_selector = EpsilonGreedyActionSelector(args)
        self.memory = {}

    def needs_one_step(self, test_mode):
        return self.in_step

    def init_hidden(self, batch_size):
        self.memory = {"rows": torch.zeros(batch_size)}

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        assert not torch.is_grad_enabled()
        assert ep_batch.batch_size == len(self.memory["rows"])
        seen = ep_batch["obs"][:, t_ep].sum(-1, keepdim=True)
        q = torch.sin(seen * torch.arange(1, A + 1))
        avail = ep_batch["avail_actions"][:, t_ep]
        return self.action_selector.select_action(q[bs], avail[bs], t_env, test_mode)


class RememberingMac(ScriptedMac):
    """Q-values that depend on everything observed in the episode so far, the last actions and the step's number."""

    def init_hidden(self, batch_size):
        self.memory = {"sum": torch.zeros(batch_size, N), "t": torch.zeros(batch_size)}

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        total, t = self.memory["sum"], self.memory["t"]
        if t_ep > 0:
            total = 0.5 * total + ep_batch["actions_onehot"][:, t_ep - 1] @ torch.arange(1.0, A + 1)
        total = total + 0.01 * ep_batch["obs"][:, t_ep].sum(-1)
        self.memory = {"sum": total, "t": t + 1}
        q = torch.sin(total.unsqueeze(-1) * torch.arange(1, A + 1) + t.view(-1, 1, 1))
        avail = ep_batch["avail_actions"][:, t_ep]
        return self.action_selector.select_action(q[bs], avail[bs], t_env, test_mode)


class PortableMac(RememberingMac):
    """The same with a weight that training changes; copies of it can act in other processes. Counts its calls."""

    def __init__(self, *given):
        super().__init__(given[-1])
        self.weight, self.n_calls = 1.0, 0

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        self.n_calls += 1
        self.memory["sum"] = self.memory["sum"] + self.weight
        return super().select_actions(ep_batch, t_ep, t_env, bs, test_mode)

    def acting_state(self):
        return {"weight": self.weight, "fixed_epsilon": self.action_selector.fixed_epsilon}

    def load_acting_state(self, state):
        self.weight, self.action_selector.fixed_epsilon = state["weight"], state["fixed_epsilon"]

    def seed_acting(self, seed):
        self.action_selector.seed(seed)

    def take_tally(self):
        n_calls, self.n_calls = self.n_calls, 0
        return n_calls

    def add_tally(self, tally):
        self.n_calls += tally


class Log:
    """Keeps what is logged."""

    def __init__(self):
        self.rows: list[tuple] = []
        self.shown: list[tuple] = []
        self.warned: list[tuple] = []
        self.console_logger = SimpleNamespace(
            info=lambda *a: self.shown.append(a), warning=lambda *a: self.warned.append(a)
        )

    def log_stat(self, key, value, t_env, to_sacred=True):
        self.rows.append((key, value, t_env))

    def last(self):
        return {key: value for key, value, _ in self.rows}


def make_args(**changes):
    """Settings of a run on the fake environment."""
    args = dict(
        env="fake",
        env_args={"lengths": [2, 5, 3, 1]},
        batch_size_run=3,
        num_envs=0,
        acting="auto",
        test_nepisode=4,
        runner_log_interval=1,
        common_reward=True,
        reward_scalarisation="sum",
        seed=7,
        render=False,
        device="cpu",
        epsilon_start=0.0,
        epsilon_finish=0.0,
        epsilon_anneal_time=10,
        evaluation_epsilon=0.0,
        test_greedy=True,
    )
    return SimpleNamespace(**{**args, **changes})


def register(monkeypatch):
    """Makes the fakes known for the time of a test."""
    monkeypatch.setitem(envs.ENTRIES, "fake", EnvEntry(batched=fake.FakeBatched))
    monkeypatch.setitem(envs.ENTRIES, "engine", EnvEntry(single=fake.make_engine))
    monkeypatch.setitem(envs.ENTRIES, "seeded", EnvEntry(single=fake.make_seeded))
    monkeypatch.setitem(
        envs.ENTRIES,
        "either",
        EnvEntry(batched=fake.make_either, single=fake.make_engine, choose=fake.choose_form),
    )


def make_runner(name, args, mac=ScriptedMac):
    """Returns (runner, log), ready to run."""
    log = Log()
    runner = REGISTRY[name](args, log)
    runner.setup(SCHEME, GROUPS, PREPROCESS, mac(args))
    return runner, log


def same(one, other) -> bool:
    """Whether two batches are equal to the bit."""
    return all(torch.equal(one[key], other[key]) for key in one.scheme)
