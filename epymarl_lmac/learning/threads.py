"""Shares of an update's rows, worked off by threads at the same time.

A thread leads its rows through all layers, so that threads meet once a network and pass, not once a matrix product.
Compiled loops and matrix products run without Python's lock. How many threads there are is chosen with the library of
the products (``products.py``).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

S = TypeVar("S")
T = TypeVar("T")

SMALLEST_SHARE = 256  # rows; with fewer, threads that wait for each other cost more than they save

_n_threads = 1
_pool: ThreadPoolExecutor | None = None
_here = threading.local()  # has is_busy while this thread works on a share


def use(n_threads: int) -> None:
    """Chooses how many threads this process's updates have, the calling one included."""
    global _n_threads, _pool
    if _pool is not None:
        _pool.shutdown()
    _n_threads = n_threads
    one_each = partial(torch.set_num_threads, 1)  # for PyTorch's operations, which every thread sets for itself
    _pool = ThreadPoolExecutor(n_threads - 1, "update", one_each) if n_threads > 1 else None


def count() -> int:
    """Returns how many threads share out rows."""
    return _n_threads


def shares(n_rows: int) -> list[slice]:
    """Returns neighbouring rows of nearly equal number for every thread; all in one on a thread that has a share."""
    n = 1 if getattr(_here, "is_busy", False) else max(1, min(_n_threads, n_rows // SMALLEST_SHARE))
    bounds = [n_rows * k // n for k in range(n + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def run(work: Callable[[S], T], parts: Sequence[S]) -> list[T]:
    """Returns ``work`` of every part, in order; all are worked on at the same time, the first on the calling thread.

    Nothing that is done there is recorded for gradients.
    """
    mode = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad  # every thread has its own
    if len(parts) == 1:
        return [_busy(work, parts[0], mode)]
    assert _pool is not None
    others = [_pool.submit(_busy, work, part, mode) for part in parts[1:]]
    return [_busy(work, parts[0], mode), *(other.result() for other in others)]


def _busy(work: Callable[[S], T], part: S, mode: Callable[..., Any]) -> T:
    _here.is_busy = True
    try:
        with mode():
            return work(part)
    finally:
        _here.is_busy = False


def added(gradients: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """Returns the sums of what the threads found, tensor by tensor; the first thread's hold them."""
    first, *others = gradients
    for other in others:
        for total, own in zip(first, other, strict=True):
            total += own
    return first


def _forget() -> None:
    global _n_threads, _pool
    _n_threads, _pool = 1, None


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_forget)
