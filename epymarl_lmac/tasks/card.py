"""Task cards: every number of a task's state, observation and extended observation, in words.

A card is generated from the environment's settings, so it cannot drift from them, and a test compares
it with the arrays. Designers read cards in their prompts; protocol bundles carry a card's hash, so that
a protocol written for other columns is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Dimension:
    """One column of a state or observation vector."""

    index: int  # position in the vector, from 0
    name: str  # short identifier, unique in its vector, e.g. "food[3,4]"
    meaning: str  # in words, for people and prompts
    low: float  # smallest value it can take
    high: float  # largest value it can take
    unit: str  # "level", "one-hot", "0/1", "cells", ...
    observable: bool = True  # state columns: whether some agent may perceive it in some situation


@dataclass(frozen=True)
class TaskCard:
    """What one task is, in words and numbers.

    The extended observation x of an agent is [obs, last action one-hot, agent id one-hot]
    (the last two only where the configuration includes them).
    """

    env: str  # registry key of the environment, e.g. "lbf"
    task: str  # identifier of the settings, e.g. "8x8-2p-2f-s1-coop"
    goal: str  # what the team must do and how reward is given, in words
    n_agents: int
    episode_limit: int  # longest episode in environment steps
    actions: tuple[str, ...]  # name of every action, in order
    state: tuple[Dimension, ...]
    obs: tuple[Dimension, ...]
    settings: dict[str, object]  # the env_args that generated the card

    def x_dims(self, obs_last_action: bool = True, obs_agent_id: bool = True) -> tuple[Dimension, ...]:
        """Returns the columns of the extended observation x, in order."""
        dims = list(self.obs)
        if obs_last_action:
            for name in self.actions:
                meaning = f"1 if this agent's previous action was '{name}' (all zero at the first step)"
                dims.append(Dimension(len(dims), f"last_action[{name}]", meaning, 0, 1, "one-hot"))
        if obs_agent_id:
            for i in range(self.n_agents):
                dims.append(Dimension(len(dims), f"agent_id[{i}]", f"1 if this is agent {i}", 0, 1, "one-hot"))
        return tuple(dims)

    def hash(self) -> str:
        """Returns a SHA-256 over what a protocol depends on: names and order of all columns, and sizes."""
        schema = {
            "env": self.env,
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
            "actions": self.actions,
            "state": [d.name for d in self.state],
            "obs": [d.name for d in self.obs],
        }
        return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, object]:
        """Returns plain lists and dicts, for YAML and JSON."""
        return json.loads(json.dumps(asdict(self)))
