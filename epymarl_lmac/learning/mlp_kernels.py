"""Compiled inner loops of ``mlp.py`` for float32 on the CPU: what stands between two matrix products.

Letters: K rows of a block, H columns, X columns of a wider array.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
_compiled: Any = partial(njit, cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})


@_compiled()
def add_bias_at(y_KX, at, bias_H, has_relu):
    """Turns the columns y of an array from ``at`` on into y + bias, or into relu(y + bias), in place."""
    H = bias_H.shape[0]
    for i in range(y_KX.shape[0]):
        y = y_KX[i, at : at + H]
        if has_relu:
            for j in range(H):
                y[j] = max(y[j] + bias_H[j], _ZERO)
        else:
            for j in range(H):
                y[j] += bias_H[j]


@_compiled()
def add_bias(y_KH, bias_H, has_relu):
    """Turns y into y + bias, or into relu(y + bias), in place."""
    add_bias_at(y_KH, 0, bias_H, has_relu)


@_compiled()
def add_bias_relu_drop(y_KH, bias_H, levels_PH, start, first_kept, scale):
    """As ``add_bias`` with ReLU, times ``scale`` where the level (row ``start`` on) reaches ``first_kept``, else 0."""
    K, H = y_KH.shape
    for i in range(K):
        y, levels = y_KH[i], levels_PH[start + i]
        for j in range(H):
            y[j] = max(y[j] + bias_H[j], _ZERO) * (scale if np.float32(levels[j]) >= first_kept else _ZERO)


@_compiled()
def _moments(y, eps):
    """Returns a row's mean and the reciprocal of its standard deviation."""
    H = y.shape[0]
    share = _ONE / np.float32(H)
    total, spread = _ZERO, _ZERO
    for j in range(H):
        total += y[j]
    mean = total * share
    for j in range(H):
        spread += (y[j] - mean) * (y[j] - mean)
    return mean, _ONE / np.sqrt(spread * share + eps)


@_compiled()
def add_bias_relu_norm(y_KH, bias_H, gain_H, shift_H, eps, out_KH):
    """As ``add_bias`` with ReLU; writes the layer norm of the result to ``out_KH``."""
    K, H = y_KH.shape
    for i in range(K):
        y, out = y_KH[i], out_KH[i]
        for j in range(H):
            y[j] = max(y[j] + bias_H[j], _ZERO)
        mean, rate = _moments(y, eps)
        for j in range(H):
            out[j] = (y[j] - mean) * rate * gain_H[j] + shift_H[j]


@_compiled()
def through_relu(d_KH, y_KH, scale):
    """Turns the gradient of y = scale * relu(...) or 0 into that of what relu reads, in place."""
    K, H = d_KH.shape
    for i in range(K):
        d, y = d_KH[i], y_KH[i]
        for j in range(H):
            d[j] = d[j] * (scale if y[j] > _ZERO else _ZERO)


@_compiled()
def through_norm_relu(d_KH, y_KH, gain_H, eps, d_gain_H, d_shift_H):
    """Turns the gradient of norm(y), y = relu(...), into that of what relu reads, in place; adds the norm's own."""
    K, H = d_KH.shape
    share = _ONE / np.float32(H)
    for i in range(K):
        d, y = d_KH[i], y_KH[i]
        mean, rate = _moments(y, eps)
        along, level = _ZERO, _ZERO
        for j in range(H):
            pull = d[j] * gain_H[j]
            level += pull
            along += pull * (y[j] - mean)
        level *= share
        along *= share * rate * rate
        for j in range(H):
            centred = y[j] - mean
            d_gain_H[j] += d[j] * centred * rate
            d_shift_H[j] += d[j]
            value = rate * (d[j] * gain_H[j] - level - along * centred)
            d[j] = value if y[j] > _ZERO else _ZERO
