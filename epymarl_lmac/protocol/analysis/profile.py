"""What a protocol sends: numbers and bits a step for every ordered pair of agents, and columns that carry nothing.

Where data come from an agent is read off the flow map; how much a column can say is measured on samples.

    class        what a message column of a receiver is                            counted for a pair
    constant     depends on no input, or has one value on all samples              no
    own          a copy of one of the receiver's own current or past x columns,    no
                 or made from the receiver's own x alone
    duplicate    equal on all samples to an earlier column of the same receiver    no
    single       one other agent's x reaches it                                    yes, from that agent
    aggregate    several other agents' x reach it                                  yes, from each of them

``floats`` are the counted columns, ``raw_floats`` all columns that the sender's x reaches. ``bits`` adds up
``ceil(log2(distinct values seen))`` over the counted columns, 32 where a column shows more than ``FEW`` values: a
column is then taken as continuous. An aggregate counts once for every sender, as if each sent its own part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.analysis.flow import FlowMap, flow_map
from epymarl_lmac.protocol.engine.program import Program

FEW = 256  # more distinct values than this count as a continuous number
FLOAT_BITS = 32
SAMPLES = 1024  # rows of synthetic data
CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Column:
    """One message column of one receiver."""

    receiver: int
    column: int  # among the message columns
    kind: str  # constant, own, duplicate, single, aggregate
    senders: tuple[int, ...]  # other agents whose x reaches it
    steps: tuple[int, ...]  # ages of the steps it depends on, 0 is the current one
    distinct: int  # different values seen, at most FEW + 1
    bits: int
    equal_to: str = ""  # for own and duplicate: what it repeats, e.g. "x[3]" or "message[0]"


@dataclass(frozen=True)
class Profile:
    """All message columns of one protocol, and what each ordered pair exchanges. Pair arrays are (sender, receiver)."""

    n_agents: int
    message_dim: int
    data: str  # "synthetic data" or a name of the data
    rows: int  # samples looked at
    columns: tuple[Column, ...]
    floats: np.ndarray
    raw_floats: np.ndarray
    bits: np.ndarray
    inputs: np.ndarray  # different input elements of the sender that reach the receiver

    def count(self, kind: str) -> int:
        """Returns how many columns are of a kind, over all receivers."""
        return sum(column.kind == kind for column in self.columns)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "message_dim": self.message_dim,
            "data": self.data,
            "rows": self.rows,
            "floats": self.floats.tolist(),
            "raw_floats": self.raw_floats.tolist(),
            "bits": self.bits.tolist(),
            "inputs": self.inputs.tolist(),
            "columns": [vars(column) for column in self.columns],
        }


def synthetic(program: Program, rows: int | None = None) -> Tensor:
    """Returns seeded inputs: half normal numbers, a quarter 0 or 1, a quarter small whole numbers from -1 to 6.

    Args:
        program: the protocol they are for.
        rows: how many; None takes ``SAMPLES``, fewer for very large protocols but more than 2 * ``FEW``.
    """
    if rows is None:
        row = 4 * (math.prod(program.spec.input_shape(1)) + program.spec.n_agents * program.message_dim)
        rows = max(2 * FEW + 8, min(SAMPLES, CHUNK_BYTES // row))
    generator = torch.Generator().manual_seed(31)
    o = torch.randn(program.spec.input_shape(rows), generator=generator)
    quarter = rows // 4
    o[:quarter] = (o[:quarter] > 0.5).float()
    whole = torch.randint(-1, 7, o[quarter : 2 * quarter].shape, generator=generator)
    o[quarter : 2 * quarter] = whole.float()
    return o


def _chunks(program: Program, data: Tensor) -> Iterator[Tensor]:
    row = 4 * (data[0].numel() + program.spec.n_agents * (program.spec.x_dim + program.message_dim))
    for part in data.split(max(1, min(256, CHUNK_BYTES // (4 * row)))):
        with torch.no_grad():
            yield program.message(part)


class _Seen:
    """What the samples show of (N, M) columns, gathered part by part."""

    def __init__(self, program: Program, data: Tensor) -> None:
        messages = []
        for message in _chunks(program, data):
            if not torch.isfinite(message).all():
                raise BundleError("The protocol's messages are not finite on the given data.")
            messages.append(message)
        self.messages = torch.cat(messages).numpy() + 0.0  # (P, N, M); + 0.0 makes -0 and 0 equal
        changes = np.zeros(self.messages.shape[1:], dtype=np.int64)
        for receiver in range(len(changes)):
            ordered = np.sort(self.messages[:, receiver], axis=0)
            changes[receiver] = (ordered[1:] != ordered[:-1]).sum(axis=0)
        self.distinct = np.minimum(changes + 1, FEW + 1)

    def first_equal(self, receiver: int) -> list[int]:
        """Returns for every message column of a receiver the first column with the same values."""
        seen: dict[bytes, int] = {}
        columns = np.ascontiguousarray(self.messages[:, receiver].T)
        return [seen.setdefault(column.tobytes(), number) for number, column in enumerate(columns)]


def _bits(distinct: int) -> int:
    return FLOAT_BITS if distinct > FEW else math.ceil(math.log2(max(1, distinct)))


def _own_copy(flow: FlowMap, data: np.ndarray, receiver: int, column: int, values: np.ndarray) -> str:
    """Returns the receiver's own column that a message column repeats, or ""."""
    listed = np.argwhere(flow.reaches(receiver, flow.x_dim + column)[:, receiver])
    for step, d in listed[::-1] if len(listed) <= 64 else listed[-64:][::-1]:
        own = data[:, receiver, d] if flow.steps == 1 and data.ndim == 3 else data[:, step, receiver, d]
        if np.array_equal(own, values):
            age = flow.steps - 1 - int(step)
            return f"x[{d}]" if age == 0 else f"x[{d}], {age} steps ago"
    return ""


