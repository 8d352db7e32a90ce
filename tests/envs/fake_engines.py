"""Small environments of the two kinds that users bring: Gymnasium with several agents, and parallel PettingZoo.

Duo: two agents with 2 and 3 actions (the second's start at 5), observations 2 and 1 wide. It ends at ``length``.
"""

import os

import gymnasium
import numpy as np
from gymnasium import spaces


class Duo(gymnasium.Env):
    """See the module's text; ``fault`` is what goes wrong at step 2."""

    def __init__(self, length=3, fault="", team_reward=False, continuous=False, alone=False):
        self.length, self.fault, self.team_reward = length, fault, team_reward
        box = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = spaces.Tuple((box, spaces.Box(0, 9, (1,), np.float32)))
        self.action_space = spaces.Tuple((spaces.Discrete(2), box if continuous else spaces.Discrete(3, start=5)))
        if alone:
            self.action_space = spaces.Discrete(2)
        self.t, self.actions = 0, None

    def _obs(self):
        return (self.np_random.uniform(-1, 1, 2).astype(np.float32), np.array([self.t], np.float32))

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, actions):
        self.t, self.actions = self.t + 1, list(actions)
        if self.t == 2 and self.fault == "raise":
            raise RuntimeError("the ball is gone")
        if self.t == 2 and self.fault == "exit":
            print("engine: lost its licence", flush=True)
            os._exit(3)
        rewards = 3.0 if self.team_reward else [1.0, 2.0]
        over = self.t >= self.length
        return self._obs(), rewards, [over, over], [False, False], {}


class Shifted(gymnasium.Wrapper):
    """A wrapper of the user's: rewards 10 higher."""

    def step(self, actions):
        obs, rewards, terminated, truncated, info = self.env.step(actions)
        return obs, [reward + 10 for reward in rewards], terminated, truncated, info


class Zoo:
    """Parallel PettingZoo form. "b" leaves at step 1, comes back at step 2; all end at step 4, cut or not."""

    possible_agents = ("a", "b")

    def __init__(self, cut=False, stranger=False, state=True, unlisted=False, continuous=False, late=False):
        self.late = late
        self.cut, self.stranger, self.continuous = cut, stranger, continuous
        if state:
            self.state_space = spaces.Box(0, 9, (3,), np.float32)
        if unlisted:
            self.possible_agents = ()

    def observation_space(self, agent):
        plain = spaces.Box(0, 9, (1,), np.float32)
        mask = spaces.Box(0, 1, (2,), np.int8)
        return spaces.Dict({"observation": plain, "action_mask": mask}) if agent == "a" else spaces.Discrete(3)

    def action_space(self, agent):
        if self.continuous:
            return spaces.Box(0, 1, (1,))
        return spaces.Discrete(2 if agent == "a" else 4)

    def _obs(self):
        own = {"a": {"observation": np.array([self.t], np.float32), "action_mask": np.array([1, self.t % 2], np.int8)}}
        return {name: own.get(name, self.t % 3) for name in self.agents}

    def reset(self, seed=None, options=None):
        self.seed, self.t, self.agents, self.played = seed, 0, ["a"] if self.late else ["a", "b"], []
        return self._obs(), {name: {} for name in self.agents}

    def step(self, actions):
        self.played.append(actions)
        here = list(self.agents)
        self.t += 1
        self.agents = {1: ["a"], 4: []}.get(self.t, ["a", "b"])
        if self.stranger and self.t == 2:
            self.agents = ["a", "c"]
        over = self.t == 4
        obs = self._obs()
        if over:
            self.agents = here
            obs, self.agents = self._obs(), []
        infos = {"b": {"action_mask": [0, 1, 1, 0]}} if "b" in self.agents else {}
        ends = {name: over for name in here}
        kept = dict.fromkeys(here, False)
        return obs, dict.fromkeys(here, 1.0), kept if self.cut else ends, ends if self.cut else kept, infos

    def state(self):
        return np.array([self.t, 1, 2], np.float32)

    def render(self):
        return f"t={self.t}"

    def close(self):
        self.agents = []


gymnasium.register("Duo-v0", entry_point=Duo)
