"""What a program computes once: the results that depend neither on its input nor on the batch size.

They are computed when a plan is made, each within a limit of bytes that is checked before it is there, and those that
no run reads are freed after their last use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.engine.nodes import Node, substitute
from epymarl_lmac.protocol.engine.operations import FACTORIES, TABLE

MEMORY_BYTES = 4 * 2**30  # that a program may use, unless a budget says otherwise
_SIZED = FACTORIES | {
    f"aten.{name}.default" for name in ("new_zeros", "new_ones", "new_full", "expand", "repeat", "constant_pad_nd")
}
_PRODUCTS = frozenset(
    f"aten.{name}"
    for name in (
        "index.Tensor index_select.default gather.default embedding.default mm.default bmm.default addmm.default "
        "_cdist_forward.default"
    ).split()
)
_BYTES = 8 * 2  # of an element at most, and results of an operation at most (a value and its place)


class TooMuchMemory(BundleError):
    """A program's constants need more memory than a program may use."""


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Returns the tensors in a value, which may be a list or a tuple."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_of(item)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)


def _bytes_at_most(op: str, args: tuple[Any, ...]) -> float:
    """Returns a bound on the bytes of an operation's result that costs nothing to compute."""
    tensors = list(tensors_of(args))
    sizes = [tensor.numel() for tensor in tensors]
    if op in _SIZED:
        numbers = [math.inf if isinstance(n, float) else abs(n) + 1.0 for n in _numbers(args)]
        power = 2 if op == "aten.eye.default" else 1
        return _BYTES * math.prod(numbers) ** power * math.prod(sizes)
    if op in _PRODUCTS:
        return _BYTES * math.prod(float(size) for size in sizes)
    try:
        broadcast = math.prod(torch.broadcast_shapes(*(tensor.shape for tensor in tensors)))
    except RuntimeError:
        broadcast = 0  # of an operation that joins its arguments or writes one into the other
    return _BYTES * max(broadcast, sum(sizes))


def exact_bytes(function: Callable[..., Any], args: tuple[Any, ...], keywords: Mapping[str, Any]) -> float:
    """Returns the bytes of an operation's result without computing it; 0 if only the values tell its size.

    This loads PyTorch's compiler, so it is left to results that may be large.
    """
    empty: dict[int, Tensor] = {}

    def without_data(value: Any) -> Any:
        if isinstance(value, Tensor):
            found = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
            return empty.setdefault(id(value), found)
        if isinstance(value, (list, tuple)):
            return type(value)(without_data(item) for item in value)
        return value

    named = {key: without_data(value) for key, value in keywords.items()}
    if "device" in named:
        named["device"] = "meta"
    try:
        result = function(*without_data(args), **named)
    except RuntimeError:  # also of operations without such a form
        return 0.0
    given = {tensor.untyped_storage()._cdata for tensor in empty.values()}
    storages = [tensor.untyped_storage() for tensor in tensors_of(result)]
    return float(sum({s._cdata: s.nbytes() for s in storages if s._cdata not in given}.values()))


class _Storages:
    """Counts the bytes behind values, views counted once."""

    def __init__(self) -> None:
        self.bytes = 0
        self._users: dict[int, int] = {}

    def change(self, value: Any, by: int) -> None:
        """Adds a value (1) or takes it away (-1)."""
        for tensor in tensors_of(value):
            storage = tensor.untyped_storage()
            before = self._users.get(storage._cdata, 0)
            self._users[storage._cdata] = before + by
            if not before or not before + by:
                self.bytes += by * storage.nbytes()


def constant_values(
    nodes: Sequence[Node],
    constant: Collection[int],
    kept: Collection[int],
    constants: Mapping[str, Tensor],
    keywords_of: Callable[[Node, Mapping[int, Any]], dict[str, Any]],
    device: torch.device,
    limit: int,
) -> list[Any]:
    """Returns a value for every operation that is kept, None for all others.

    Args:
        nodes: the operations.
        constant: indices of those to compute.
        kept: indices of those whose results are read later.
        constants: tensors by name.
        keywords_of: returns an operation's keywords, given the values that it reads.
        device: where the values are.
        limit: bytes that they may have at the same time.

    Raises:
        TooMuchMemory: they would have more; the one that is too much is not computed.
    """
    values: list[Any] = [None] * len(nodes)
    order = sorted(constant)
    last_use = {ref: index for index in order for ref in nodes[index].refs}
    storages = _Storages()
    for index in order:
        node = nodes[index]
        if node.op == "constant":
            values[index] = constants[node.args[0]].to(device)
        else:
            known = {ref: values[ref] for ref in node.refs}
            args, keywords = substitute(node.args, known), keywords_of(node, known)
            room = limit - storages.bytes
            if _bytes_at_most(node.op, (args, tuple(keywords.values()))) > room:
                needed = exact_bytes(TABLE[node.op], args, keywords)
                if needed > room:
                    raise _too_much(index, node.op, storages.bytes + needed, limit)
            values[index] = TABLE[node.op](*args, **keywords)
        storages.change(values[index], 1)
        if storages.bytes > limit:
            raise _too_much(index, node.op, storages.bytes, limit)
        for ref in {index, *node.refs}:
            if ref not in kept and last_use.get(ref, index) == index:
                storages.change(values[ref], -1)
                values[ref] = None
    return values


def _too_much(index: int, op: str, needed: float, limit: int) -> TooMuchMemory:
    return TooMuchMemory(
        f"the constants of the program need {needed / 2**20:,.0f} MiB at operation {index} ({op}); at most "
        f"{limit / 2**20:,.0f} MiB of memory are accepted. Make smaller constant tensors."
    )
