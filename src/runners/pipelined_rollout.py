"""Plays a number of episodes with a smaller number of environment processes and writes them into an ``EpisodeBatch``.

A process that ends an episode starts the next one at once, until as many are started as the batch holds; all of them
are finished and kept, so short episodes get no larger share. The processes form two groups: while the engines of one
group step, the actions of the other are chosen (double-buffered sampling, as in Sample Factory; Petrenko et al., 2020).
The groups take turns, however fast they are, so that a round depends on its seed and not on timing.

The rows of one call of the controller are at different steps of their episodes. The controller remembers each row in
its ``memory``; an episode that starts is its own small call with nothing remembered and joins the others afterwards.

Letters: E episodes, T steps, R rows (episodes of a group), N agents.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from components.episode_buffer import EpisodeBatch
from components.transforms import transformed
from epymarl_lmac.errors import TaskError
from runners.rollout import Outcome, given
from runners.worker_pool import WorkerPool, WorkerStep

if TYPE_CHECKING:
    from epymarl_lmac.seam import RememberingController


def pipelined_rollout(
    pool: WorkerPool,
    mac: RememberingController,
    batch: EpisodeBatch,
    t_env: int,
    test_mode: bool = False,
    on_step: Callable[[], None] | None = None,
) -> Outcome:
    """Plays as many episodes as ``batch`` holds.

    Stored is what ``runners.rollout.rollout`` stores. Episode e is the one that was started as number e.

    Args:
        pool: the environment processes; no more than there are episodes are used.
        mac: the controller; it acts without gradient. Where it needs all rows at one step, the processes form one
            group and start new episodes together.
        batch: empty batch of E episodes of ``pool.episode_limit + 1`` steps; filled in place.
        t_env: environment steps so far; sets the exploration.
        test_mode: passed to the controller.
        on_step: called after every step of worker 0, e.g. to draw it.

    Returns:
        One value an episode. The seconds in the environment are those of waiting for it.

    Raises:
        TaskError: an episode went on beyond the environment's own limit, or a step lacks what the batch has a field
            for.
        ValueError: the controller's actions have the wrong shape.
    """
    return _Round(pool, mac, batch, t_env, test_mode, on_step).play()


@dataclass
class _Player:
    """An episode that is being played."""

    worker: int
    episode: int
    t: int = 0  # the step that is observed
    has_ended: bool = False


@dataclass
class _Group:
    """Workers that are asked and answer together."""

    free: list[int]  # workers without an episode
    acting: list[_Player] = field(default_factory=list)  # a step was asked of their workers
    starting: list[_Player] = field(default_factory=list)  # an episode was asked of their workers
    memory: Mapping[str, Tensor] = field(default_factory=dict)  # the controller's, a row for each of ``acting``

    @property
    def is_playing(self) -> bool:
        return bool(self.acting or self.starting)


class _Rows:
    """A batch with episodes and steps in one axis: one index is an episode at a step of its own.

    It is kept in main memory as arrays: an engine's step writes a few numbers into every field, which costs a tenth of
    what it costs with tensors. A batch on another device is filled at the end.
    """

    def __init__(self, batch: EpisodeBatch) -> None:
        self.scheme, self.device = batch.scheme, batch.device
        self._tensors = batch.data.transition_data
        self._arrays = {key: tensor.cpu().flatten(0, 1).numpy() for key, tensor in self._tensors.items()}
        self._n_steps, self._preprocess = batch.max_seq_length, batch.preprocess

    def index(self, players: Sequence[_Player]) -> np.ndarray:
        """Returns where the steps lie that the players observe, (R,)."""
        return np.array([player.episode * self._n_steps + player.t for player in players])

    def has(self, key: str) -> bool:
        """Returns whether the batch has a field."""
        return key in self._arrays

    def read(self, key: str, index: np.ndarray) -> Tensor:
        """Returns the values at an index of any shape, (*index, ...), on the batch's device."""
        return torch.from_numpy(self._arrays[key][index]).to(self.device)

    def write(self, key: str, index_R: np.ndarray, values: np.ndarray) -> None:
        """Writes values shaped (R, ...) but for dimensions of size 1 at the end."""
        target = self._arrays[key]
        target[index_R] = values.reshape(len(index_R), *target.shape[1:])

    def fill(self, index_R: np.ndarray) -> None:
        """Marks steps as played."""
        self._arrays["filled"][index_R] = 1

    def write_actions(self, index_R: np.ndarray, actions_RN: np.ndarray) -> None:
        """Writes actions and what is derived from them."""
        self.write("actions", index_R, actions_RN)
        if "actions" in self._preprocess:
            derived, transforms = self._preprocess["actions"]
            self.write(derived, index_R, transformed(actions_RN[..., None], transforms))

    def finish(self) -> None:
        """Brings the batch up to date where it lies on another device."""
        for key, tensor in self._tensors.items():
            if tensor.device.type != "cpu":
                tensor.copy_(torch.from_numpy(self._arrays[key]).view_as(tensor))


