"""Compiled inner loops of ``losses.py`` for float32 on the CPU.

Letters: V transitions, N agents, K = V N rows, I important state columns, J = 2 I (estimates, then awareness).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
_TINY = np.finfo(np.float32).tiny
_compiled: Any = partial(njit, cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})


@_compiled()
def judge(joined_KJ, truth_VI, tolerance, likelihood_KI):
    """Writes the probability that awareness gives to what is the case; returns the sum of squared errors."""
    K, J = joined_KJ.shape
    I = J // 2
    N = K // truth_VI.shape[0]
    total = 0.0
    for row in range(K):
        truth, estimate, awareness = truth_VI[row // N], joined_KJ[row, :I], joined_KJ[row, I:]
        likelihood = likelihood_KI[row]
        of_row = _ZERO
        for i in range(I):
            error = estimate[i] - truth[i]
            squared = error * error
            of_row += squared
            p = awareness[i]
            likelihood[i] = max(p if squared < tolerance else _ONE - p, _TINY)
        total += float(of_row)
    return total


@_compiled()
def gradient(joined_KJ, truth_VI, tolerance, recon_scale, awareness_scale, grad_KJ):
    """Turns the gradient that the cycle encoder passes to its input into that of the decoder's output, in place.

    Args:
        joined_KJ: the cycle encoder's input.
        truth_VI, tolerance: as for ``judge``.
        recon_scale, awareness_scale: what the two losses' own gradients are multiplied with.
        grad_KJ: changed.
    """
    K, J = joined_KJ.shape
    I = J // 2
    N = K // truth_VI.shape[0]
    for row in range(K):
        truth, joined, grad = truth_VI[row // N], joined_KJ[row], grad_KJ[row]
        for i in range(I):
            error = joined[i] - truth[i]
            p = joined[I + i]
            aware = _ONE if error * error < tolerance else _ZERO
            grad[i] += recon_scale * error
            grad[I + i] = grad[I + i] * (p - p * p) + awareness_scale * (p - aware)
