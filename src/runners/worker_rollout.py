"""Plays a number of episodes with environment processes that choose their actions themselves.

Each process has a copy of the controller and plays whole episodes (``runners/episode_player.py``); whoever has ended
one gets the next that is left. Episode e of a round follows from its own seed, whoever plays it and when, so a round
depends on the run's seed and not on timing. All episodes are finished and kept, so short ones get no larger share.

Letters: E episodes, T steps.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from components.episode_buffer import EpisodeBatch
from epymarl_lmac.seeding import derive_seed
from runners.episode_player import EpisodeRequest, PlayedEpisode
from runners.rollout import Outcome
from runners.worker_pool import WorkerPool

if TYPE_CHECKING:
    from epymarl_lmac.seam import PortableController


def worker_rollout(
    pool: WorkerPool, mac: PortableController, batch: EpisodeBatch, t_env: int, test_mode: bool, seed: int
) -> Outcome:
    """Plays as many episodes as ``batch`` holds.

    Stored is what ``runners.rollout.rollout`` stores.

    Args:
        pool: the environment processes, which have a controller each (``WorkerPool.make_controllers``); no more than
            there are episodes are used.
        mac: this process's controller, which the others follow.
        batch: empty batch of E episodes of ``pool.episode_limit + 1`` steps; filled in place.
        t_env: environment steps so far; sets the exploration.
        test_mode: passed to the controllers.
        seed: of the round.

    Returns:
        One value an episode. The seconds that this process waited are shared out as the others used theirs.
    """
    E, began = batch.batch_size, time.perf_counter()
    pool.load_acting_state(mac.acting_state())
    requests = [EpisodeRequest(derive_seed(seed, f"episode {e}"), t_env, test_mode) for e in range(E)]
    playing: dict[int, int] = {}  # worker -> its episode
    played: list[PlayedEpisode | None] = [None] * E
    for e in range(min(pool.num_envs, E)):
        pool.begin_episode(e, requests[e])
        playing[e] = e
    n_started = len(playing)
    while playing:
        for worker in pool.wait_for_any(playing):
            e = playing.pop(worker)
            played[e] = pool.finish_episode(worker)
            if n_started < E:
                pool.begin_episode(worker, requests[n_started])
                playing[worker] = n_started
                n_started += 1
    episodes = [episode for episode in played if episode is not None]
    for e, episode in enumerate(episodes):
        _store(batch, e, episode)
        mac.add_tally(episode.tally)
    return _outcome(episodes, time.perf_counter() - began)


def _store(batch: EpisodeBatch, e: int, episode: PlayedEpisode) -> None:
    for key, target in batch.data.transition_data.items():
        target[e, : episode.length + 1] = torch.from_numpy(episode.fields[key]).to(target.device)


def _outcome(episodes: list[PlayedEpisode], seconds: float) -> Outcome:
    info: dict[str, np.ndarray] = {}
    for e, episode in enumerate(episodes):
        for key, value in episode.info.items():
            info.setdefault(key, np.zeros(len(episodes)))[e] = value
    env_s, inference_s = sum(p.env_s for p in episodes), sum(p.inference_s for p in episodes)
    share = env_s / max(env_s + inference_s, 1e-9)
    return Outcome(
        return_B=np.array([p.reward_sum for p in episodes]),
        length_B=np.array([p.length for p in episodes], np.int64),
        info=info,
        env_s=seconds * share,
        inference_s=seconds * (1 - share),
    )
