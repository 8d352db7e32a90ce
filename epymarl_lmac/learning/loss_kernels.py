"""Compiled inner loops of ``losses.py`` for float32 on the CPU: one pass over the decoder's output each way.

Letters: V rows, N agents, I important state columns, J = 2 I (estimates, then awareness).
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
def judge(joined_VNJ, truth_VI, tolerance, likelihood_VNI):
    """Writes the probability that awareness gives to what is the case; returns the sum of squared errors."""
    V, N, J = joined_VNJ.shape
    I = J // 2
    total = 0.0
    for v in range(V):
        truth = truth_VI[v]
        for a in range(N):
            estimate, awareness = joined_VNJ[v, a, :I], joined_VNJ[v, a, I:]
            likelihood = likelihood_VNI[v, a]
            row = _ZERO
            for i in range(I):
                error = estimate[i] - truth[i]
                squared = error * error
                row += squared
                p = awareness[i]
                likelihood[i] = max(p if squared < tolerance else _ONE - p, _TINY)
            total += row
    return total


@_compiled()
def gradient(joined_VNJ, truth_VI, tolerance, grad_joined_VNJ, recon_scale, awareness_scale, grad_VNJ):
    """Writes the gradient of the decoder's output; the scales multiply the two losses' own gradients."""
    V, N, J = joined_VNJ.shape
    I = J // 2
    for v in range(V):
        truth = truth_VI[v]
        for a in range(N):
            joined, passed, grad = joined_VNJ[v, a], grad_joined_VNJ[v, a], grad_VNJ[v, a]
            for i in range(I):
                error = joined[i] - truth[i]
                p = joined[I + i]
                aware = _ONE if error * error < tolerance else _ZERO
                grad[i] = passed[i] + recon_scale * error
                grad[I + i] = passed[I + i] * (p - p * p) + awareness_scale * (p - aware)