class _Moments:
    """The steps that some rows observe, as a controller reads an episode batch.

    Rows that are past their first step show two steps, the one before and the one now, whatever their numbers are: a
    controller remembers anything earlier by itself. Rows that start show one.

    Args:
        rows: of the batch.
        index_R: where the steps lie that the rows observe now.
        n_steps: 1 or 2.
    """

    def __init__(self, rows: _Rows, index_R: np.ndarray, n_steps: int) -> None:
        self._rows = rows
        self._index = index_R[:, None] - np.arange(n_steps - 1, -1, -1)
        self.scheme, self.device = rows.scheme, rows.device
        self.batch_size, self.max_seq_length = len(index_R), n_steps

    def __getitem__(self, key: str) -> Tensor:
        return self._rows.read(key, self._index)


class _Round:
    """One round of episodes; arguments as for ``pipelined_rollout``."""

    def __init__(
        self,
        pool: WorkerPool,
        mac: RememberingController,
        batch: EpisodeBatch,
        t_env: int,
        test_mode: bool,
        on_step: Callable[[], None] | None,
    ) -> None:
        E = batch.batch_size
        self._pool, self._mac, self._t_env, self._test_mode, self._on_step = pool, mac, t_env, test_mode, on_step
        self._rows = _Rows(batch)
        self._in_step = mac.needs_one_step(test_mode)
        self._n_episodes, self._n_started = E, 0
        self._return_E, self._length_E = np.zeros(E), np.zeros(E, np.int64)
        self._info: dict[str, np.ndarray] = {"episode_limit": np.zeros(E)}
        self._env_s = self._inference_s = 0.0

    def play(self) -> Outcome:
        """Plays all episodes."""
        groups = self._groups()
        for group in groups:
            self._start(group)
        while any(group.is_playing for group in groups):
            for group in groups:
                if group.is_playing:
                    self._turn(group)
        self._rows.finish()
        return Outcome(self._return_E, self._length_E, self._info, self._env_s, self._inference_s)

    def _groups(self) -> list[_Group]:
        workers = list(range(min(self._pool.num_envs, self._n_episodes)))
        half = (len(workers) + 1) // 2
        parts = [workers] if self._in_step else [workers[:half], workers[half:]]
        return [_Group(part) for part in parts]

    def _start(self, group: _Group) -> None:
        """Lets free workers begin the episodes that are left."""
        for worker in group.free[: self._n_episodes - self._n_started]:
            self._pool.begin_reset(worker)
            group.starting.append(_Player(worker, self._n_started))
            self._n_started += 1
        group.free.clear()

    def _turn(self, group: _Group) -> None:
        """Takes the answers of a group's workers, chooses actions and asks for the next steps."""
        acting, players = group.acting, [*group.acting, *group.starting]
        group.acting, group.starting = [], []
        steps = self._receive(players, len(acting))
        index_R = self._rows.index(players)
        self._store(players, steps, index_R)
        if self._on_step is not None and any(player.worker == 0 for player in acting):
            self._on_step()
        kept = [row for row, player in enumerate(players) if not player.has_ended]
        group.free += [player.worker for player in acting if player.has_ended]
        if not self._in_step or not kept:
            self._start(group)  # before actions are chosen: a new episode may take an engine long

        actions_RN, memory = self._choose(group.memory, index_R, len(acting))
        for row in kept:
            self._pool.begin_step(players[row].worker, actions_RN[row].numpy())
        self._rows.write_actions(index_R, actions_RN.numpy())
        group.acting = [players[row] for row in kept]
        group.memory = memory if len(kept) == len(players) else _rows_of(memory, kept)

    def _receive(self, players: Sequence[_Player], n_acting: int) -> list[WorkerStep]:
        """Waits for the workers of all players; returns the steps of the first ones, which are past their start."""
        began = time.perf_counter()
        for player in players[n_acting:]:
            self._pool.finish_reset(player.worker)
        steps = [self._pool.finish_step(player.worker) for player in players[:n_acting]]
        self._env_s += time.perf_counter() - began
        for player, step in zip(players, steps, strict=False):
            player.t += 1
            self._return_E[player.episode] += step.reward
            player.has_ended = step.terminated or step.truncated
            if player.has_ended:
                self._note_end(player, step)
            elif player.t == self._pool.episode_limit:
                raise TaskError(
                    f"worker {player.worker} of env {self._pool.name} did not end an episode within its episode_limit="
                    f"{self._pool.episode_limit} steps; the environment must end every episode by then."
                )
        return steps

    def _note_end(self, player: _Player, step: WorkerStep) -> None:
        self._length_E[player.episode] = player.t
        self._info["episode_limit"][player.episode] = step.truncated
        for key, value in step.info.items():
            self._info.setdefault(key, np.zeros(self._n_episodes))[player.episode] = value

    def _store(self, players: Sequence[_Player], steps: Sequence[WorkerStep], index_R: np.ndarray) -> None:
        """Writes what is observed now, and what the steps that led here brought."""
        pool, rows = self._pool, self._rows
        workers = [player.worker for player in players]
        rows.write("state", index_R, pool.state_BS[workers])
        rows.write("obs", index_R, pool.obs_BNO[workers])
        rows.write("avail_actions", index_R, pool.avail_BNA[workers])
        rows.fill(index_R)
        if rows.has("alive"):
            for step in steps:
                given(step.alive_N, "alive_BN", pool)
            rows.write("alive", index_R, given(pool.alive_BN, "alive_BN", pool)[workers])
        if not steps:
            return
        before = index_R[: len(steps)] - 1
        rows.write("reward", before, np.array([step.reward for step in steps], np.float32))
        rows.write("terminated", before, np.array([step.terminated and not step.truncated for step in steps]))
        if rows.has("agent_reward"):
            rewards = [given(step.reward_N, "reward_BN", pool) for step in steps]
            rows.write("agent_reward", before, np.stack(rewards))

    @torch.no_grad()
    def _choose(
        self, memory: Mapping[str, Tensor], index_R: np.ndarray, n_acting: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Returns actions (R, N), on the CPU, and what the controller remembers of the rows.

        Args:
            memory: of the first ``n_acting`` rows; the others start.
            index_R: where the steps lie that the rows observe.
            n_acting: rows past their first step.
        """
        began = time.perf_counter()
        mac, actions, memories = self._mac, [], []
        if n_acting:
            mac.memory = memory
            actions.append(self._select(index_R[:n_acting], 1))
            memories.append(mac.memory)
        if n_acting < len(index_R):
            mac.init_hidden(batch_size=len(index_R) - n_acting)
            actions.append(self._select(index_R[n_acting:], 0))
            memories.append(mac.memory)
        actions_RN = torch.cat(actions).cpu()  # waits for the device
        self._inference_s += time.perf_counter() - began
        return actions_RN, _join(memories)

    def _select(self, index_R: np.ndarray, t: int) -> Tensor:
        """Returns the controller's actions for rows at their first step (t = 0) or past it (t = 1)."""
        seen = _Moments(self._rows, index_R, t + 1)
        actions_RN = self._mac.select_actions(
            seen, t_ep=t, t_env=self._t_env, bs=slice(None), test_mode=self._test_mode
        )
        if actions_RN.shape != (len(index_R), self._pool.n_agents):
            raise ValueError(
                f"the controller chose actions of shape {tuple(actions_RN.shape)}; expected "
                f"{(len(index_R), self._pool.n_agents)} (rows, agents)."
            )
        return actions_RN


def _rows_of(memory: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Returns some rows of what a controller remembers."""
    return {name: value[rows] for name, value in memory.items()}


def _join(memories: Sequence[Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Returns the rows of what a controller remembers of several calls, one after the other.

    Raises:
        ValueError: it remembers other things of a first step than of a later one.
    """
    if len(memories) == 1:
        return memories[0]
    if len({frozenset(memory) for memory in memories}) > 1:
        names = " and ".join(str(sorted(memory)) for memory in memories)
        raise ValueError(f"the controller remembers {names} of episodes that are joined; the names must be the same.")
    return {name: torch.cat([memory[name] for memory in memories]) for name in memories[0]}
