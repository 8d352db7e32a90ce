"""Trajectories on disk: one HDF5 file that says what every array and column is.

Two groups, ``train`` and ``heldout``, hold the same arrays (first axis: episode):

    obs (E, T, N, O) float32   state (E, T, S) float32   actions (E, T, N) int16
    reward (E, T) float32      terminated (E, T) uint8   length (E,) int32   t_env (E,) int64

``length`` is the number of stored steps, the one after the last action included; what lies behind it is zero.
``t_env`` is the environment step of the collecting run. The file's attributes name the task and every column.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from epymarl_lmac.awareness.inputs import Episodes
from epymarl_lmac.errors import RecordError
from epymarl_lmac.tasks import TaskCard

FORMAT, VERSION = "epymarl-lmac trajectories", 1
GROUPS = ("train", "heldout")
AXES = {
    "obs": "episode, step, agent, observation column",
    "state": "episode, step, state column",
    "actions": "episode, step, agent",
    "reward": "episode, step",
    "terminated": "episode, step",
    "length": "episode",
    "t_env": "episode",
}
UNREADABLE = (
    "A design collects its own file again if that is removed; where --buffer names the file, restore it or name "
    "another."
)
_CHUNK = 32  # episodes written and compressed together


def forecast_bytes(card: TaskCard, n_episodes: int) -> int:
    """Returns the size of the arrays before compression."""
    per_step = 4 * (card.n_agents * len(card.obs) + len(card.state) + 1) + 2 * card.n_agents + 1
    return n_episodes * ((card.episode_limit + 1) * per_step + 12)


class Writer:
    """Appends episodes to a file that gets its name only when it is complete.

    Args:
        path: the file.
        card: the task; its column names go into the file.
        notes: how the episodes were made; plain values.
    """

    def __init__(self, path: Path, card: TaskCard, notes: Mapping[str, Any]) -> None:
        self._path, self._temporary = path, path.with_suffix(path.suffix + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(self._temporary, "w")
        except OSError as err:
            raise RecordError(f"Cannot write {path}: {err}.") from err
        attributes = {
            "format": FORMAT,
            "version": VERSION,
            "env": card.env,
            "task": card.task,
            "env_args": json.dumps(card.settings),
            "actions": json.dumps(card.actions),
            "obs_columns": json.dumps([d.name for d in card.obs]),
            "state_columns": json.dumps([d.name for d in card.state]),
            "notes": json.dumps(dict(notes)),
        }
        self._file.attrs.update(attributes)
        T, N = card.episode_limit + 1, card.n_agents
        shapes = {
            "obs": ((T, N, len(card.obs)), "f4"),
            "state": ((T, len(card.state)), "f4"),
            "actions": ((T, N), "i2"),
            "reward": ((T,), "f4"),
            "terminated": ((T,), "u1"),
            "length": ((), "i4"),
            "t_env": ((), "i8"),
        }
        for group in GROUPS:
            for name, (shape, kind) in shapes.items():
                chunk = (_CHUNK, *shape)
                options = {"chunks": chunk, "compression": "gzip", "compression_opts": 1} if shape else {"chunks": True}
                data = self._file.create_dataset(
                    f"{group}/{name}", (0, *shape), maxshape=(None, *shape), dtype=kind, **options
                )
                data.attrs["axes"] = AXES[name]
        self.counts = dict.fromkeys(GROUPS, 0)

    def add(self, group: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Appends episodes; arrays may have fewer steps than the longest episode."""
        n = len(arrays["length"])
        for name, values in arrays.items():
            data = self._file[f"{group}/{name}"]
            data.resize(self.counts[group] + n, axis=0)
            if values.ndim > 1:
                data[self.counts[group] :, : values.shape[1]] = values
            else:
                data[self.counts[group] :] = values
        self.counts[group] += n

    def close(self, complete: bool) -> None:
        """Closes the file; only a complete one gets its name."""
        self._file.close()
        if complete:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)


def read(path: Path) -> tuple[Episodes, Episodes, dict[str, Any]]:
    """Reads the training and the held-out episodes and the file's attributes.

    Raises:
        RecordError: missing, damaged, or of another format.
    """
    try:
        with h5py.File(path, "r") as file:
            attributes = {k: json.loads(v) if str(v)[:1] in "[{" else v for k, v in file.attrs.items()}
            if attributes.get("format") != FORMAT or attributes.get("version") != VERSION:
                raise RecordError(
                    f"{path} is no trajectory file of ours: format {attributes.get('format')!r}, version "
                    f"{attributes.get('version')!r}; expected {FORMAT!r}, version {VERSION}."
                )
            parts = [_episodes(file[group]) for group in GROUPS]
    except (OSError, KeyError, ValueError) as err:
        raise RecordError(f"{path} cannot be read: {err}. {UNREADABLE}") from err
    empty = [group for group, part in zip(GROUPS, parts, strict=True) if not len(part)]
    if empty:
        raise RecordError(f"{path} holds no {' and no '.join(empty)} episodes.")
    return parts[0], parts[1], attributes


def _episodes(group: h5py.Group) -> Episodes:
    return Episodes(
        torch.from_numpy(group["obs"][:]),
        torch.from_numpy(group["actions"][:]).long(),
        torch.from_numpy(group["state"][:]),
        torch.from_numpy(group["length"][:]).long(),
    )
