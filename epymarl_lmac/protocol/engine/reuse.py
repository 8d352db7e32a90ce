"""Saves copies: changes an array in place where a program asks for a changed copy and nothing needs the old array.

A protocol that fills parts of an array in place is traced into operations that each return a new array. Where the
old one is not read again, by itself or through a view, the change can be made in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from epymarl_lmac.protocol.engine.nodes import Node


def _slice_scatter(
    target: Tensor, source: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    torch.ops.aten.slice.Tensor(target, dim, start, end, step).copy_(source)
    return target


def _select_scatter(target: Tensor, source: Tensor, dim: int, index: int) -> Tensor:
    target.select(dim, index).copy_(source)
    return target


def _index_put(target: Tensor, indices: list[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    return torch.ops.aten.index_put_.default(target, indices, values, accumulate)


def _where(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    if no.dtype == yes.dtype and no.shape == torch.broadcast_shapes(mask.shape, yes.shape, no.shape):
        return torch.where(mask, yes, no, out=no)
    return torch.where(mask, yes, no)


def _written_already(target: Tensor, *_: object) -> Tensor:
    return target


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Returns what ``target`` would be after a copy into all of it: the source in its shape and type, not copied."""
    return source.to(target.dtype).expand(target.shape)


# operation -> (position of the argument that it may overwrite, the same in place)
IN_PLACE: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "aten.slice_scatter.default": (0, _slice_scatter),
    "aten.select_scatter.default": (0, _select_scatter),
    "aten.index_put.default": (0, _index_put),
    "aten.where.self": (2, _where),
}
COPY = "aten.copy.default"
# Views in which an element of memory may appear twice: nothing is written through them.
_OVERLAPPING = ("aten.expand.default", "aten.unfold.default", "aten.diagonal.default", COPY)


def _viewed(node: Node, function: Any) -> Sequence[int]:
    """Returns the operands whose memory the result may share, as the operation's own schema declares."""
    if node.op == "input":
        return ()
    if node.op == COPY:
        return node.refs[1:]
    schema = getattr(function, "_schema", None)
    if schema is None:
        return node.refs  # getitem and arithmetic of sizes
    return node.refs if any(result.alias_info is not None for result in schema.returns) else ()


class _Memory:
    """Who shares whose memory, and when it is read.

    Args:
        nodes: the operations.
        order: indices of those that run, in order.
        table: operations by name.
        varying: indices of values that are made anew in every run; others are kept and never written to.
        output: index of the result.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        order: Sequence[int],
        table: Mapping[str, Any],
        varying: Collection[int],
        output: int,
    ) -> None:
        self.nodes, self.varying = nodes, varying
        self.roots: dict[int, frozenset[int]] = {}  # value -> the values whose memory it may be
        self.overlapping: set[int] = set()
        self.readers: dict[int, list[int]] = {}  # root -> operations that read its memory, in order
        self.written: set[int] = set()  # roots whose memory another value has taken over
        for index in order:
            node = nodes[index]
            for root in {root for ref in node.refs for root in self.roots_of(ref)}:
                self.readers.setdefault(root, []).append(index)
            shared = _viewed(node, table.get(node.op))
            roots = frozenset(root for ref in shared for root in self.roots_of(ref))
            self.roots[index] = roots or frozenset([index])
            if node.op in _OVERLAPPING or any(ref in self.overlapping for ref in shared):
                self.overlapping.add(index)
        for root in self.roots.get(output, ()):  # a result that never varies has no memory here
            self.readers.setdefault(root, []).append(len(nodes))

    def roots_of(self, ref: int) -> frozenset[int]:
        """Returns the values in whose memory a value may lie."""
        return self.roots.get(ref, frozenset([ref]))

    def free_root(self, ref: int, index: int, others: Sequence[int], later: Sequence[int] = ()) -> int | None:
        """Returns whose memory an operation may write to through one of its operands; None if it may not.

        Args:
            ref: the operand.
            index: the operation.
            others: its other operands.
            later: operations that may still read the memory afterwards.
        """
        if ref not in self.varying or ref in self.overlapping or len(self.roots_of(ref)) != 1:
            return None
        (root,) = self.roots_of(ref)
        if root not in self.varying or root in self.overlapping or root in self.written:
            return None
        if self.nodes[root].op == "input" or any(root in self.roots_of(other) for other in others):
            return None
        after = [reader for reader in self.readers[root] if reader > index]
        return root if after == list(later) else None

    def put_back(self, index: int, ref: int) -> int | None:
        """Returns the operation that puts a changed part back where it was taken from, if that is all that follows.

        A text that fills a part of a part, ``o[:, 3][:, :5] = y``, is traced into taking the part, changing it, and
        putting it back.
        """
        part, readers = self.nodes[ref], self.readers.get(index, [])
        if part.op != "aten.select.int" or part.kwargs or len(readers) != 1 or readers[0] >= len(self.nodes):
            return None
        back = self.nodes[readers[0]]
        if back.op != "aten.select_scatter.default" or back.kwargs or len(back.args) != 4 or len(part.args) != 3:
            return None
        same_place = back.args[0] == part.args[0] and back.args[2:] == part.args[1:]
        return readers[0] if same_place and getattr(back.args[1], "index", None) == index else None


def overwritable(
    nodes: Sequence[Node],
    order: Sequence[int],
    table: Mapping[str, Any],
    varying: Collection[int],
    output: int,
) -> dict[int, Callable[..., Tensor]]:
    """Returns the operations that may write into their operand, or need not copy, with the function that does.

    Arguments are those of ``_Memory``.
    """
    memory = _Memory(nodes, order, table, varying, output)
    found: dict[int, Callable[..., Tensor]] = {}
    for index in order:
        node = nodes[index]
        if node.op == COPY and not node.kwargs:
            found[index] = _copy
        if node.op not in IN_PLACE or node.kwargs or index in found:
            continue
        position, function = IN_PLACE[node.op]
        ref = getattr(node.args[position], "index", None)
        others = [r for r in node.refs if r != ref]
        if ref is None or node.refs.count(ref) != 1:
            continue
        root = memory.free_root(ref, index, others)
        if root is None and (back := memory.put_back(index, ref)) is not None:
            root = memory.free_root(ref, index, others, later=[back])
            if root is not None:
                found[back] = _written_already
        if root is not None:
            found[index] = function
            memory.written.add(root)
    return found
