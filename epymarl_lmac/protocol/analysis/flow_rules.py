"""How every operation of the table passes on sets of input elements; see ``flow.py``.

Every rule computes the operation's value for one episode (constants are right, the rest only gives shapes and types)
and, beside it, an array of set numbers of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epymarl_lmac.protocol.analysis.sets import Unions
from epymarl_lmac.protocol.engine.operations import TABLE

CHUNK = 4_000_000  # numbers in one temporary of a matrix product


@dataclass(frozen=True)
class Value:
    """A result: its data for one episode, and the set of every element (None for what is no tensor)."""

    data: Any
    ids: Any  # int64 array, list of arrays, or None
    moves: bool = False
    exact: bool = True

    @staticmethod
    def constant(data: Any) -> Value:
        """Returns a value that depends on nothing."""
        if isinstance(data, Tensor):
            return Value(data, np.zeros(tuple(data.shape), dtype=np.int64), moves=True)
        if isinstance(data, (list, tuple)) and data and isinstance(data[0], Tensor):
            return Value(data, [np.zeros(tuple(d.shape), dtype=np.int64) for d in data], moves=True)
        return Value(data, None, moves=True)

    @property
    def is_constant(self) -> bool:
        """Returns whether it depends on nothing."""
        if self.ids is None:
            return True
        parts = self.ids if isinstance(self.ids, list) else [self.ids]
        return not any(part.any() for part in parts)


Rule = Callable[[str, tuple, dict, list, dict, Unions], Value]


def _run(op: str, plain: Sequence[Any], plain_kwargs: dict[str, Any]) -> Any:
    return TABLE[op](*plain, **plain_kwargs)


def _ids(arg: Any) -> np.ndarray:
    """Returns the sets of an operand; numbers have none."""
    return arg.ids if isinstance(arg, Value) and isinstance(arg.ids, np.ndarray) else np.zeros((), dtype=np.int64)


def _data(arg: Any) -> np.ndarray:
    value = arg.data if isinstance(arg, Value) else arg
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


def _values(args: Any) -> list[Value]:
    if isinstance(args, Value):
        return [args]
    if isinstance(args, (tuple, list)):
        return [value for item in args for value in _values(item)]
    if isinstance(args, dict):
        return _values(tuple(args.values()))
    return []


def _shape(data: Any) -> tuple[int, ...]:
    return tuple(data.shape)


def _union(unions: Unions, arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Returns the elementwise union of arrays broadcast to a shape."""
    arrays = [np.broadcast_to(a, shape) for a in arrays if a.any()]
    if not arrays:
        return np.zeros(shape, dtype=np.int64)
    if len(arrays) == 1:
        return np.array(arrays[0])
    return unions.rows(np.stack([a.reshape(-1) for a in arrays], axis=1)).reshape(shape)


