"""Which input elements reach which output elements of a program, read off its list of operations.

One episode goes through the list with, beside every value, the set of input elements that it may depend on
(``sets.py``). An element whose set is empty is a constant, so masks and index tables act exactly: a factor that is
always 0 cuts what it multiplies (finite values assumed), a constant mask chooses one side, a constant index moves.

What the map promises: an input element that is not listed cannot change the output element. The converse holds for
programs that only move data (``FlowMap.moves_only``). Elsewhere a listed element may have no influence because values
cancel, as in ``a - a``. Operations whose rule lists more than their operands can ever pass on have ``exact=False``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.analysis.flow_rules import RULES, Value
from epymarl_lmac.protocol.analysis.sets import Unions
from epymarl_lmac.protocol.engine.nodes import Node, Ref, needed, substitute
from epymarl_lmac.protocol.engine.program import Program


@dataclass(frozen=True)
class OperationFlow:
    """How one operation was read."""

    index: int
    op: str
    kind: str  # "constant", "moves" or "combines"
    exact: bool  # False: the rule may list more than the operation can pass on


@dataclass(frozen=True)
class FlowMap:
    """The dependencies of a program's result (N, D + M) on its input (L, N, D); L is 1 without history.

    ``place[r, c]`` is the row of ``packed`` that has the set of column c of receiver r, as bits, lowest first, over
    the input elements in C order.
    """

    n_agents: int
    x_dim: int
    steps: int  # L
    message_dim: int
    place: np.ndarray  # (N, D + M) rows
    packed: np.ndarray  # (U, ceil(L N D / 8)) bytes
    operations: tuple[OperationFlow, ...]

    @property
    def moves_only(self) -> bool:
        """Returns whether every operation moves data or is constant: the map is then equal to the influence."""
        return all(operation.kind != "combines" for operation in self.operations)

    @property
    def exact(self) -> bool:
        """Returns whether no operation's rule lists more than the operation can pass on."""
        return all(operation.exact for operation in self.operations)

    def _sets(self, rows: np.ndarray) -> np.ndarray:
        shape = (self.steps, self.n_agents, self.x_dim)
        bits = np.unpackbits(self.packed[rows], axis=-1, count=int(np.prod(shape)), bitorder="little")
        return bits.astype(bool).reshape(*rows.shape, *shape)

    def reaches(self, receiver: int, column: int) -> np.ndarray:
        """Returns which input elements reach one column of one receiver's result.

        Args:
            receiver: agent.
            column: column of the whole result; message column m is ``x_dim + m``.

        Returns:
            (L, N, D), boolean; the newest step last.
        """
        return self._sets(self.place[receiver, column])

    def matrix(self) -> np.ndarray:
        """Returns the whole map, (N, D + M, L, N, D), boolean.

        Raises:
            BundleError: it would take more than 2 GiB; use ``reaches``.
        """
        size = self.place.size * self.steps * self.n_agents * self.x_dim
        if size > 2**31:
            raise BundleError(f"The whole map has {size} entries; ask for one output column at a time.")
        return self._sets(self.place)

    def _any(self, axes: tuple[int, ...], width: tuple[int, ...]) -> np.ndarray:
        """Returns for every distinct set whether it has members, with the axes of (L, N, D) reduced."""
        result = np.zeros((len(self.packed), *width), dtype=bool)
        for row in range(len(self.packed)):
            result[row] = self._sets(np.array(row)).any(axis=axes)
        return result

    def senders(self) -> np.ndarray:
        """Returns (N, M, N): whether a message column of a receiver depends on an agent's x, now or earlier."""
        return self._any((0, 2), (self.n_agents,))[self.place[:, self.x_dim :]]

    def history(self) -> np.ndarray:
        """Returns (N, M, L): whether a message column of a receiver depends on a step; the newest step last."""
        return self._any((1, 2), (self.steps,))[self.place[:, self.x_dim :]]

    def inputs(self) -> np.ndarray:
        """Returns (N senders, N receivers): how many different input elements reach any message column."""
        counts = np.zeros((self.n_agents, self.n_agents), dtype=np.int64)
        for receiver in range(self.n_agents):
            rows = np.unique(self.place[receiver, self.x_dim :])
            if len(rows):
                union = np.bitwise_or.reduce(self.packed[rows], axis=0)
                bits = np.unpackbits(union, count=self.steps * self.n_agents * self.x_dim, bitorder="little")
                counts[:, receiver] = bits.reshape(self.steps, self.n_agents, self.x_dim).sum(axis=(0, 2))
        return counts


def flow_map(program: Program) -> FlowMap:
    """Returns the dependencies of a program's result.

    Args:
        program: the rebuilt protocol; its text is not needed.

    Raises:
        BundleError: the list cannot be followed, e.g. because an operation fails on one episode.
    """
    spec = program.spec
    steps = spec.history or 1
    unions = Unions(steps * spec.n_agents * spec.x_dim)
    wanted = needed(program.nodes, program.output)
    last_use = {ref: index for index in sorted(wanted) for ref in program.nodes[index].refs}
    values: dict[int, Value] = {}
    read: list[OperationFlow] = []
    for index, node in enumerate(program.nodes):
        if index not in wanted:
            continue
        try:
            with torch.no_grad():
                values[index] = _value(node, values, program, unions)
        except BundleError:
            raise
        except Exception as err:
            what = f"{type(err).__name__}: {str(err)[:200]}"
            raise BundleError(f"The flow through operation {index} ({node.op}) cannot be followed: {what}") from err
        read.append(_describe(index, node, values[index]))
        for ref in set(node.refs):
            if last_use[ref] == index and ref != program.output:
                del values[ref]
    result = values[program.output].ids
    width = spec.x_dim + program.message_dim
    if not isinstance(result, np.ndarray) or result.shape != (1, spec.n_agents, width):
        raise BundleError(f"The program's result is not of the shape (episodes, {spec.n_agents}, {width}).")
    distinct, place = np.unique(result[0], return_inverse=True)
    packed = unions.members(distinct)
    place = place.reshape(spec.n_agents, width)
    return FlowMap(spec.n_agents, spec.x_dim, steps, program.message_dim, place, packed, tuple(read))


def _value(node: Node, values: dict[int, Value], program: Program, unions: Unions) -> Value:
    """Returns the value of one operation for an episode of zeros, with its sets."""
    if node.op == "input":
        data = torch.zeros(program.spec.input_shape(1))
        ids = np.arange(1, unions.n_leaves + 1, dtype=np.int64).reshape(tuple(data.shape))
        return Value(data, ids, moves=True)
    if node.op == "constant":
        return Value.constant(program.constants[node.args[0]].cpu())
    args = _bound(node.args, values)
    kwargs = {key: _bound(value, values) for key, value in node.kwargs}
    plain = [substitute(arg, {ref: values[ref].data for ref in node.refs}) for arg in node.args]
    plain_kwargs = {k: substitute(v, {ref: values[ref].data for ref in node.refs}) for k, v in node.kwargs}
    return RULES[node.op](node.op, args, kwargs, plain, plain_kwargs, unions)


def _bound(arg: Any, values: dict[int, Value]) -> Any:
    """Returns an argument with values, data and sets, in place of references."""
    if isinstance(arg, Ref):
        return values[arg.index]
    if isinstance(arg, tuple):
        return tuple(_bound(item, values) for item in arg)
    return arg


def _describe(index: int, node: Node, value: Value) -> OperationFlow:
    if value.is_constant:
        return OperationFlow(index, node.op, "constant", True)
    return OperationFlow(index, node.op, "moves" if value.moves else "combines", value.exact)
