"""How a program is run: its operations in order, each bound to a function and to the results that it reads.

What depends neither on the input nor on the batch size is computed once (``constant_values.py``), equal operations are
merged, and what the result does not need is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from epymarl_lmac.protocol.engine.constant_values import MEMORY_BYTES, constant_values
from epymarl_lmac.protocol.engine.nodes import Node, Ref, merge_equal, needed, refs_of, varying
from epymarl_lmac.protocol.engine.operations import DIRECT, FACTORIES, TABLE
from epymarl_lmac.protocol.engine.reuse import overwritable

FEW_ROWS = 24  # of the last dimension, general indexing is faster beyond


class Step(NamedTuple):
    """One operation of a plan."""

    result: int  # its index
    function: Callable[..., Any]
    refs: tuple[int, ...] | None  # results that are its first arguments; None if results stand elsewhere
    rest: tuple[Any, ...]  # arguments after these
    keywords: dict[str, Any]
    dead: list[int]  # results that are not needed afterwards

    def apply(self, values: list[Any]) -> Any:
        """Returns its result, given all results so far."""
        if self.refs is not None:
            return self.function(*(values[ref] for ref in self.refs), *self.rest)
        if not self.keywords:
            return self.function(*_fill(self.rest, values))
        keywords = dict(zip(self.keywords, _fill(tuple(self.keywords.values()), values), strict=True))
        return self.function(*_fill(self.rest, values), **keywords)


class Plan:
    """Operations in order, for one output, on one device.

    Args:
        nodes: the operations.
        output: index of the result.
        constants: tensors by name.
        device: where it runs.
        constant_bytes: that what never changes may have.

    Raises:
        TooMuchMemory: it has more.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        output: int,
        constants: Mapping[str, Tensor],
        device: str | torch.device,
        constant_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.device = torch.device(device)
        nodes, self.output = merge_equal(nodes, output)
        wanted, changing = needed(nodes, self.output), varying(nodes)
        self.input_index = next((index for index, node in enumerate(nodes) if node.op == "input"), -1)
        order = sorted(wanted & changing)
        read = {self.output, *(ref for index in order for ref in nodes[index].refs)}
        # Values of operations, None for those that are computed in every run, or that no run reads.
        self.values = constant_values(
            nodes, wanted - changing, read, constants, self._keywords, self.device, constant_bytes
        )
        self.steps = self._steps(nodes, order, changing)

    def _keywords(self, node: Node, known: Mapping[int, Any]) -> dict[str, Any]:
        """Returns an operation's keywords with known values in place of references, and its device where it has one."""
        keywords = {key: _bind(value, known) for key, value in node.kwargs}
        return {**keywords, "device": self.device} if node.op in FACTORIES else keywords

    def _steps(self, nodes: Sequence[Node], order: Sequence[int], changing: Collection[int]) -> list[Step]:
        """Returns what every run computes.

        Args:
            nodes: the operations.
            order: indices of those that run, in order.
            changing: indices of those whose result depends on the input or on the batch size.
        """
        in_place = overwritable(nodes, order, TABLE, changing, self.output)
        last_use = {ref: index for index in order for ref in nodes[index].refs}
        steps = []
        for index in order:
            node = nodes[index]
            if node.op == "input":
                continue
            dead = [r for r in set(node.refs) if r in changing and last_use[r] == index and r != self.output]
            steps.append(self._step(index, node, in_place.get(index), changing, dead))
        return steps

    def _step(
        self,
        index: int,
        node: Node,
        in_place: Callable[..., Tensor] | None,
        changing: Collection[int],
        dead: list[int],
    ) -> Step:
        """Returns one operation, bound to its function and to all arguments that never change."""
        fixed = {ref: self.values[ref] for ref in node.refs if ref not in changing}
        bound = tuple(_bind(arg, fixed) for arg in node.args)
        keywords = self._keywords(node, fixed)
        function, args = _fastest(node.op, bound, keywords, in_place)
        n_first = next((i for i, arg in enumerate(args) if type(arg) is not Ref), len(args))
        if keywords or refs_of(args[n_first:]):
            return Step(index, function, None, args, keywords, dead)
        return Step(index, function, tuple(refs_of(args[:n_first])), args[n_first:], {}, dead)

    def run(self, o: Tensor) -> Tensor:
        """Returns the result for an input (B, N, D) or (B, L, N, D)."""
        values = self.values.copy()
        if self.input_index >= 0:
            values[self.input_index] = o
        for step in self.steps:
            result, function, refs, rest, _, dead = step
            if refs is not None and len(refs) == 1:  # most operations are of these two kinds, which save a call
                values[result] = function(values[refs[0]], *rest)
            elif refs is not None and len(refs) == 2:
                values[result] = function(values[refs[0]], values[refs[1]], *rest)
            else:
                values[result] = step.apply(values)
            for ref in dead:
                values[ref] = None
        return values[self.output]


def _fastest(
    op: str, args: tuple[Any, ...], keywords: Mapping[str, Any], in_place: Callable[..., Tensor] | None
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Returns the fastest function that computes an operation, and its arguments.

    Args:
        op: name of the operation.
        args: its arguments, references where they change from run to run.
        keywords: its keywords.
        in_place: function that writes into an operand which nothing else reads, if there is one.
    """
    function = getattr(TABLE[op], "_op", TABLE[op])  # the operation without its Python wrapper
    if keywords:
        return function, args
    if op == "aten.sub.Tensor" and isinstance(args[0], (int, float)):
        return torch.rsub, (args[1], args[0])  # no tensor is made of the number
    if args and type(args[0]) in (Ref, tuple):
        function = in_place or DIRECT.get(op, function)
        if op == "aten.index.Tensor":
            function = _few_rows(args) or function
    return function, args


def _few_rows(args: tuple[Any, ...]) -> Callable[[Tensor, Any], Tensor] | None:
    """Returns a function that takes a few known rows of one dimension, faster than general indexing.

    Args:
        args: of the indexing operation.

    Returns:
        None where the operation takes anything else.
    """
    if len(args) != 2 or type(args[1]) is not tuple:
        return None
    given = [(dim, rows) for dim, rows in enumerate(args[1]) if rows is not None]
    if len(given) != 1 or not isinstance(given[0][1], Tensor):
        return None
    dim, rows = given[0]
    if rows.dtype != torch.int64 or rows.dim() != 1 or not 0 < len(rows) <= FEW_ROWS or bool((rows < 0).any()):
        return None
    return lambda target, indices: target.index_select(dim, rows)


def _bind(value: Any, fixed: Mapping[int, Any]) -> Any:
    """Puts known values in place of references."""
    if isinstance(value, Ref):
        return fixed.get(value.index, value)
    if isinstance(value, tuple):
        return tuple(_bind(item, fixed) for item in value)
    return value


def _fill(given: tuple[Any, ...], values: list[Any]) -> list[Any]:
    """Returns arguments with results in place of references."""
    return [
        values[arg.index] if type(arg) is Ref else _fill(arg, values) if type(arg) is tuple else arg for arg in given
    ]
