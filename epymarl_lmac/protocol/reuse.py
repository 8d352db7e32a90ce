"""Writes into memory that nothing else needs, where an operation's text asked for a copy with a change.

A protocol that fills parts of an array in place is traced into operations that each return a new array. Where the
old one is not read again, by itself or through a view, the change can be made in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def _slice_scatter(target: Tensor, source: Tensor, dim: int = 0, start=None, end=None, step: int = 1) -> Tensor:
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


# operation -> (position of the argument that it may overwrite, the same in place)
IN_PLACE: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "aten.slice_scatter.default": (0, _slice_scatter),
    "aten.select_scatter.default": (0, _select_scatter),
    "aten.index_put.default": (0, _index_put),
    "aten.where.self": (2, _where),
}
# Views in which an element of memory may appear twice: nothing is written through them.
_OVERLAPPING = ("aten.expand.default", "aten.unfold.default", "aten.diagonal.default")


def _viewed(op: str, function: Any, refs: Sequence[int]) -> Sequence[int]:
    """Returns the operands whose memory the result may share, as the operation's own schema declares."""
    schema = getattr(function, "_schema", None)
    if schema is None:
        return refs  # getitem and arithmetic of sizes
    return refs if any(result.alias_info is not None for result in schema.returns) else ()


def overwritable(
    nodes: Sequence[Any],
    order: Sequence[int],
    table: Mapping[str, Any],
    varying: Collection[int],
    output: int,
) -> dict[int, Callable[..., Tensor]]:
    """Returns the operations that may write into their operand, with the function that does.

    Args:
        nodes: the operations; each has ``op``, ``args`` and ``refs``.
        order: indices of those that run, in order.
        table: operations by name.
        varying: indices of values that are made anew in every run; others are kept and never written to.
        output: index of the result.
    """
    owner: dict[int, frozenset[int]] = {}  # value -> the values whose memory it may be
    overlapping: set[int] = set()
    last_read: dict[int, int] = {}  # owner -> last operation that reads its memory
    for index in order:
        node = nodes[index]
        for ref in node.refs:
            for root in owner.get(ref, frozenset([ref])):
                last_read[root] = index
        shared = _viewed(node.op, table.get(node.op), node.refs) if node.op != "input" else ()
        roots = frozenset(root for ref in shared for root in owner.get(ref, frozenset([ref])))
        owner[index] = roots or frozenset([index])
        if node.op in _OVERLAPPING or any(ref in overlapping for ref in shared):
            overlapping.add(index)
    for root in owner.get(output, ()):  # a result that never varies has no owner here
        last_read[root] = len(nodes)
    found: dict[int, Callable[..., Tensor]] = {}
    handed_on: dict[int, int] = {}  # a value whose memory another one has taken over

    def is_free(ref: int, index: int, others: Sequence[int]) -> bool:
        if ref not in varying or ref in overlapping or len(owner[ref]) != 1:
            return False
        (root,) = owner[ref]
        made_here = root in varying and nodes[root].op != "input" and root not in handed_on
        used_otherwise = any(root in owner.get(other, frozenset([other])) for other in others)
        return made_here and last_read[root] == index and not used_otherwise

    for index in order:
        node = nodes[index]
        if node.op not in IN_PLACE or node.kwargs:
            continue
        position, function = IN_PLACE[node.op]
        target = node.args[position]
        ref = getattr(target, "index", None)
        others = [r for r in node.refs if r != ref]
        if ref is not None and node.refs.count(ref) == 1 and is_free(ref, index, others):
            (root,) = owner[ref]
            if root != ref and nodes[root].op in _OVERLAPPING:
                continue
            found[index] = function
            handed_on[root] = index
    return found
