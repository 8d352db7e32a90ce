"""Plays whole episodes in an environment's process, with a copy of the controller there.

No step waits for another process then: ``runners/worker_rollout.py`` hands out the episodes and gathers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from components.episode_buffer import EpisodeBatch, Scheme
from components.transforms import Preprocess
from runners.adapters import OneEnv
from runners.rollout import rollout

if TYPE_CHECKING:
    from epymarl_lmac.seam import Groups, PortableController, RunnerArgs


@dataclass(frozen=True)
class ControllerSource:
    """What a process needs to make its own controller."""

    kind: type[PortableController]
    scheme: Scheme
    groups: Groups
    preprocess: Preprocess
    args: RunnerArgs


@dataclass(frozen=True)
class EpisodeRequest:
    """One episode to play."""

    seed: int  # of the environment's episode and of everything that acting draws
    t_env: int
    test_mode: bool


@dataclass(frozen=True)
class PlayedEpisode:
    """What came of it."""

    fields: dict[str, np.ndarray]  # what the batch stores of steps 0 to length, (length + 1, ...)
    reward_sum: float
    length: int
    info: dict[str, float]  # as ``Outcome.info``
    tally: Any  # what the controller counted (``PortableController.take_tally``)
    env_s: float
    inference_s: float


class EpisodePlayer:
    """An environment and a controller in one process.

    Args:
        env: the environment; its episodes must follow from their seed.
        source: what the controller is made of.
    """

    def __init__(self, env: OneEnv, source: ControllerSource) -> None:
        torch.set_num_threads(1)  # the processes share the cores
        self._env, self._source = env, source
        self._mac = source.kind(self._new_batch().scheme, source.groups, source.args)

    def _new_batch(self) -> EpisodeBatch:
        source = self._source
        n_steps = self._env.episode_limit + 1
        return EpisodeBatch(source.scheme, source.groups, 1, n_steps, preprocess=source.preprocess)

    def load(self, state: Any) -> None:
        """Takes over what ``PortableController.acting_state`` returned."""
        self._mac.load_acting_state(state)

    @torch.inference_mode()  # a step's many small operations cost a tenth less than without gradient alone
    def play(self, request: EpisodeRequest) -> PlayedEpisode:
        """Plays one episode."""
        batch = self._new_batch()
        self._env.seed_next(request.seed)
        self._mac.seed_acting(request.seed)
        outcome = rollout(self._env, self._mac, batch, request.t_env, request.test_mode)
        length = int(outcome.length_B[0])
        return PlayedEpisode(
            fields={key: value[0, : length + 1].numpy() for key, value in batch.data.transition_data.items()},
            reward_sum=float(outcome.return_B[0]),
            length=length,
            info={key: float(value_B[0]) for key, value_B in outcome.info.items()},
            tally=self._mac.take_tally(),
            env_s=outcome.env_s,
            inference_s=outcome.inference_s,
        )
