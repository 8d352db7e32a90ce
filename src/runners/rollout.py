"""Plays one episode in every copy of a batched environment and writes it into an ``EpisodeBatch``.

This is the loop behind all environments that step in one call, where a step of all copies costs little more than a step
of one; processes that each step one environment have ``pipelined_rollout.py``. Copies that have ended stay idle until
all have; their rows are written along with the others, which is cheaper than choosing rows every step, and cleared once
at the end.

Letters: B copies, T steps, N agents, A actions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from components.episode_buffer import EpisodeBatch
from components.transforms import transformed
from envs.batched import BatchedEnv
from epymarl_lmac.errors import TaskError

if TYPE_CHECKING:
    from epymarl_lmac.seam import ActingController


class Outcome(NamedTuple):
    """What happened in the episodes of a rollout, one value a copy."""

    return_B: np.ndarray  # float64 (B,), sum of rewards
    length_B: np.ndarray  # int64 (B,), steps
    info: dict[str, np.ndarray]  # float64 (B,) each, as the environment reported it in the last step
    env_s: float  # seconds in the environment
    inference_s: float  # seconds in the controller


class _StepViews:
    """The fields of a batch cut into steps beforehand: writing one costs a copy and little else.

    In main memory they are cut as arrays: one environment's step writes a few numbers into every field, which takes a
    tenth of the time that it takes with tensors.
    """

    def __init__(self, batch: EpisodeBatch) -> None:
        fields = batch.data.transition_data
        self._steps = {
            key: tensor.numpy().swapaxes(0, 1) if tensor.device.type == "cpu" else tensor.unbind(1)
            for key, tensor in fields.items()
        }
        self._preprocess = batch.preprocess

    def write_array(self, key: str, t: int, values: np.ndarray) -> None:
        """Writes values of step t, shaped (B, ...) but for dimensions of size 1 at the end."""
        target = self._steps[key][t]
        if isinstance(target, Tensor):
            target.copy_(torch.from_numpy(values).view(target.shape))
        else:
            target[...] = values.reshape(target.shape)

    def has(self, key: str) -> bool:
        """Returns whether the batch has a field."""
        return key in self._steps

    def write_actions(self, t: int, actions_BN: np.ndarray) -> None:
        """Writes the actions of step t and what is derived from them."""
        self.write_array("actions", t, actions_BN)
        if "actions" in self._preprocess:
            derived, transforms = self._preprocess["actions"]
            self.write_array(derived, t, transformed(actions_BN[..., None], transforms))

    def mark_filled(self, t: int) -> None:
        """Marks step t as played in all copies."""
        self._steps["filled"][t][...] = 1


@torch.no_grad()
def rollout(
    env: BatchedEnv,
    mac: ActingController,
    batch: EpisodeBatch,
    t_env: int,
    test_mode: bool = False,
    on_step: Callable[[], None] | None = None,
) -> Outcome:
    """Plays one episode in every copy.

    Stored are, at every step, the last included: state, obs, avail_actions and actions (as EPyMARL does; the
    last actions are not played); and where a step was taken: reward and ``terminated``, which is 1 only where
    the task ended and not where the time limit cut it. Where the batch has the fields: ``alive``, float32 (B, T, N, 1),
    at every step, 1 for agents that are alive when they observe it; ``agent_reward``, float32 (B, T, N, 1), beside
    ``reward``.

    Args:
        env: B copies.
        mac: the controller; it acts without gradient.
        batch: empty batch of B episodes of ``env.episode_limit + 1`` steps; filled in place.
        t_env: environment steps so far; sets the exploration.
        test_mode: passed to the controller.
        on_step: called after every step, e.g. to draw it.

    Raises:
        TaskError: an episode went on beyond the environment's own limit, or a step lacks what the batch has a field
            for.
        ValueError: the controller's actions have the wrong shape.
    """
    B, clock = env.num_envs, time.perf_counter
    views = _StepViews(batch)
    return_B, length_B = np.zeros(B), np.zeros(B, np.int64)
    info: dict[str, np.ndarray] = {"episode_limit": np.zeros(B)}  # 1 where the time limit cut the episode
    n_running, t, inference_s = B, 0, 0.0
    has_alive, has_agent_reward = views.has("alive"), views.has("agent_reward")

    began = clock()
    env.reset()
    env_s = clock() - began
    mac.init_hidden(batch_size=B)
    if has_alive:
        alive_BN = np.ones((B, env.n_agents)) if env.alive_BN is None else env.alive_BN
        views.write_array("alive", 0, alive_BN.astype(np.float32))
    while True:
        views.write_array("state", t, env.state_BS)
        views.write_array("obs", t, env.obs_BNO)
        views.write_array("avail_actions", t, env.avail_BNA)
        views.mark_filled(t)

        began = clock()
        chosen = mac.select_actions(batch, t_ep=t, t_env=t_env, bs=slice(None), test_mode=test_mode)
        actions_BN = chosen.cpu().numpy()  # waits for the device
        inference_s += clock() - began
        if t == 0 and actions_BN.shape != (B, env.n_agents):
            raise ValueError(
                f"the controller chose actions of shape {actions_BN.shape}; expected "
                f"{(B, env.n_agents)} (copies, agents)."
            )
        views.write_actions(t, actions_BN)
        if n_running == 0:
            break
        if t == env.episode_limit:
            raise TaskError(
                f"{n_running} of {B} copies of {type(env).__name__} did not end within its episode_limit="
                f"{env.episode_limit} steps; the environment must end every episode by then."
            )

        began = clock()
        result = env.step(actions_BN)
        env_s += clock() - began
        views.write_array("reward", t, result.reward_B)
        views.write_array("terminated", t, result.terminated_B & ~result.truncated_B)
        if has_agent_reward:
            views.write_array("agent_reward", t, given(result.reward_BN, "reward_BN", env))
        return_B += result.reward_B
        ended_B = result.terminated_B | result.truncated_B
        t += 1
        if has_alive:
            views.write_array("alive", t, given(result.alive_BN, "alive_BN", env))
        if ended_B.any():
            n_running -= int(ended_B.sum())
            length_B[ended_B] = t
            info["episode_limit"][ended_B] = result.truncated_B[ended_B]
            for key, value_B in result.info.items():
                info.setdefault(key, np.zeros(B))[ended_B] = value_B[ended_B]
        if on_step is not None:
            on_step()

    _clear_idle_steps(batch, length_B, t)
    return Outcome(return_B, length_B, info, env_s, inference_s)


def given(array: np.ndarray | None, name: str, env: BatchedEnv) -> np.ndarray:
    """Returns an optional part of a step's result.

    Raises:
        TaskError: the environment did not give it.
    """
    if array is None:
        raise TaskError(
            f"{type(env).__name__}.step() returned no {name}, which the episode batch has a field for; return it at "
            "every step, or say False in has_alive and reward_per_agent."
        )
    return array


def _clear_idle_steps(batch: EpisodeBatch, length_B: np.ndarray, last_t: int) -> None:
    """Sets everything after the last step of each episode back to zero."""
    rows, steps = np.nonzero(np.arange(last_t + 1) > length_B[:, None])
    if len(rows) == 0:
        return
    index = torch.from_numpy(rows).to(batch.device), torch.from_numpy(steps).to(batch.device)
    for tensor in batch.data.transition_data.values():
        tensor[index] = 0
