"""Whole episodes as tensors: ``EpisodeBatch`` (B episodes of T steps), ``ReplayBuffer`` (the latest of them).

A *scheme* names the keys: ``{"obs": {"vshape": O, "group": "agents", "dtype": torch.float32}, ...}``. A key
with a ``group`` has one value a member (``groups = {"agents": N}``), one with ``episode_const`` has one value
an episode instead of one a step. *preprocess* derives keys when their source is written:
``{"actions": ("actions_onehot", [OneHot(A)])}``. The key ``filled`` is 1 where a step was played.
Conventions as in PyMARL and EPyMARL, so that code written for either reads these batches.

Letters: B episodes, T steps, N agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epymarl_lmac.errors import CheckpointError
from epymarl_lmac.learning.batches import BatchRequest

Scheme = dict[str, dict[str, Any]]
Index = slice | Tensor


@dataclass
class BatchData:
    """The tensors of a batch by key."""

    transition_data: dict[str, Tensor] = field(default_factory=dict)  # (B, T, *value shape)
    episode_data: dict[str, Tensor] = field(default_factory=dict)  # (B, *value shape)


def _value_shape(key: str, info: Mapping[str, Any], groups: Mapping[str, int]) -> tuple[int, ...]:
    """Returns the shape of one value of a key, the members of its group included."""
    if "vshape" not in info:
        raise ValueError(f"scheme key {key!r} has no 'vshape'; give the shape of one value.")
    vshape = info["vshape"]
    shape = (int(vshape),) if isinstance(vshape, int | np.integer) else tuple(vshape)
    group = info.get("group")
    if group is None:
        return shape
    if group not in groups:
        raise ValueError(f"scheme key {key!r} is of group {group!r}; groups has only {sorted(groups)}.")
    return (groups[group], *shape)


class EpisodeBatch:
    """B episodes of up to T steps.

    ``batch["obs"]`` is the tensor of a key, ``batch["obs", "state"]`` a batch with these keys only, and
    ``batch[b]``, ``batch[b0:b1]``, ``batch[[b, ...]]``, ``batch[bs, ts]`` batches of fewer episodes or steps
    (views where the indices are integers or slices). Dimensions are never dropped.

    Args:
        scheme: what is stored; see the module's text. Not modified.
        groups: members of each group.
        batch_size: number B of episodes.
        max_seq_length: number T of steps, the one after the last action included.
        data: tensors to use instead of new ones filled with zeros.
        preprocess: derived keys.
        device: where the tensors live.
    """

    def __init__(
        self,
        scheme: Scheme,
        groups: Mapping[str, int],
        batch_size: int,
        max_seq_length: int,
        data: BatchData | None = None,
        preprocess: Mapping[str, tuple[str, Sequence[Any]]] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.scheme: Scheme = dict(scheme)
        self.groups = dict(groups)
        self.batch_size = batch_size
        self.max_seq_length = max_seq_length
        self.preprocess = dict(preprocess or {})
        self.device = device
        if data is not None:
            self.data = data
            return
        self.data = BatchData()
        self._allocate()

    def _allocate(self) -> None:
        if "filled" in self.scheme:
            raise ValueError("scheme key 'filled' is reserved: it marks the steps that were played.")
        for key, (derived, transforms) in self.preprocess.items():
            if key not in self.scheme:
                raise ValueError(f"preprocess key {key!r} is not in the scheme ({sorted(self.scheme)}).")
            info = dict(self.scheme[key])
            vshape, dtype = info["vshape"], info.get("dtype", torch.float32)
            for transform in transforms:
                vshape, dtype = transform.infer_output_info(vshape, dtype)
            self.scheme[derived] = info | {"vshape": vshape, "dtype": dtype}
        self.scheme["filled"] = {"vshape": (1,), "dtype": torch.long}
        for key, info in self.scheme.items():
            shape = _value_shape(key, info, self.groups)
            is_const = info.get("episode_const", False)
            store = self.data.episode_data if is_const else self.data.transition_data
            lead = (self.batch_size,) if is_const else (self.batch_size, self.max_seq_length)
            store[key] = torch.zeros(lead + shape, dtype=info.get("dtype", torch.float32), device=self.device)

    def add_key(self, key: str, info: Mapping[str, Any], value: Tensor | None = None) -> None:
        """Stores one more value a step, for what is computed from whole episodes after they were played.

        Args:
            key: its name; replaces what is stored under it.
            info: as in a scheme; of a value a step.
            value: (B, T, *value shape) on this batch's device; zeros if None.

        Raises:
            ValueError: a value of another shape.
        """
        shape = (self.batch_size, self.max_seq_length, *_value_shape(key, info, self.groups))
        if value is None:
            value = torch.zeros(shape, dtype=info.get("dtype", torch.float32), device=self.device)
        if tuple(value.shape) != shape:
            raise ValueError(f"{key!r} has shape {tuple(value.shape)}; expected {shape}.")
        self.scheme[key] = dict(info)
        self.data.transition_data[key] = value

    @property
    def nbytes(self) -> int:
        """Bytes of everything stored."""
        stores = (self.data.transition_data, self.data.episode_data)
        return sum(tensor.nbytes for store in stores for tensor in store.values())

    # -- writing -----------------------------------------------------------------------------------------

    def update(
        self,
        data: Mapping[str, Any],
        bs: Any = slice(None),
        ts: Any = slice(None),
        mark_filled: bool = True,
    ) -> None:
        """Writes values and what is derived from them.

        Args:
            data: key -> tensor, array or list of arrays, shaped as the episodes and steps it goes to;
                dimensions of size 1 may be left out.
            bs: episodes to write: integer, slice, list, array or tensor of indices.
            ts: steps to write: integer or slice.
            mark_filled: whether the steps now count as played.

        Raises:
            KeyError: a key that is not in the scheme.
            ValueError: a shape that does not fit.
        """
        rows, steps = self._parse((bs, ts))
        for key, value in data.items():
            self._write(key, value, rows, steps)
            if key in self.preprocess:
                derived, transforms = self.preprocess[key]
                value = self._store_of(key)[key][self._index(key, rows, steps)]
                for transform in transforms:
                    value = transform.transform(value)
                self._write(derived, value, rows, steps)
        if mark_filled and any(key in self.data.transition_data for key in data):
            self.data.transition_data["filled"][rows, steps] = 1

    def _store_of(self, key: str) -> dict[str, Tensor]:
        for store in (self.data.transition_data, self.data.episode_data):
            if key in store:
                return store
        known = sorted([*self.data.transition_data, *self.data.episode_data])
        raise KeyError(f"{key!r} is not in this batch; it has {', '.join(known)}.")

    def _index(self, key: str, rows: Index, steps: slice) -> Any:
        return (rows, steps) if key in self.data.transition_data else rows

    def _write(self, key: str, value: Any, rows: Index, steps: slice) -> None:
        target = self._store_of(key)[key]
        if isinstance(value, list | tuple):
            value = np.asarray(value)
        value = torch.as_tensor(value, dtype=target.dtype, device=target.device)
        index = self._index(key, rows, steps)
        shape = target[index].shape
        # Only sizes of 1 may differ: anything else would mix episodes, steps and agents.
        if [n for n in value.shape if n != 1] != [n for n in shape if n != 1]:
            raise ValueError(f"{key!r} has shape {tuple(value.shape)}; expected {tuple(shape)}.")
        target[index] = value.reshape(shape)

    def to(self, device: str | torch.device) -> EpisodeBatch:
        """Moves all tensors to a device; returns the batch itself."""
        for store in (self.data.transition_data, self.data.episode_data):
            for key, tensor in store.items():
                store[key] = tensor.to(device)
        self.device = device
        return self

    # -- reading -----------------------------------------------------------------------------------------

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            return self._store_of(item)[item]
        if isinstance(item, tuple) and item and all(isinstance(key, str) for key in item):
            return self._with_keys(item)
        rows, steps = self._parse(item)
        data = BatchData(
            {key: _take(tensor, rows)[:, steps] for key, tensor in self.data.transition_data.items()},
            {key: _take(tensor, rows) for key, tensor in self.data.episode_data.items()},
        )
        n_rows = len(range(self.batch_size)[rows]) if isinstance(rows, slice) else len(rows)
        return EpisodeBatch(
            self.scheme,
            self.groups,
            n_rows,
            len(range(self.max_seq_length)[steps]),
            data=data,
            preprocess=self.preprocess,
            device=self.device,
        )

    def _with_keys(self, keys: tuple[str, ...]) -> EpisodeBatch:
        data = BatchData()
        for key in keys:
            is_transition = self._store_of(key) is self.data.transition_data
            store = data.transition_data if is_transition else data.episode_data
            store[key] = self[key]
        scheme = {key: self.scheme[key] for key in keys}
        used = {info["group"] for info in scheme.values() if "group" in info}
        return EpisodeBatch(
            scheme,
            {name: n for name, n in self.groups.items() if name in used},
            self.batch_size,
            self.max_seq_length,
            data=data,
            device=self.device,
        )

    def _parse(self, item: Any) -> tuple[Index, slice]:
        """Returns (episodes, steps) as indices that keep their dimension."""
        rows, steps = item if isinstance(item, tuple) and len(item) == 2 else (item, slice(None))
        if isinstance(steps, int | np.integer):
            steps = _one(int(steps), self.max_seq_length, "step")
        if not isinstance(steps, slice):
            raise IndexError(f"steps must be an integer or a slice, got {type(steps).__name__}.")
        if isinstance(rows, int | np.integer):
            return _one(int(rows), self.batch_size, "episode"), steps
        if isinstance(rows, slice):
            return rows, steps
        if isinstance(rows, list | np.ndarray | Tensor):
            ids = torch.as_tensor(rows, device=self.device)
            if ids.dtype == torch.bool:
                ids = ids.nonzero().squeeze(1)
            return ids.long(), steps
        raise IndexError(
            f"episodes must be an integer, a slice, a list, an array or a tensor, got {type(rows).__name__}."
        )

    def max_t_filled(self) -> int:
        """Returns the number of steps of the longest episode in the batch."""
        return int(self.data.transition_data["filled"].sum(1).max())

    def __repr__(self) -> str:
        keys = ", ".join(self.scheme)
        return f"{type(self).__name__}({self.batch_size} episodes of {self.max_seq_length} steps: {keys})"


def _one(index: int, size: int, what: str) -> slice:
    """Returns the slice of one index, counted from the end if negative."""
    if not -size <= index < size:
        raise IndexError(f"{what} {index} does not exist; there are {size}.")
    start = index % size
    return slice(start, start + 1)


def _take(tensor: Tensor, rows: Index) -> Tensor:
    """Returns rows of a tensor; ``index_select`` copies whole rows, several times faster than indexing."""
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)


def _shared(tensor: Tensor, n: int) -> Tensor:
    """Returns the first rows without a copy on the CPU, as a tensor whose storage ends with them.

    ``torch.save`` writes whole storages, so a slice would bring the unused rows into the file.
    """
    if n == 0:
        return tensor[:0].clone()
    if tensor.device.type != "cpu":
        return tensor if n == len(tensor) else tensor[:n].cpu()  # a part is gathered where files are written from
    return torch.from_numpy(tensor[:n].view(torch.uint8).numpy()).view(tensor.dtype)  # bytes: numpy has no bfloat16


class ReplayBuffer(EpisodeBatch):
    """The latest ``buffer_size`` episodes; a new one takes the place of the oldest.

    A learner that trains on recent episodes beside older ones needs no second buffer: ``latest(n)`` gives the last n of
    what a smaller buffer, of n or more episodes and filled at the same time, would hold.

    Args:
        scheme, groups, preprocess, device: as for ``EpisodeBatch``.
        buffer_size: capacity, episodes.
        max_seq_length: steps of the longest episode.
    """

    def __init__(
        self,
        scheme: Scheme,
        groups: Mapping[str, int],
        buffer_size: int,
        max_seq_length: int,
        preprocess: Mapping[str, tuple[str, Sequence[Any]]] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(scheme, groups, buffer_size, max_seq_length, preprocess=preprocess, device=device)
        self.buffer_size = buffer_size
        self.buffer_index = 0  # where the next episode goes
        self.episodes_in_buffer = 0

    def insert_episode_batch(self, ep_batch: EpisodeBatch) -> None:
        """Adds the episodes of a batch, in its order.

        Raises:
            ValueError: the episodes are longer than ``max_seq_length``.
        """
        T = ep_batch.max_seq_length
        if self.max_seq_length < T:
            raise ValueError(f"episodes of {T} steps do not fit a buffer of {self.max_seq_length} steps.")
        done = 0
        while done < ep_batch.batch_size:
            n = min(ep_batch.batch_size - done, self.buffer_size - self.buffer_index)
            to, source = slice(self.buffer_index, self.buffer_index + n), slice(done, done + n)
            for key, tensor in self.data.transition_data.items():
                tensor[to, :T] = ep_batch[key][source]
                tensor[to, T:] = 0  # what an older, longer episode left there
            for key, tensor in self.data.episode_data.items():
                tensor[to] = ep_batch[key][source]
            done += n
            self.episodes_in_buffer = max(self.episodes_in_buffer, self.buffer_index + n)
            self.buffer_index = (self.buffer_index + n) % self.buffer_size

    def can_sample(self, batch_size: int) -> bool:
        """Tells whether there are ``batch_size`` different episodes."""
        return self.episodes_in_buffer >= batch_size

    def sample(self, batch_size: int, *, rng: np.random.Generator) -> EpisodeBatch:
        """Returns a copy of ``batch_size`` different episodes, all equally likely.

        Args:
            batch_size: number of episodes.
            rng: generator to draw from; it belongs to the caller, who saves it.

        Raises:
            ValueError: fewer episodes than that are stored.
        """
        if not self.can_sample(batch_size):
            raise ValueError(
                f"cannot sample {batch_size} episodes, only {self.episodes_in_buffer} are stored; "
                "ask can_sample() first."
            )
        return self[rng.choice(self.episodes_in_buffer, batch_size, replace=False)]

    def latest(self, n: int) -> EpisodeBatch:
        """Returns a copy of the ``n`` episodes that were stored last, the oldest of them first.

        Raises:
            ValueError: fewer episodes than that are stored.
        """
        if not self.can_sample(n):
            raise ValueError(f"cannot give the latest {n} episodes, only {self.episodes_in_buffer} are stored.")
        return self[torch.arange(self.buffer_index - n, self.buffer_index, device=self.device) % self.buffer_size]

    def can_serve(self, request: BatchRequest) -> bool:
        """Tells whether enough episodes are stored for a learner's request."""
        return self.can_sample(max(request.n_episodes, request.stored))

    def serve(self, request: BatchRequest, *, rng: np.random.Generator) -> EpisodeBatch:
        """Returns what a learner asks for, as ``sample`` or ``latest`` do, without steps that no episode reached."""
        n = request.n_episodes
        batch = self.latest(n) if request.latest else self.sample(n, rng=rng)
        return batch[:, : batch.max_t_filled()]

    def state_dict(self) -> dict[str, Any]:
        """Returns the stored episodes; derived keys are left out and room not yet used is too.

        On the CPU the tensors are the buffer's own memory, to be written before the next episode is stored: a buffer
        may fill most of the memory, so a copy of it may not fit beside it.
        """
        derived = {new for new, _ in self.preprocess.values()}
        stored = {**self.data.transition_data, **self.data.episode_data}
        n = self.episodes_in_buffer
        return {
            "buffer_index": self.buffer_index,
            "episodes_in_buffer": n,
            "data": {key: _shared(tensor, n) for key, tensor in stored.items() if key not in derived},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned.

        Raises:
            CheckpointError: it is of a buffer of another size or layout; nothing has changed then.
        """
        derived = {new for new, _ in self.preprocess.values()}
        stored = {**self.data.transition_data, **self.data.episode_data}
        expected = {key: tensor for key, tensor in stored.items() if key not in derived}
        n, saved = state["episodes_in_buffer"], state["data"]
        if n > self.buffer_size or (n < self.buffer_size and state["buffer_index"] != n):
            raise CheckpointError(
                f"the saved replay buffer (next place {state['buffer_index']} of {n} episodes) does not fit "
                f"buffer_size={self.buffer_size}; resume with the settings it was saved with."
            )
        wanted = {key: (tuple(t[:n].shape), t.dtype) for key, t in expected.items()}
        found = {key: (tuple(t.shape), t.dtype) for key, t in saved.items()}
        differing = sorted(key for key in wanted | found if wanted.get(key) != found.get(key))
        if differing:
            key = differing[0]
            raise CheckpointError(
                f"the saved replay buffer differs in {', '.join(differing)}: {key!r} is "
                f"{found.get(key, 'missing')}, expected {wanted.get(key, 'nothing')}; resume with the "
                "settings it was saved with."
            )
        self.buffer_index, self.episodes_in_buffer = state["buffer_index"], n
        self.update(saved, bs=slice(0, n), mark_filled=False)
        for key in derived & self.data.transition_data.keys():  # nothing was derived where no step was played
            values = self.data.transition_data[key][:n]
            filled = self.data.transition_data["filled"][:n]
            values.masked_fill_(filled.view(*filled.shape[:2], *[1] * (values.dim() - 2)) == 0, 0)
