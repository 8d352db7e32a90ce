"""The networks of a recorded run, ready to act: without its environment, its learner and its replay buffer.

For environments in which a trained team plays against the one that learns (``envs/battle/rival.py``). Works with every
method, as the controller acts through its own ``select_actions`` on an episode batch that grows step by step.

Letters: B battles, N agents, O observation, S state, A actions, T steps, b battles of one group.
"""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from components.action_selectors import REGISTRY as action_REGISTRY
from components.episode_buffer import EpisodeBatch
from components.transforms import OneHot
from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac import checkpoint as ckpt
from epymarl_lmac.errors import CheckpointError
from epymarl_lmac.protocol.engine.locate import kept_bundle
from epymarl_lmac.seeding import derive_seed
from epymarl_lmac.settings import load_settings, recorded_run
from epymarl_lmac.tasks import EnvInfo

if TYPE_CHECKING:
    from controllers.sequence_controller import SequenceMac

_SEEN = ("obs", "state", "avail_actions", "alive", "actions")  # what a group needs to play its steps again


class _View(NamedTuple):
    """What a group is told at a step."""

    obs_bNO: np.ndarray
    state_bS: np.ndarray
    avail_bNA: np.ndarray
    alive_bN: np.ndarray


class Team:
    """The networks of a run, acting as in its tests for B battles that may start at different times.

    Battles that start in one call are a group: they share a batch and the controller's memory of it, which ends with
    them. Random draws, where a method makes any, come from the group's own seed.

    Args:
        folder: of the run.
        step: training steps of the networks, one of those it saved.
        record: the settings in its record.
        info: sizes of the environment as the team sees it.
        seed: root of the groups' seeds.

    Raises:
        CheckpointError: the networks cannot be read, or are of other sizes.
    """

    def __init__(self, folder: Path, step: int, record: Mapping[str, Any], info: EnvInfo, seed: int) -> None:
        if multiprocessing.parent_process() is not None:
            torch.set_num_threads(1)  # environment processes share the cores
        _, networks = ckpt.load_networks(folder, step)
        alg, env, values = recorded_run(record)
        updates = {**values, "checkpoint_path": "", "evaluate": False, "use_cuda": False, **kept_bundle(folder)}
        self._args = load_settings(alg, env, updates).with_values(device="cpu", **info.as_epymarl())
        self._info, self._seed, self._t_env = info, seed, step
        n_agents = {"group": "agents"}
        self._scheme: dict[str, dict[str, Any]] = {
            "state": {"vshape": info.state_dim},
            "obs": {"vshape": info.obs_dim, **n_agents},
            "actions": {"vshape": (1,), "dtype": torch.long, **n_agents},
            "avail_actions": {"vshape": (info.n_actions,), "dtype": torch.int, **n_agents},
            "terminated": {"vshape": (1,), "dtype": torch.uint8},
            "alive": {"vshape": (1,), **n_agents},
        }
        with torch.random.fork_rng(devices=[]):
            self._mac = mac_REGISTRY[self._args.mac](self._batch(1).scheme, self._groups_of_scheme, self._args)
        try:
            self._mac.load_state_dict(networks)
        except (KeyError, RuntimeError) as err:
            raise CheckpointError(f"The networks of {folder} at step {step} do not fit its settings: {err}") from err
        self._mac.train(False)
        self._playing: list[_Group] = []
        self._n_begun = 0

    @property
    def _groups_of_scheme(self) -> dict[str, int]:
        return {"agents": self._info.n_agents}

    def _batch(self, n_episodes: int) -> EpisodeBatch:
        onehot = {"actions": ("actions_onehot", [OneHot(out_dim=self._info.n_actions)])}
        length = self._info.episode_limit + 1
        return EpisodeBatch(self._scheme, self._groups_of_scheme, n_episodes, length, preprocess=onehot)

    def begin(self, which_B: np.ndarray) -> None:
        """Starts an episode in the battles of ``which_B`` (bool (B,)); what was remembered of them is forgotten."""
        for group in self._playing:
            group.leave(which_B)
        self._playing = [group for group in self._playing if group.is_playing]
        self._add(np.flatnonzero(which_B), self._n_begun)
        self._n_begun += 1

    def _add(self, rows_b: np.ndarray, number: int) -> _Group:
        seed = derive_seed(self._seed, f"group {number}")
        mac = copy.copy(self._mac)  # shares the networks; memory and exploration are the group's own
        mac.action_selector = action_REGISTRY[self._args.action_selector](self._args.with_values(seed=seed))
        self._playing.append(_Group(mac, self._batch(len(rows_b)), rows_b, number, seed, self._t_env))
        return self._playing[-1]

    def act(
        self,
        obs_BNO: np.ndarray,
        state_BS: np.ndarray,
        avail_BNA: np.ndarray,
        alive_BN: np.ndarray,
        live_B: np.ndarray,
    ) -> np.ndarray:
        """Returns the actions of this step, int64 (B, N).

        Args:
            obs_BNO: float32, observations.
            state_BS: float32, state.
            avail_BNA: 0/1, available actions.
            alive_BN: bool, which agents live.
            live_B: bool (B,), battles that go on; the others get action 0 and never go on without ``begin``.
        """
        view = _View(obs_BNO, state_BS, avail_BNA, alive_BN)
        actions_BN = np.zeros(alive_BN.shape, np.int64)
        for group in self._playing:
            group.leave(~live_B)
        self._playing = [group for group in self._playing if group.is_playing]
        for group in self._playing:
            chosen_bN = group.act(_View(*(array[group.rows_b] for array in view)))
            actions_BN[group.rows_b[group.plays_b]] = chosen_bN[group.plays_b]
        return actions_BN

    # -- saving --------------------------------------------------------------------------------------------------

    def state_dict(self, live_B: np.ndarray) -> dict[str, np.ndarray]:
        """Returns everything that later actions depend on: what was seen and done in battles that go on.

        Args:
            live_B: bool (B,), battles that go on.
        """
        state = {"n_begun": np.array([self._n_begun], np.int64)}
        for group in self._playing:
            if (group.plays_b & live_B[group.rows_b]).any():
                state |= {f"{group.number}.{name}": array for name, array in group.arrays().items()}
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores what ``state_dict`` returned, by playing the steps again."""
        self._n_begun = int(state["n_begun"][0])
        self._playing = []
        numbers = sorted({int(name.partition(".")[0]) for name in state if name != "n_begun"})
        for number in numbers:
            prefix = f"{number}."
            arrays = {name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)}
            self._add(np.asarray(arrays["rows"], np.int64), number).replay(arrays)


class _Group:
    """Battles that started together.

    Args:
        mac: the controller with a memory of its own.
        batch: an empty batch of b episodes.
        rows_b: which battles they are, int64 (b,).
        number: how many groups began before.
        seed: of the group's draws.
        t_env: training steps of the networks; sets the exploration where the run's ``test_greedy`` is off.
    """

    def __init__(
        self, mac: SequenceMac, batch: EpisodeBatch, rows_b: np.ndarray, number: int, seed: int, t_env: int
    ) -> None:
        self.rows_b, self.number, self._t_env = rows_b, number, t_env
        self.plays_b: np.ndarray = np.ones(len(rows_b), np.bool_)
        self._mac, self._batch, self._t = mac, batch, 0
        self._plays_Tb: list[np.ndarray] = []
        self._random = torch.Generator().manual_seed(seed).get_state()
        mac.init_hidden(len(rows_b))

    @property
    def is_playing(self) -> bool:
        return bool(self.plays_b.any())

    def leave(self, which_B: np.ndarray) -> None:
        """Takes battles out that have ended or started anew."""
        self.plays_b &= ~which_B[self.rows_b]

    def act(self, view: _View) -> np.ndarray:
        """Returns the actions of the group's next step, int64 (b, N)."""
        obs, state, avail, alive = view
        seen = {"obs": obs, "state": state, "avail_actions": avail, "alive": alive[..., None]}
        self._batch.update(seen, ts=self._t)
        if self._t > 0:
            self._batch.update({"terminated": ~self.plays_b[:, None]}, ts=self._t - 1)
        actions_bN = self._choose()
        self._batch.update({"actions": actions_bN[..., None]}, ts=self._t)
        self._plays_Tb.append(self.plays_b.copy())
        self._t += 1
        return actions_bN.numpy()

    def _choose(self) -> torch.Tensor:
        """Lets the controller act with the group's own random numbers, and without counting messages."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random)
            actions_bN = self._mac.select_actions(self._batch, t_ep=self._t, t_env=self._t_env, test_mode=True)
            self._random = torch.get_rng_state()
        if self._mac.comm is not None:
            self._mac.comm.link.take_costs()
        return actions_bN

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all that the group has seen and done."""
        stored = {name: self._batch[name][:, : self._t].numpy().copy() for name in _SEEN}
        plays = np.array(self._plays_Tb, np.bool_).reshape(self._t, len(self.rows_b))
        return {**stored, "rows": self.rows_b, "plays": self.plays_b, "plays_Tb": plays}

    def replay(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Plays the steps of ``arrays`` again, so that the controller remembers them."""
        for t, plays_b in enumerate(arrays["plays_Tb"]):
            self.plays_b = np.asarray(plays_b, np.bool_)
            obs, state, avail, alive = (arrays[name][:, t] for name in _SEEN[:-1])
            self.act(_View(obs, state, avail, alive[..., 0]))
        self.plays_b = np.asarray(arrays["plays"], np.bool_).copy()
