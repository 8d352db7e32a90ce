"""Compiled inner loops of ``mixing.py`` for float32 on the CPU: what QMIX computes besides its matrix products.

Letters: K rows of a block, N agents, E mixing width, X columns of an array.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

from epymarl_lmac.learning.activation_kernels import elu

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
_compiled: Any = partial(njit, cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})


@_compiled()
def mix(q_KN, first_KX, first_at, final_KX, final_at, read_KX, bias_at, hidden_KE, value_E, value_bias, total_K):
    """Mixes the rows of a block.

    Args:
        q_KN: the agents' Q-values.
        first_KX, first_at: the first layer's weights before their absolute value, agent by agent, from this column on.
        final_KX, final_at: the second layer's, likewise.
        read_KX, bias_at: from this column on the first layer's bias, then what the value's last layer reads.
        hidden_KE: written, the first layer's output.
        value_E, value_bias: the value's last layer.
        total_K: written, Q_tot.
    """
    K, N = q_KN.shape
    E = hidden_KE.shape[1]
    value_at = bias_at + E
    for i in range(K):
        hidden, bias, read = hidden_KE[i], read_KX[i, bias_at:value_at], read_KX[i, value_at:]
        final = final_KX[i, final_at : final_at + E]
        for e in range(E):
            hidden[e] = bias[e]
        for n in range(N):
            at, q = first_at + n * E, q_KN[i, n]
            first = first_KX[i, at : at + E]
            for e in range(E):
                hidden[e] += q * abs(first[e])
        for e in range(E):
            hidden[e] = elu(hidden[e])
        total = value_bias
        for e in range(E):
            total += hidden[e] * abs(final[e]) + value_E[e] * read[e]
        total_K[i] = total


@_compiled(inline="always")
def _signed(size, like):
    """Returns ``size`` with the sign of ``like``, 0 where that is 0."""
    return size if like > _ZERO else (-size if like < _ZERO else _ZERO)


@_compiled()
def mix_back(
    d_total_K, q_KN, first_KX, first_at, final_KX, final_at, read_KX, bias_at, hidden_KE, value_E,
    d_q_KN, d_first_KX, d_final_KX, d_read_KX, d_value_E,
):  # fmt: skip
    """Writes the gradients of what ``mix`` reads; ``d_value_E`` is added to.

    ``d_first_KX``, ``d_final_KX`` and ``d_read_KX`` have the columns of their arrays; the same columns are written.
    """
    K, N = q_KN.shape
    E = hidden_KE.shape[1]
    value_at = bias_at + E
    for i in range(K):
        d_total, hidden, read, d_read = d_total_K[i], hidden_KE[i], read_KX[i, value_at:], d_read_KX[i, value_at:]
        final, d_final = final_KX[i, final_at : final_at + E], d_final_KX[i, final_at : final_at + E]
        d_hidden = d_read_KX[i, bias_at:value_at]
        # One loop for each array that is written: with more, the compiler does not vectorise.
        for e in range(E):
            d_final[e] = _signed(d_total * hidden[e], final[e])
        for e in range(E):
            d_hidden[e] = d_total * abs(final[e]) * min(hidden[e] + _ONE, _ONE)
        for n in range(N):
            at, q, d_q = first_at + n * E, q_KN[i, n], _ZERO
            first, d_first = first_KX[i, at : at + E], d_first_KX[i, at : at + E]
            for e in range(E):
                d_q += d_hidden[e] * abs(first[e])
            d_q_KN[i, n] = d_q
            for e in range(E):
                d_first[e] = _signed(d_hidden[e] * q, first[e])
        for e in range(E):
            d_value_E[e] += d_total * read[e]
        for e in range(E):
            d_read[e] = d_total * value_E[e] if read[e] > _ZERO else _ZERO


@_compiled()
def through_relu(d_KH, read_KX, at, d_read_KX):
    """Writes the gradient of what ReLU reads, given that of what it puts out, from column ``at`` on."""
    K, H = d_KH.shape
    for i in range(K):
        d, read, d_read = d_KH[i], read_KX[i, at : at + H], d_read_KX[i, at : at + H]
        for j in range(H):
            d_read[j] = d[j] if read[j] > _ZERO else _ZERO
