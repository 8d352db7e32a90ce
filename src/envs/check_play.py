"""Plays an environment with chosen or random actions and keeps a copy of everything it showed; for ``check_env.py``.

Letters: B copies, N agents, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.batched import BatchedEnv, StepResult
from epymarl_lmac.tasks import Score, TaskCard


class Views(NamedTuple):
    """Copies of what an environment shows at one step."""

    obs_BNO: np.ndarray
    state_BS: np.ndarray
    avail_BNA: np.ndarray


class Moment(NamedTuple):
    """One step of a play, or a reset (``result`` is None)."""

    episode: int
    t: int  # steps since the reset, after this one
    views: Views
    result: StepResult | None


class Draws:
    """Random numbers for the choice of actions, an own stream for every copy and episode.

    An episode's stream does not depend on how long the episodes before it were: they may end earlier or later with
    what other copies do.

    Args:
        salts: one number a copy; equal numbers give equal streams.
        n_agents: N.
    """

    def __init__(self, salts: Sequence[int], n_agents: int) -> None:
        self._salts = list(salts)
        self._n_agents = n_agents
        self._episode = -1
        self.start()

    def start(self) -> None:
        """Takes the streams of the next episode."""
        self._episode += 1
        self._rngs = [np.random.default_rng([77, salt, self._episode]) for salt in self._salts]

    def actions_BN(self, avail_BNA: np.ndarray) -> np.ndarray:
        """Returns an available action for every agent, int64; 0 where none is available."""
        actions_BN = np.zeros(avail_BNA.shape[:2], np.int64)
        for b, rng in enumerate(self._rngs):
            for n, draw in enumerate(rng.random(self._n_agents)):
                available = np.flatnonzero(avail_BNA[b, n])
                if len(available):
                    actions_BN[b, n] = available[int(draw * len(available))]
        return actions_BN


@dataclass(frozen=True)
class Subject:
    """What is checked, and how long."""

    make: Callable[[int, int], BatchedEnv]  # (num_envs, seed) -> environment
    num_envs: int  # B
    n_episodes: int  # episodes a copy, at least 2
    seed: int
    card: TaskCard | None = None
    score: Score | None = None  # None: not checked
    saves_state: bool = True
    is_batched: bool = True  # copies that have ended are stepped along; not so where each copy is stepped alone
    reward_is_sum: bool = True  # the team's reward is the sum of the agents' own, where there are any

    def env(self, seed: int | None = None) -> BatchedEnv:
        """Returns a new environment."""
        return self.make(self.num_envs, self.seed if seed is None else seed)

    def draws(self, env: BatchedEnv, salt: int = 0) -> Draws:
        """Returns random actions; equal salts give equal ones."""
        return Draws([1000 * salt + b for b in range(self.num_envs)], env.n_agents)


def snapshot(env: BatchedEnv) -> Views:
    """Returns copies of the current arrays."""
    return Views(*(np.array(array) for array in (env.obs_BNO, env.state_BS, env.avail_BNA)))


def copied(result: StepResult) -> StepResult:
    """Returns a step's result with arrays of its own."""
    alive_BN, reward_BN = (None if array is None else array.copy() for array in (result.alive_BN, result.reward_BN))
    return StepResult(
        result.reward_B.copy(),
        result.terminated_B.copy(),
        result.truncated_B.copy(),
        {key: value.copy() for key, value in result.info.items()},
        alive_BN,
        reward_BN,
    )


def play(env: BatchedEnv, draws: Draws, n_episodes: int, max_steps: int | None = None) -> list[Moment]:
    """Plays episodes from a reset on until all copies have ended, or the limit has passed.

    Args:
        env: the environment.
        draws: chooses the actions.
        n_episodes: episodes in every copy.
        max_steps: steps after which an episode is left; None is ``episode_limit``.
    """
    moments = []
    for episode in range(n_episodes):
        env.reset()
        draws.start()
        moments.append(Moment(episode, 0, snapshot(env), None))
        moments += go_on(env, draws, env.episode_limit if max_steps is None else max_steps, episode)
    return moments


def go_on(env: BatchedEnv, draws: Draws, max_steps: int, episode: int = 0, from_step: int = 0) -> list[Moment]:
    """Goes on with an episode without a reset, until all copies have ended in these steps or ``max_steps`` passed."""
    moments = []
    has_ended_B = np.zeros(env.num_envs, np.bool_)
    for t in range(from_step, from_step + max_steps):
        result = copied(env.step(draws.actions_BN(env.avail_BNA)))
        moments.append(Moment(episode, t + 1, snapshot(env), result))
        has_ended_B |= result.terminated_B | result.truncated_B
        if has_ended_B.all():
            break
    return moments


def _named_arrays(moment: Moment) -> dict[str, np.ndarray | None]:
    """Returns everything that a step showed and reported, under names for people."""
    arrays: dict[str, np.ndarray | None] = dict(zip(("obs", "state", "available actions"), moment.views, strict=True))
    result = moment.result
    if result is not None:
        arrays |= {"reward": result.reward_B, "terminated": result.terminated_B, "truncated": result.truncated_B}
        arrays |= {"alive": result.alive_BN, "the agents' rewards": result.reward_BN}
        arrays |= {f"info[{key!r}]": value for key, value in result.info.items()}
    return arrays


def first_difference(one: Sequence[Moment], other: Sequence[Moment], copies: slice = slice(None)) -> str | None:
    """Returns what differs first between two plays, e.g. ``"obs at step 3 of episode 1"``; None if nothing does.

    Args:
        one: a play.
        other: another.
        copies: which copies to compare.
    """
    for a, b in zip(one, other, strict=False):
        ours, theirs = _named_arrays(a), _named_arrays(b)
        for name in {**ours, **theirs}:
            x, y = ours.get(name), theirs.get(name)
            is_same = x is y if x is None or y is None else np.array_equal(x[copies], y[copies])
            if not is_same:
                return f"{name} at step {a.t} of episode {a.episode}"
    if len(one) != len(other):
        return f"the number of steps, {len(one)} and {len(other)}"
    return None


def lengths(moments: Sequence[Moment]) -> np.ndarray:
    """Returns the steps of every copy's episodes, int64 (episodes, B); 0 where an episode did not end."""
    n_episodes = 1 + max(moment.episode for moment in moments)
    length_EB = np.zeros((n_episodes, len(moments[0].views.obs_BNO)), np.int64)
    for moment in moments:
        if moment.result is not None:
            ended_B = moment.result.terminated_B | moment.result.truncated_B
            row = length_EB[moment.episode]
            row[ended_B & (row == 0)] = moment.t
    return length_EB
