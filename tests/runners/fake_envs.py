"""Small environments whose episodes are known in advance.

Episode number e of copy b out of B is game g = b + B * e. Game g lasts ``lengths[g % len(lengths)]`` steps.
One that lasts the whole limit is cut by it, any other ends by itself. What is observed tells game, step,
agent and column. No torch here: environment processes import this file.
"""

import os
import signal
import sys
import time

import numpy as np

from envs.batched import BatchedEnv, StepResult
from envs.multiagentenv import MultiAgentEnv

LIMIT = 5
N, A, O, S = 3, 4, 2, 3


def obs_of(game: int, t: int) -> np.ndarray:
    """(N, O), a different value for every game, step, agent and column."""
    return game * 1000 + t * 100 + np.arange(N)[:, None] * 10 + np.arange(O)[None] + 1.0


def state_of(game: int, t: int) -> np.ndarray:
    """(S,)"""
    return -(game * 1000 + t * 100 + np.arange(S) + 1.0)


def avail_of(game: int, t: int) -> np.ndarray:
    """(N, A), one action a step and agent is not available."""
    avail = np.ones((N, A), np.uint8)
    avail[np.arange(N), (game + t + np.arange(N)) % A] = 0
    return avail


def reward_of(game: int, t: int, actions) -> float:
    """Depends on every agent's action, so that a swap of agents shows."""
    return float(np.float32(game + 0.1 * t + np.dot(np.asarray(actions), 10.0 ** np.arange(N))))


class FakeBatched(BatchedEnv):
    """See the module's text; ``noise`` adds a random column to the state from the copy's generator."""

    def __init__(self, num_envs, seed, *, lengths, noise=False):
        self.num_envs, self.seed, self.lengths, self.noise = num_envs, seed, lengths, noise
        self.n_agents, self.n_actions, self.obs_dim, self.state_dim = N, A, O, S
        self.episode_limit = LIMIT
        self.obs_BNO = np.zeros((num_envs, N, O), np.float32)
        self.state_BS = np.zeros((num_envs, S), np.float32)
        self.avail_BNA = np.zeros((num_envs, N, A), np.uint8)
        self.generators = [np.random.default_rng([seed, b]) for b in range(num_envs)]
        self.episode = -1
        self.t_B = np.zeros(num_envs, np.int64)
        self.live_B = np.zeros(num_envs, bool)

    rules = "fake 1"

    def game(self, b):
        return b + self.num_envs * self.episode

    def _show(self, b):
        g, t = self.game(b), int(self.t_B[b])
        self.obs_BNO[b], self.state_BS[b], self.avail_BNA[b] = obs_of(g, t), state_of(g, t), avail_of(g, t)
        if self.noise:
            self.state_BS[b, 0] = self.generators[b].random()

    def reset(self):
        self.episode += 1
        self.t_B[:], self.live_B[:] = 0, True
        for b in range(self.num_envs):
            self._show(b)

    def step(self, actions_BN):
        reward_B = np.zeros(self.num_envs, np.float32)
        over_B, cut_B = np.zeros((2, self.num_envs), bool)
        won_B = np.zeros(self.num_envs, np.float32)
        for b in np.flatnonzero(self.live_B):
            g, t = self.game(b), int(self.t_B[b])
            assert all(self.avail_BNA[b, n, a] for n, a in enumerate(actions_BN[b]))
            reward_B[b] = reward_of(g, t, actions_BN[b])
            self.t_B[b] += 1
            length = self.lengths[g % len(self.lengths)]
            if self.t_B[b] >= length:
                over_B[b], cut_B[b] = length < LIMIT, length == LIMIT
                won_B[b] = g % 2
                self.live_B[b] = False
            self._show(b)
        return StepResult(reward_B, over_B, cut_B, {"won": won_B})

    def state_dict(self):
        words = [self._words(generator) for generator in self.generators]
        return {"episode": np.array(self.episode), "generators": np.array(words, np.uint64)}

    @staticmethod
    def _words(generator):
        inner = generator.bit_generator.state["state"]
        return [(inner[key] >> shift) & (2**64 - 1) for key in ("state", "inc") for shift in (64, 0)]

    def load_state_dict(self, state):
        self.episode = int(state["episode"])
        for generator, words in zip(self.generators, state["generators"].tolist(), strict=True):
            saved = dict(generator.bit_generator.state)
            saved["state"] = {"state": words[0] << 64 | words[1], "inc": words[2] << 64 | words[3]}
            generator.bit_generator.state = saved


def make_either(num_envs, seed, *, engine):
    """The fake as the embedded form of an environment that also has an engine."""
    return FakeBatched(num_envs, seed, lengths=[2, 5])


def choose_form(env_args):
    """ "single" where the engine is asked for."""
    return "single" if env_args["engine"] == "real" else "batched"


class Engine(MultiAgentEnv):
    """Like a foreign game engine: cannot be saved, tells its limit as SMAC does, goes wrong on demand."""

    n_agents, episode_limit = N, LIMIT

    def __init__(self, seed, fault="", fault_step=2):
        self.seed_, self.fault, self.fault_step, self.t = seed, fault, fault_step, 0

    def reset(self, seed=None, options=None):
        self.t = 0
        return self.get_obs(), {}

    def step(self, actions):
        self.t += 1
        if self.t == self.fault_step:
            if self.fault == "raise":
                print("engine: about to divide")
                return 1 // 0
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "exit":
                print("engine: lost its licence", file=sys.stderr, flush=True)
                os._exit(3)
            if self.fault == "hang":
                time.sleep(1000)
        done = self.t == LIMIT
        return self.get_obs(), 1.0, done, False, {"episode_limit": True, "map": "flat"} if done else {}

    def get_obs(self):
        return list(obs_of(0, self.t))

    def get_obs_size(self):
        return O

    def get_state(self):
        return state_of(0, self.t)

    def get_state_size(self):
        return S

    def get_avail_actions(self):
        return [[1] * A for _ in range(N)]

    def get_total_actions(self):
        return A

    def render(self):
        return f"step {self.t}"


class Seeded(Engine):
    """An engine whose episodes follow from their seed: which game it is, and how long it lasts."""

    seeds_episodes = True

    def __init__(self, seed, fault="", fault_step=2):
        super().__init__(seed, fault, fault_step)
        self.game, self.length = 0, LIMIT

    def reset(self, seed=None, options=None):
        self.game, self.length = np.random.default_rng(seed).integers(1, [10_000, LIMIT + 1]).tolist()
        return super().reset()

    def step(self, actions):
        obs, _, cut, _, info = super().step(actions)
        ended = self.t == self.length and not cut
        return obs, reward_of(self.game, self.t, actions), cut or ended, False, info | {"won": self.game % 2}

    def get_obs(self):
        return list(obs_of(self.game % 7, self.t))

    def get_state(self):
        return state_of(self.game, self.t)


class FakeEndless(Engine):
    """Says that its limit is one step earlier than it is."""

    episode_limit = LIMIT - 1


def make_engine(*, seed, common_reward, reward_scalarisation, engine="", **env_args):
    return Engine(seed, **env_args)


def make_seeded(*, seed, common_reward, reward_scalarisation, **env_args):
    return Seeded(seed, **env_args)
