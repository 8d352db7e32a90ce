"""Inputs that protocols really get: from a file of recorded x, or from episodes played at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from epymarl_lmac.awareness.inputs import extended_obs
from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.engine.spec import ProtocolSpec

MAX_ROWS = 4096
FEWEST_EPISODES = 32


def windows(x: Tensor, history: int | None, id_columns: int = 0) -> Tensor:
    """Returns a protocol's inputs from episodes of x.

    Args:
        x: (E, T, N, D) or, for one episode, (T, N, D).
        history: L, or None for protocols of the current step.
        id_columns: last columns that steps before an episode's start keep; their other columns are -1.

    Returns:
        (E * T, N, D) or (E * T, L, N, D), the newest step last.
    """
    x = x.unsqueeze(0) if x.dim() == 3 else x
    if history is None:
        return x.flatten(0, 1)
    before = x[:, :1].expand(-1, history - 1, -1, -1).clone()
    before[..., : x.shape[-1] - id_columns] = -1.0
    return torch.cat([before, x], dim=1).unfold(1, history, 1).movedim(-1, 2).flatten(0, 1)


def _few(rows: Tensor) -> Tensor:
    """Returns at most ``MAX_ROWS`` rows, drawn with a fixed seed."""
    if len(rows) <= MAX_ROWS:
        return rows
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(7))[:MAX_ROWS]]


def read_samples(path: Path, spec: ProtocolSpec, id_columns: int = 0) -> Tensor:
    """Returns inputs for a protocol from a file.

    Args:
        path: ``.npy`` with x, or ``.safetensors`` with a tensor ``x``; (T, N, D) or (E, T, N, D), no padding.
        spec: the protocol's sizes.
        id_columns: as for ``windows``.

    Raises:
        BundleError: the file cannot be read or has other sizes.
    """
    try:
        if path.suffix == ".npy":
            x = torch.from_numpy(np.load(path, allow_pickle=False))
        else:
            x = safetensors.torch.load_file(path)["x"]
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as err:
        raise BundleError(
            f"--data {path} cannot be read: {err}. Give a .npy file, or a .safetensors file with x."
        ) from err
    if x.dim() not in (3, 4) or tuple(x.shape[-2:]) != (spec.n_agents, spec.x_dim) or x.numel() == 0:
        raise BundleError(
            f"--data {path} has shape {tuple(x.shape)}; expected (episodes, steps, {spec.n_agents}, {spec.x_dim})."
        )
    return _few(windows(x.float(), spec.history, id_columns))


class Played:
    """Episodes played at random.

    Args:
        env: name of a file in ``config/envs``.
        updates: ``key=value`` settings that describe the task.
        episodes: how many, at least 1; ``FEWEST_EPISODES`` are played if fewer are asked for.
    """

    def __init__(self, env: str, updates: Sequence[str], episodes: int) -> None:
        if episodes < 1:
            raise BundleError(f"--episodes {episodes} must be at least 1.")
        from protocol_gen.collect import play_at_random

        played, self._layout = play_at_random(env, updates, max(episodes, FEWEST_EPISODES), seed=303)
        self._packing = played.packing()
        self._x_PND = extended_obs(played, self._packing, self._layout)
        self.name = f"{len(played)} random episodes of {env}"

    def inputs(self, spec: ProtocolSpec) -> Tensor:
        """Returns inputs for one protocol; raises BundleError if the sizes differ."""
        if tuple(self._x_PND.shape[1:]) != (spec.n_agents, spec.x_dim):
            raise BundleError(
                f"The environment gives x of shape {tuple(self._x_PND.shape[1:])}, the protocol is for "
                f"({spec.n_agents}, {spec.x_dim}); choose the task with env_args after `with`."
            )
        if spec.history is None:
            return _few(self._x_PND)
        return self._layout.histories(self._x_PND, _few(self._packing.history(spec.history)))