def _constant(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    """Values that need at most the shape of their operands."""
    return Value.constant(_run(op, plain, plain_kwargs))


def _move(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    """The same operation on set numbers."""

    def ids_of(arg: Any) -> Any:
        if isinstance(arg, Value):
            if isinstance(arg.ids, list):
                return [torch.from_numpy(part) for part in arg.ids]
            return arg.data if arg.ids is None else torch.from_numpy(arg.ids)
        return [ids_of(item) for item in arg] if isinstance(arg, tuple) else arg

    data = _run(op, plain, plain_kwargs)
    shifted = [ids_of(arg) for arg in args]
    keywords = {k: ids_of(v) for k, v in kwargs.items() if k not in ("dtype", "memory_format", "value")}
    if op == "aten.constant_pad_nd.default":
        shifted = shifted[:2]
    moved = TABLE[op](*shifted, **keywords)
    if isinstance(data, (list, tuple)):
        ids: Any = [np.array(part.numpy()) for part in moved]
    else:
        ids = np.array(moved.numpy()) if isinstance(data, Tensor) else None
    return Value(data, ids, moves=True)


def _elementwise(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    data = _run(op, plain, plain_kwargs)
    arrays = [_ids(value) for value in _values((args, kwargs))]
    return Value(data, _union(unions, arrays, _shape(data)))


def _decided(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    """Products and logical operations: a constant operand may decide the result alone."""
    data = _run(op, plain, plain_kwargs)
    a, b = args[0], args[1]
    disjunction = "_or" in op
    boolean = not isinstance(data, Tensor) or data.dtype == torch.bool
    ids = _union(unions, [_ids(a), _ids(b)], _shape(data))
    if not disjunction or boolean:
        for side in (a, b):
            decides = (_ids(side) == 0) & ((_data(side) != 0) == disjunction)
            ids[np.broadcast_to(decides, ids.shape)] = 0
    return Value(data, ids)


def _where(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    data = _run(op, plain, plain_kwargs)
    return _chosen(unions, args[0], _ids(args[1]), _ids(args[2]), data)


def _masked_fill(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    data = _run(op, plain, plain_kwargs)
    return _chosen(unions, args[1], _ids(args[2]), _ids(args[0]), data)


def _chosen(unions: Unions, mask: Value, yes: np.ndarray, no: np.ndarray, data: Tensor) -> Value:
    """A choice by a mask; where the mask is constant, one side is all there is."""
    shape = _shape(data)
    fixed = np.broadcast_to(_ids(mask) == 0, shape)
    truth = np.broadcast_to(_data(mask) != 0, shape)
    yes = np.where(fixed & ~truth, 0, np.broadcast_to(yes, shape))
    no = np.where(fixed & truth, 0, np.broadcast_to(no, shape))
    return Value(data, _union(unions, [_ids(mask), yes, no], shape), moves=bool(fixed.all()))


def _axes(op: str, plain: Sequence[Any], plain_kwargs: dict[str, Any], ndim: int) -> tuple[int, ...]:
    """Returns the reduced dimensions; all of them if none are named."""
    if op.endswith(".default") and not any(name in op for name in ("amax", "amin", "arg", "norm")):
        return tuple(range(ndim))
    position = 2 if "norm" in op else 1
    dim = plain_kwargs.get("dim", plain[position] if len(plain) > position else None)
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return tuple(range(ndim))
    return tuple(dim) if isinstance(dim, (list, tuple)) else (dim,)


def _reduce(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    data = _run(op, plain, plain_kwargs)
    source = args[0]
    axes = _axes(op, plain, plain_kwargs, source.ids.ndim)
    ids = unions.over(source.ids, axes)
    name = op.split(".")[1]
    if name in ("any", "all", "prod") and source.ids.ndim:
        decides = (source.ids == 0) & ((_data(source) != 0) == (name == "any"))
        ids = np.where(decides.any(axis=tuple(axis % decides.ndim for axis in axes), keepdims=True), 0, ids)
    if isinstance(data, (list, tuple)):
        return Value(list(data), [ids.reshape(_shape(part)) for part in data])
    return Value(data, ids.reshape(_shape(data)))


def _scan(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    data = _run(op, plain, plain_kwargs)
    ids = args[0].ids
    return Value(data, unions.prefixes(ids, plain_kwargs.get("dim", plain[1])) if ids.ndim else ids)


def _along(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    """Every place of a dimension depends on all places of it: softmax, sort, topk."""
    data = _run(op, plain, plain_kwargs)
    source, softmax = args[0], "softmax" in op
    position = 1 if softmax or op == "aten.sort.default" else 2
    dim = plain_kwargs.get("dim", plain[position] if len(plain) > position and op != "aten.sort.stable" else -1)
    if source.ids.ndim == 0:
        ids = source.ids
    else:
        ids = unions.over(source.ids, (dim,))
    if not softmax:
        return Value(list(data), [np.array(np.broadcast_to(ids, _shape(part))) for part in data])
    ids = np.array(np.broadcast_to(ids, _shape(data)))
    ids[(source.ids == 0) & np.isneginf(_data(source))] = 0  # masked out for good
    return Value(data, ids)


def _matmul(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    data = _run(op, plain, plain_kwargs)
    bias = None
    if op == "aten.addmm.default":
        bias, args = args[0], args[1:]
    a, b = args[0], args[1]
    a_ids, a_data, b_ids, b_data = _ids(a), _data(a), _ids(b), _data(b)
    if "cdist" in op:
        a_zero = np.zeros(a_ids.shape, dtype=bool)
        b_ids, b_zero = np.swapaxes(b_ids, -1, -2), np.zeros(b_ids.swapaxes(-1, -2).shape, dtype=bool)
    else:
        a_zero, b_zero = (a_ids == 0) & (a_data == 0), (b_ids == 0) & (b_data == 0)
    lead = np.broadcast_shapes(a_ids.shape[:-2], b_ids.shape[:-2])
    batch = int(np.prod(lead, dtype=np.int64))

    def flat(array: np.ndarray) -> np.ndarray:
        return np.broadcast_to(array, (*lead, *array.shape[-2:])).reshape(batch, *array.shape[-2:])

    sides = (flat(a_ids), flat(a_zero), flat(b_ids), flat(b_zero))
    parts = [_product(unions, *(side[i] for side in sides)) for i in range(batch)]
    ids = np.stack(parts).reshape(*lead, a_ids.shape[-2], b_ids.shape[-1]).reshape(_shape(data))
    return Value(data, _union(unions, [ids, _ids(bias)], _shape(data)))


def _product(unions: Unions, a: np.ndarray, a_zero: np.ndarray, b: np.ndarray, b_zero: np.ndarray) -> np.ndarray:
    """Returns the sets of (I, K) times (K, J); factors that are always 0 cut their partners."""
    rows, row_of = np.unique(np.where(a_zero, -1, a), axis=0, return_inverse=True)
    columns, column_of = np.unique(np.where(b_zero, -1, b).T, axis=0, return_inverse=True)
    out = np.zeros((len(rows), len(columns)), dtype=np.int64)
    step = max(1, CHUNK // max(1, 2 * columns.size))
    for cut in range(0, len(rows), step):
        left, right = np.broadcast_arrays(rows[cut : cut + step, None, :], columns[None])
        dead = (left < 0) | (right < 0)
        both = np.concatenate([np.where(dead, 0, left), np.where(dead, 0, right)], axis=-1)
        out[cut : cut + step] = unions.rows(both.reshape(-1, both.shape[-1])).reshape(both.shape[:2])
    return out[row_of.reshape(-1)][:, column_of.reshape(-1)]


def _indexed(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    """Reading at indices: constant ones move, others may read any place of the dimensions they index."""
    data = _run(op, plain, plain_kwargs)
    source = args[0]
    name = op.split(".")[1]
    indices = args[1] if name == "index" else (args[1] if name == "embedding" else args[2],)
    indices = indices if isinstance(indices, tuple) else (indices,)
    if all(index is None or not index.ids.any() for index in indices):
        moved = TABLE[op](torch.from_numpy(source.ids), *plain[1:], **plain_kwargs)
        return Value(data, np.array(moved.numpy()), moves=True)
    dims = [i for i, index in enumerate(indices) if index is not None] if name == "index" else [0]
    dims = [plain[1] % source.ids.ndim] if name in ("gather", "index_select") else dims
    pooled = np.array(np.broadcast_to(unions.over(source.ids, tuple(dims)), source.ids.shape))
    read = TABLE[op](torch.from_numpy(pooled), *plain[1:], **plain_kwargs).numpy()
    if name == "gather":
        chosen = indices[0].ids
    elif name == "index_select":
        shape = [1] * source.ids.ndim
        shape[dims[0]] = -1
        chosen = indices[0].ids.reshape(shape)
    elif name == "embedding":
        chosen = indices[0].ids[..., None]
    else:
        chosen = _placed(unions, source, indices, dims)
    return Value(data, _union(unions, [read, chosen], _shape(data)), exact=False)


def _placed(unions: Unions, source: Value, indices: Sequence[Any], dims: list[int]) -> np.ndarray:
    """Returns the sets of the indices of ``index.Tensor``, at the places of the result."""
    shape = np.broadcast_shapes(*(indices[d].ids.shape for d in dims))
    sets = _union(unions, [indices[d].ids for d in dims], shape)
    numbers = torch.arange(sets.size).reshape(shape)
    sizes = [1 if d in dims else size for d, size in enumerate(source.ids.shape)]
    sizes[dims[0]] = sets.size
    line = [1] * len(sizes)
    line[dims[0]] = sets.size
    base = torch.arange(sets.size).reshape(line).expand(sizes)
    lookup = [None if i is None else (numbers if d == dims[0] else numbers * 0) for d, i in enumerate(indices)]
    return sets.reshape(-1)[torch.ops.aten.index.Tensor(base, lookup).numpy()]


def _scatter(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    """Writing at indices along one dimension."""
    data = _run(op, plain, plain_kwargs)
    target, index = args[0], args[2]
    dim = plain[1] % max(1, target.ids.ndim)
    cut = tuple(slice(0, size) for size in index.ids.shape)
    source = args[3].ids[cut] if isinstance(args[3], Value) and args[3].ids is not None else np.zeros_like(index.ids)
    if index.ids.any():
        written = unions.over(_union(unions, [index.ids, source], index.ids.shape), (dim,))
        widened = np.zeros(target.ids.shape, dtype=np.int64)
        widened[tuple(slice(None) if d == dim else s for d, s in enumerate(cut))] = written
        return Value(data, _union(unions, [target.ids, widened], target.ids.shape), exact=False)
    ids, where = torch.from_numpy(target.ids.copy()), plain[2]
    if op != "aten.scatter_add.default":
        moved = torch.scatter(ids, dim, where, torch.from_numpy(np.ascontiguousarray(source)))
        return Value(data, moved.numpy(), moves=True)
    for j in range(where.shape[dim]):
        place = where.narrow(dim, j, 1)
        before = torch.gather(ids, dim, place).numpy()
        after = _union(unions, [before, np.take(source, [j], axis=dim)], before.shape)
        ids = torch.scatter(ids, dim, place, torch.from_numpy(after))
    return Value(data, ids.numpy())


def _index_put(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    accumulate = (len(plain) > 3 and plain[3]) or plain_kwargs.get("accumulate", False)
    if accumulate or any(index is not None and index.ids.any() for index in args[1]):
        return _anything(op, args, kwargs, plain, plain_kwargs, unions)
    data = _run(op, plain, plain_kwargs)
    moved = TABLE[op](torch.from_numpy(args[0].ids), plain[1], torch.from_numpy(args[2].ids))
    return Value(data, moved.numpy(), moves=True)


def _anything(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    """Every element depends on every element of every operand."""
    data = _run(op, plain, plain_kwargs)
    every = np.concatenate([value.ids.reshape(-1) for value in _values((args, kwargs)) if value.ids is not None])
    return Value(data, np.full(_shape(data), unions.rows(every[None])[0]), exact=False)


_GROUPS: list[tuple[Rule, str]] = [
    (
        _constant,
        "arange.default arange.start arange.start_step eye.default eye.m full.default full_like.default "
        "new_zeros.default new_ones.default new_full.default ones.default ones_like.default scalar_tensor.default "
        "sym_size.int zeros.default zeros_like.default ",
    ),
    (
        _move,
        "alias.default cat.default clone.default constant_pad_nd.default copy.default detach.default diagonal.default "
        "expand.default flip.default lift_fresh_copy.default permute.default repeat.default reshape.default "
        "roll.default select.int select_scatter.default slice.Tensor slice_scatter.default split.Tensor "
        "split_with_sizes.default squeeze.dim squeeze.dims squeeze.default stack.default t.default _to_copy.default "
        "transpose.int tril.default triu.default unbind.int unfold.default unsqueeze.default _unsafe_view.default "
        "view.default ",
    ),
    (
        _decided,
        "mul.Tensor mul.Scalar bitwise_and.Tensor bitwise_and.Scalar bitwise_or.Tensor bitwise_or.Scalar "
        "logical_and.default logical_or.default ",
    ),
    (_where, "where.self where.ScalarOther where.ScalarSelf where.Scalar "),
    (_masked_fill, "masked_fill.Scalar masked_fill.Tensor "),
    (
        _reduce,
        "all.default all.dim amax.default amin.default any.default any.dim any.dims argmax.default argmin.default "
        "linalg_vector_norm.default max.default max.dim mean.default mean.dim min.default min.dim prod.default "
        "prod.dim_int sum.default sum.dim_IntList var.correction ",
    ),
    (_scan, "cumprod.default cumsum.default "),
    (_along, "_softmax.default _log_softmax.default sort.default sort.stable topk.default "),
    (_matmul, "addmm.default bmm.default mm.default _cdist_forward.default "),
    (_indexed, "gather.default index.Tensor index_select.default embedding.default "),
    (_scatter, "scatter.src scatter.value scatter_add.default "),
    (_index_put, "index_put.default "),
    (
        _elementwise,
        "abs.default acos.default add.Tensor add.Scalar asin.default atan.default atan2.default bitwise_not.default "
        "bitwise_xor.Tensor ceil.default clamp.default clamp.Tensor clamp_min.default clamp_max.default cos.default "
        "div.Tensor div.Scalar div.Tensor_mode div.Scalar_mode eq.Tensor eq.Scalar erf.default exp.default "
        "expm1.default floor.default floor_divide.default fmod.Tensor fmod.Scalar ge.Tensor ge.Scalar gt.Tensor "
        "gt.Scalar hypot.default isfinite.default isinf.default isnan.default le.Tensor le.Scalar log.default "
        "log1p.default log2.default logical_not.default logical_xor.default lt.Tensor lt.Scalar maximum.default "
        "minimum.default ne.Tensor ne.Scalar neg.default pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor "
        "reciprocal.default relu.default remainder.Scalar remainder.Tensor round.default rsqrt.default rsub.Scalar "
        "sigmoid.default sign.default sin.default sqrt.default square.default sub.Tensor sub.Scalar tan.default "
        "tanh.default trunc.default ",
    ),
]
# An operation that has no group yet is read as the worst case.
RULES: dict[str, Rule] = {op: _anything for op in TABLE if op.startswith("aten.")}
RULES |= {f"aten.{name}": rule for rule, names in _GROUPS for name in names.split()}
RULES |= {op: _constant for op in TABLE if op.startswith("sym.")}


def _getitem(op, args, kwargs, plain, plain_kwargs, unions) -> Value:
    source, position = args[0], plain[1]
    if isinstance(source.ids, list):
        return Value(source.data[position], source.ids[position], moves=True)
    return Value.constant(source.data[position])


RULES["getitem"] = _getitem
