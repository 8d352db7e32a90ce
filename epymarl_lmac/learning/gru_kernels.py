"""Compiled inner loops of ``gru.py`` for float32 on the CPU: what a GRU step does besides its matrix product.

PyTorch needs nine operations and as many views for it, each of which takes longer to start than to compute at the
sizes of a MARL update. All loops are over contiguous rows and vectorise.

Letters as in ``gru.py``: P packed rows, H hidden, G = 3 H gates in PyTorch's order (reset, update, new). ``C`` counts
the factors that the backward pass needs of every row and unit: reset, update, new behind the reset, new, keep.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

FACTORS = 5  # C

# tanh(x) = x P(x^2) / Q(x^2), least squares of the relative error on [0, 8]; within 4e-7 everywhere in float32.
_P0, _P1, _P2 = np.float32(0.9999999810891858), np.float32(0.1297922505889036), np.float32(0.002985863698994874)
_P3, _P4, _P5 = np.float32(9.878675912408706e-06), np.float32(-1.47042666804129e-08), np.float32(2.3508724031405335e-11)
_Q1, _Q2, _Q3 = np.float32(0.4631254110222259), np.float32(0.024027931849119277), np.float32(0.00023720347665357947)
_END = np.float32(8.0)  # tanh is 1 from here on, in float32
_ONE, _HALF = np.float32(1.0), np.float32(0.5)
_compiled: Any = partial(njit, cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})


@_compiled(inline="always")
def _tanh(x):
    x = min(max(x, -_END), _END)
    u = x * x
    top = x * (_P0 + u * (_P1 + u * (_P2 + u * (_P3 + u * (_P4 + u * _P5)))))
    return top / (_ONE + u * (_Q1 + u * (_Q2 + u * _Q3)))


@_compiled(inline="always")
def _sigmoid(x):
    return _HALF + _HALF * _tanh(_HALF * x)


@_compiled()
def step(gates_PG, hidden_RG, bias_G, before_RH, residual_PH, h_PH, start, rows):
    """Writes one step's states into ``h_PH[start : start + rows]``; an empty ``residual_PH`` adds nothing."""
    H = h_PH.shape[1]
    has_residual = residual_PH.shape[0] > 0
    for i in range(rows):
        gates, hidden, before, h = gates_PG[start + i], hidden_RG[i], before_RH[i], h_PH[start + i]
        for j in range(H):
            r = _sigmoid(gates[j] + hidden[j] + bias_G[j])
            z = _sigmoid(gates[H + j] + hidden[H + j] + bias_G[H + j])
            n = _tanh(gates[2 * H + j] + r * (hidden[2 * H + j] + bias_G[2 * H + j]))
            h[j] = n + z * (before[j] - n)
        if has_residual:
            residual = residual_PH[start + i]
            for j in range(H):
                h[j] += residual[j]


@_compiled()
def step_with_factors(gates_PG, hidden_RG, bias_G, before_RH, residual_PH, h_PH, previous_PH, factors_PCH, start, rows):
    """As ``step``; also keeps the state each row started from and the factors of the backward pass."""
    H = h_PH.shape[1]
    has_residual = residual_PH.shape[0] > 0
    for i in range(rows):
        row = start + i
        gates, hidden, before, h = gates_PG[row], hidden_RG[i], before_RH[i], h_PH[row]
        previous, factors = previous_PH[row], factors_PCH[row]
        of_reset, of_update, of_hidden, of_new, keep = factors[0], factors[1], factors[2], factors[3], factors[4]
        for j in range(H):
            r = _sigmoid(gates[j] + hidden[j] + bias_G[j])
            z = _sigmoid(gates[H + j] + hidden[H + j] + bias_G[H + j])
            hn = hidden[2 * H + j] + bias_G[2 * H + j]
            n = _tanh(gates[2 * H + j] + r * hn)
            old = before[j]
            h[j] = n + z * (old - n)
            slope = (_ONE - n * n) * (_ONE - z)
            previous[j] = old
            of_reset[j] = slope * hn * r * (_ONE - r)
            of_update[j] = (old - n) * z * (_ONE - z)
            of_hidden[j] = slope * r
            of_new[j] = slope
            keep[j] = z
        if has_residual:
            residual = residual_PH[row]
            for j in range(H):
                h[j] += residual[j]


@_compiled()
def step_back(d_h_PH, carry_RH, carried, factors_PCH, d_hidden_PG, kept_RH, start, rows):
    """Adds the ``carried`` rows of the next step's carry to ``d_h_PH`` and writes the gates' gradients.

    ``kept_RH`` gets the part of the gradient that passes to the step before without the gates.
    """
    H = d_h_PH.shape[1]
    for i in range(rows):
        d_h, d_gates, factors, kept = d_h_PH[start + i], d_hidden_PG[start + i], factors_PCH[start + i], kept_RH[i]
        of_reset, of_update, of_hidden, keep = factors[0], factors[1], factors[2], factors[4]
        if i < carried:
            carry = carry_RH[i]
            for j in range(H):
                d_h[j] += carry[j]
        for j in range(H):
            d = d_h[j]
            d_gates[j] = of_reset[j] * d
            d_gates[H + j] = of_update[j] * d
            d_gates[2 * H + j] = of_hidden[j] * d
            kept[j] = keep[j] * d


@_compiled()
def to_input_gates(d_h_PH, factors_PCH, d_hidden_PG):
    """Turns gradients of the hidden half of the gates into those of the input half, which no reset multiplies."""
    P, H = d_h_PH.shape
    for i in range(P):
        of_new, d_h, d_gates = factors_PCH[i, 3], d_h_PH[i], d_hidden_PG[i]
        for j in range(H):
            d_gates[2 * H + j] = of_new[j] * d_h[j]
