"""Every communication method acts the same as alone when episodes start one by one, beside others at other steps.

And in a copy of the controller that another process could have.
"""

import pickle

import numpy as np
import pytest
import torch
from learner_fixtures import GROUPS, PREPROCESS, SCHEME, SMS_POLICY, A, N, O, S, T, full_scheme, settings

from components.episode_buffer import EpisodeBatch
from controllers import REGISTRY as mac_REGISTRY
from envs.batched import BatchedEnv, StepResult
from modules.comm import REGISTRY
from runners.episode_player import ControllerSource, EpisodePlayer, EpisodeRequest
from runners.pipelined_rollout import pipelined_rollout
from runners.rollout import rollout
from runners.worker_pool import WorkerStep

FORMS = {
    "none": {},
    "no_rnn": {"use_rnn": False},
    **{name: {"comm": name} for name in sorted(REGISTRY)},
    "sms, a policy": SMS_POLICY,
    **{f"{name}, late": {"comm": name, "channel_delay": 2} for name in sorted(REGISTRY) if REGISTRY[name].sends},
    "lmac, gru": {"comm": "lmac", "comm_carry": "gru"},
}
LENGTHS = ([2, 5, 1], [4, 1, 3], [1, 3, 5], [5, 2, 2], [3, 4, 1])  # of the episodes of each worker
N_EPISODES = 11


class Pool:
    """Environments in this process under the names of a ``WorkerPool``; what is observed is drawn once a step."""

    num_envs, n_agents, episode_limit, name = len(LENGTHS), N, T - 1, "drawn"

    def __init__(self):
        self.draws = [torch.Generator().manual_seed(i) for i in range(self.num_envs)]
        self.obs_BNO = torch.zeros(self.num_envs, N, O).numpy()
        self.state_BS = torch.zeros(self.num_envs, S).numpy()
        self.avail_BNA = torch.ones(self.num_envs, N, A, dtype=torch.uint8).numpy()
        self.episode, self.t = [-1] * self.num_envs, [0] * self.num_envs

    def _see(self, i):
        self.obs_BNO[i] = torch.randn(N, O, generator=self.draws[i]).numpy()
        self.state_BS[i] = torch.randn(S, generator=self.draws[i]).numpy()

    def begin_reset(self, i):
        self.episode[i] += 1
        self.t[i] = 0

    def finish_reset(self, i):
        self._see(i)

    def begin_step(self, i, actions_N):
        self.t[i] += 1

    def finish_step(self, i):
        self._see(i)
        has_ended = self.t[i] == LENGTHS[i][self.episode[i] % 3]
        return WorkerStep(1.0, has_ended, False, {}, None, None)


class Drawn(BatchedEnv):
    """One copy whose episodes last as long as they may; what is observed is the same in all of them."""

    num_envs, n_agents, n_actions, episode_limit, obs_dim, state_dim = 1, N, A, T - 1, O, S
    rules = "drawn 1"

    def _see(self):
        self.obs_BNO = torch.randn(1, N, O, generator=self.draws).numpy()
        self.state_BS = torch.randn(1, S, generator=self.draws).numpy()

    def seed_next(self, seed):
        """All episodes are alike."""

    def reset(self):
        self.draws, self.t = torch.Generator().manual_seed(1), 0
        self.avail_BNA = np.ones((1, N, A), np.uint8)
        self._see()

    def step(self, actions_BN):
        self.t += 1
        self._see()
        return StepResult(np.ones(1, np.float32), np.zeros(1, bool), np.array([self.t == T - 1]), {})

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        """There is nothing to load."""


class Recorder:
    """A controller that keeps the Q-values of every observation."""

    def __init__(self, mac):
        self._mac, self._forward = mac, mac.forward
        self.q, self.n_rows = {}, []
        mac.forward = self.forward

    def forward(self, ep_batch, t, test_mode=False):
        q = self._forward(ep_batch, t, test_mode=test_mode)
        self.n_rows.append((len(q), t))
        self.q |= {obs.numpy().tobytes(): row for obs, row in zip(ep_batch["obs"][:, t], q, strict=True)}
        return q


@pytest.mark.parametrize("form", FORMS)
def test_episodes_that_start_one_by_one_have_the_q_values_of_playing_alone(form):
    torch.manual_seed(0)
    args = settings(**FORMS[form])
    mac = mac_REGISTRY[args.mac](full_scheme(), GROUPS, args)
    mac.train(False)
    forward, recorder = mac.forward, Recorder(mac)
    batch = EpisodeBatch(dict(SCHEME), GROUPS, N_EPISODES, T, preprocess=PREPROCESS)
    outcome = pipelined_rollout(Pool(), mac, batch, t_env=0, test_mode=True)
    assert (1, 0) in recorder.n_rows and max(recorder.n_rows)[0] == 3  # some start on their own, and are joined
    assert all(value.shape[0] == len(mac.memory["hidden_states"]) for value in mac.memory.values())
    for e, length in enumerate(outcome.length_B.tolist()):
        mac.init_hidden(1)
        for t in range(length + 1):
            with torch.no_grad():
                alone = forward(batch[e], t, test_mode=True)[0]
            found = recorder.q[batch["obs"][e, t].numpy().tobytes()]
            torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("control", "expected"), [("none", False), ("zero", False), ("shuffle", True)])
def test_rows_must_be_at_one_step_where_messages_are_exchanged(control, expected):
    args = settings(comm="fullcomm", comm_control=control, comm_control_when="test")
    mac = mac_REGISTRY[args.mac](full_scheme(), GROUPS, args)
    assert mac.needs_one_step(test_mode=True) == expected and not mac.needs_one_step(test_mode=False)


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_in_another_process_acts_as_the_controller_does(form):
    torch.manual_seed(0)
    args = settings(**FORMS[form], epsilon_start=0.3, epsilon_finish=0.3)
    original = mac_REGISTRY[args.mac](full_scheme(), GROUPS, args)
    original.train(False)
    player = EpisodePlayer(Drawn(), ControllerSource(type(original), SCHEME, GROUPS, PREPROCESS, args))
    for test_mode in (False, True, False):
        player.load(pickle.loads(pickle.dumps(original.acting_state())))
        other = player.play(EpisodeRequest(5, 0, test_mode))
        original.seed_acting(5)
        batch = EpisodeBatch(dict(SCHEME), GROUPS, 1, T, preprocess=PREPROCESS)
        rollout(Drawn(), original, batch, t_env=0, test_mode=test_mode)
        assert set(other.fields) == set(batch.data.transition_data)
        assert all(np.array_equal(value, batch[key][0].numpy()) for key, value in other.fields.items())
        tally = pickle.dumps(original.take_tally())
        assert tally == pickle.dumps(other.tally)
        original.add_tally(other.tally)
        assert pickle.dumps(original.take_tally()) == tally
