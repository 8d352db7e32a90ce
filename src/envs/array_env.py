"""What our grid environments share: everything that later steps depend on lies in arrays with one row a copy.

An environment lists these arrays once; saving, loading, checking and resetting follow from the list.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
from numba import njit

from envs.batched import BatchedEnv, StepResult
from envs.random_streams import streams
from envs.saved_arrays import restore, saved
from epymarl_lmac.errors import TaskError


@njit(cache=True, nogil=True)
def _finish_copies(
    live_B: np.ndarray,
    clock_B: np.ndarray,
    limit_B: np.ndarray,
    reward_B: np.ndarray,
    over_B: np.ndarray,
    limit_terminates: bool,
    paid_B: np.ndarray,
    end_2B: np.ndarray,
) -> None:
    """Advances the clocks of live copies; ``end_2B`` is out: terminations and truncations."""
    for b in range(live_B.size):
        paid_B[b] = 0.0
        end_2B[0, b] = end_2B[1, b] = False
        if not live_B[b]:
            continue
        paid_B[b] = reward_B[b]
        clock_B[b] += 1
        is_late = clock_B[b] >= limit_B[b]
        end_2B[0, b] = over_B[b] or (is_late and limit_terminates)
        end_2B[1, b] = is_late and not end_2B[0, b]
        live_B[b] = not (over_B[b] or is_late)


class ArrayEnv(BatchedEnv):
    """B copies of a game whose state is arrays.

    Attributes:
        alive_BN: uint8 (B, N), 1 for every agent that takes part in the current step. All ones where agents neither
            come nor go.

    Args:
        name: registry key, for messages.
        num_envs: number B of copies.
        seed: root of the copies' random streams.
        n_agents: number N of agents.

    Raises:
        TaskError: fewer than one copy.
    """

    alive_BN: np.ndarray

    def __init__(self, name: str, num_envs: int, seed: int, n_agents: int) -> None:
        if num_envs < 1:
            raise TaskError(f"{name}: num_envs={num_envs} copies is not possible; it must be at least 1.")
        self.name = name
        self.num_envs = num_envs
        self.n_agents = n_agents
        self.alive_BN = np.ones((num_envs, n_agents), np.uint8)
        self._rng_B4 = streams(seed, num_envs)
        self._clock_B = np.zeros(num_envs, np.int32)  # steps of the current episode
        self._live_B = np.zeros(num_envs, np.bool_)  # whether the current episode goes on
        self._same_limit_B: np.ndarray | None = None

    # -- what an environment defines -----------------------------------------------------------------------

    @abc.abstractmethod
    def _game_arrays(self) -> dict[str, np.ndarray]:
        """Returns the game's own arrays by name; later steps depend on them, the clock and the streams only."""

    @abc.abstractmethod
    def _start(self, which_B: np.ndarray) -> None:
        """Draws new episodes in the copies that ``which_B`` (bool (B,)) names; the clock is set already."""

    @abc.abstractmethod
    def _redraw(self) -> None:
        """Writes observations, states, available actions and ``alive_BN`` of all copies from the arrays."""

    @abc.abstractmethod
    def _as_text(self, copy: int) -> str:
        """Returns one copy as text."""

    # -- what follows from it ------------------------------------------------------------------------------

    def reset(self, which_B: np.ndarray | None = None) -> None:
        """Starts a new episode in every copy, or only in those that ``which_B`` (bool (B,)) names."""
        if which_B is None:
            which_B = np.ones(self._live_B.shape, np.bool_)
        elif which_B.shape != self._live_B.shape or which_B.dtype != np.bool_:
            raise ValueError(
                f"{self.name}: reset got {which_B.dtype} {which_B.shape}; expected one bool for each of "
                f"{len(self._live_B)} copies."
            )
        self._clock_B[which_B] = 0
        self._live_B[which_B] = True
        self._start(which_B)

    def _checked_actions(self, actions_BN: np.ndarray) -> np.ndarray:
        """Returns the actions as int64 (B, N); raises ValueError for another shape or an unknown action."""
        actions_BN = np.ascontiguousarray(actions_BN, np.int64)
        if actions_BN.shape != self.alive_BN.shape:
            raise ValueError(
                f"{self.name}: actions have shape {actions_BN.shape}; expected {self.alive_BN.shape} (copies, agents)."
            )
        if actions_BN.min() < 0 or actions_BN.max() >= self.n_actions:
            raise ValueError(
                f"{self.name}: actions range over {actions_BN.min()}..{actions_BN.max()}; "
                f"expected 0..{self.n_actions - 1}."
            )
        return actions_BN

    def _finish(
        self, reward_B: np.ndarray, over_B: np.ndarray, limit_terminates: bool, info: dict[str, np.ndarray]
    ) -> StepResult:
        """Advances the clocks of running copies and says which episodes end.

        Args:
            reward_B: float64 (B,), the team's reward; not read in copies that have ended.
            over_B: bool (B,), whether the game itself is over.
            limit_terminates: whether the time limit counts as a termination or as a truncation.
            info: float32 (B,) each.
        """
        paid_B = np.empty(reward_B.shape, np.float32)
        end_2B = np.empty((2, *reward_B.shape), np.bool_)
        _finish_copies(self._live_B, self._clock_B, self._limit_B(), reward_B, over_B, limit_terminates, paid_B, end_2B)
        alive_BN = self.alive_BN.astype(np.bool_) if self.has_alive else None
        return StepResult(paid_B, end_2B[0], end_2B[1], info, alive_BN)

    def _limit_B(self) -> np.ndarray:
        """Returns the time limit of every copy's episode, steps, int32 (B,)."""
        if self._same_limit_B is None:
            self._same_limit_B = np.full(self._live_B.shape, self.episode_limit, np.int32)
        return self._same_limit_B

    def _dynamic_arrays(self) -> dict[str, np.ndarray]:
        own = {"rng_B4": self._rng_B4, "clock_B": self._clock_B, "live_B": self._live_B}
        return {**own, **self._game_arrays()}

    def state_dict(self) -> dict[str, np.ndarray]:
        return saved(self._dynamic_arrays())

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restores what ``state_dict`` returned.

        Raises:
            ValueError: a name, shape or type differs; nothing has changed then.
        """
        restore(self.name, self._dynamic_arrays(), state)
        self._redraw()

    def render(self, copy: int = 0, mode: str = "text") -> Any:
        """Returns one copy as text.

        Raises:
            ValueError: an unknown mode or copy.
        """
        if not 0 <= copy < len(self._live_B):
            raise ValueError(f"{self.name}: copy {copy} does not exist; there are copies 0..{len(self._live_B) - 1}.")
        if mode != "text":
            raise ValueError(f"{self.name}: render mode {mode!r} is not known; use 'text'.")
        return f"step {self._clock_B[copy]}/{self.episode_limit}\n{self._as_text(copy)}"