def profile_program(
    program: Program, data: Tensor | None = None, name: str = "", flow: FlowMap | None = None
) -> Profile:
    """Returns what a protocol sends.

    Args:
        program: the protocol.
        data: inputs of the program's shape, e.g. from ``samples.py``; None takes synthetic ones.
        name: what to call the data in the profile.
        flow: its map, if it is there already.

    Raises:
        BundleError: the data do not fit the program, or messages on them are not finite.
    """
    flow = flow or flow_map(program)
    given = data is not None
    data = synthetic(program) if data is None else data.float()
    expected = program.spec.input_shape(1)[1:]
    if tuple(data.shape[1:]) != expected or len(data) == 0:
        raise BundleError(f"The data have shape {tuple(data.shape)}; the protocol needs (rows, {str(expected)[1:]}.")
    n, m = flow.n_agents, flow.message_dim
    seen, inputs = _Seen(program, data), data.numpy() + 0.0
    senders, history = flow.senders(), flow.history()
    columns: list[Column] = []
    floats, raw, bits = (np.zeros((n, n), dtype=np.int64) for _ in range(3))
    for receiver in range(n):
        first = seen.first_equal(receiver)
        for column in range(m):
            reach, distinct = senders[receiver, column], int(seen.distinct[receiver, column])
            others = tuple(int(s) for s in np.flatnonzero(reach) if s != receiver)
            kind, equal = "single" if len(others) == 1 else "aggregate", ""
            if reach[receiver]:
                equal = _own_copy(flow, inputs, receiver, column, seen.messages[:, receiver, column])
            if not reach.any() or distinct == 1:
                kind, equal = "constant", ""
            elif equal or not others:
                kind = "own"
            elif first[column] != column:
                kind, equal = "duplicate", f"message[{first[column]}]"
            size = _bits(distinct)
            ages = tuple(int(flow.steps - 1 - s) for s in np.flatnonzero(history[receiver, column])[::-1])
            columns.append(Column(receiver, column, kind, others, ages, distinct, size, equal))
            for sender in others:
                raw[sender, receiver] += 1
                if kind in ("single", "aggregate"):
                    floats[sender, receiver] += 1
                    bits[sender, receiver] += size
    counts = flow.inputs()
    np.fill_diagonal(counts, 0)
    data_name = (name or "given data") if given else "synthetic data"
    return Profile(n, m, data_name, len(data), tuple(columns), floats, raw, bits, counts)
