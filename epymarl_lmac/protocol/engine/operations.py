"""The operations a program may consist of: our own table from names to tensor operations.

A program file names operations; only names in this table mean anything. All are pure functions of their arguments.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

_ATEN = (
    "abs.default acos.default add.Tensor add.Scalar addmm.default alias.default all.default all.dim "
    "amax.default amin.default any.default any.dim any.dims arange.default arange.start arange.start_step "
    "argmax.default argmin.default asin.default atan.default atan2.default bitwise_and.Tensor "
    "bitwise_and.Scalar bitwise_not.default bitwise_or.Tensor bitwise_or.Scalar bitwise_xor.Tensor "
    "bmm.default cat.default ceil.default clamp.default clamp.Tensor clamp_min.default clamp_max.default "
    "clone.default constant_pad_nd.default copy.default cos.default cumprod.default cumsum.default "
    "detach.default diagonal.default div.Tensor div.Scalar div.Tensor_mode div.Scalar_mode eq.Tensor "
    "eq.Scalar erf.default exp.default expand.default expm1.default eye.default eye.m flip.default "
    "floor.default floor_divide.default fmod.Tensor fmod.Scalar full.default full_like.default "
    "gather.default ge.Tensor ge.Scalar gt.Tensor gt.Scalar hypot.default index.Tensor index_put.default "
    "index_select.default isfinite.default isinf.default isnan.default le.Tensor le.Scalar "
    "lift_fresh_copy.default linalg_vector_norm.default log.default log1p.default log2.default "
    "logical_and.default logical_not.default logical_or.default logical_xor.default lt.Tensor lt.Scalar "
    "masked_fill.Scalar masked_fill.Tensor max.default max.dim maximum.default mean.default mean.dim "
    "min.default min.dim minimum.default mm.default mul.Tensor mul.Scalar ne.Tensor ne.Scalar neg.default "
    "new_zeros.default new_ones.default new_full.default ones.default ones_like.default permute.default "
    "pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor prod.default prod.dim_int reciprocal.default "
    "relu.default remainder.Scalar remainder.Tensor repeat.default reshape.default roll.default "
    "round.default rsqrt.default rsub.Scalar scalar_tensor.default scatter.src scatter.value "
    "scatter_add.default select.int select_scatter.default sigmoid.default sign.default sin.default "
    "slice.Tensor slice_scatter.default _softmax.default _log_softmax.default sort.default sort.stable "
    "split.Tensor split_with_sizes.default sqrt.default square.default squeeze.dim squeeze.dims "
    "squeeze.default stack.default sub.Tensor sub.Scalar sum.default sum.dim_IntList sym_size.int "
    "t.default tan.default tanh.default _to_copy.default topk.default transpose.int tril.default "
    "triu.default trunc.default unbind.int unfold.default unsqueeze.default _unsafe_view.default "
    "var.correction view.default where.self where.ScalarOther where.ScalarSelf where.Scalar zeros.default "
    "zeros_like.default _cdist_forward.default embedding.default "
).split()

# Operations that make a tensor out of numbers and need to be told where.
FACTORIES = frozenset(
    f"aten.{name}"
    for name in [
        "arange.default",
        "arange.start",
        "arange.start_step",
        "eye.default",
        "eye.m",
        "full.default",
        "ones.default",
        "scalar_tensor.default",
        "zeros.default",
    ]
)


def _overload(name: str) -> Callable[..., Any]:
    packet, overload = name.split(".")
    return getattr(getattr(torch.ops.aten, packet), overload)


def _floordiv(a: Any, b: Any) -> Any:
    return a // b


TABLE: dict[str, Callable[..., Any]] = {f"aten.{name}": _overload(name) for name in _ATEN}
# Tracing notes a view where the traced strides allowed one; strides may differ here, and reshape means the same.
TABLE["aten.view.default"] = TABLE["aten._unsafe_view.default"] = torch.ops.aten.reshape.default
TABLE.update(
    {
        "sym.add": operator.add,
        "sym.sub": operator.sub,
        "sym.mul": operator.mul,
        "sym.floordiv": _floordiv,
        "getitem": operator.getitem,
    }
)

# The same operations as plain functions, which cost half as much to call; used where their first argument is a tensor.
DIRECT: dict[str, Callable[..., Any]] = {
    "aten.add.Tensor": torch.add,
    "aten.cat.default": torch.cat,
    "aten.div.Tensor": torch.div,
    "aten.expand.default": torch.Tensor.expand,
    "aten.index_select.default": torch.index_select,
    "aten.maximum.default": torch.maximum,
    "aten.minimum.default": torch.minimum,
    "aten.mul.Tensor": torch.mul,
    "aten.select.int": torch.select,
    "aten.sub.Tensor": torch.sub,
    "aten.sum.dim_IntList": torch.sum,
    "aten.sym_size.int": torch.Tensor.size,
    "aten.unsqueeze.default": torch.unsqueeze,
    "aten.view.default": torch.Tensor.reshape,
}

DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
