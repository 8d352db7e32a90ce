"""Compiled inner loops of ``gru.py`` for float32 on the CPU: what a GRU step does besides its matrix product.

PyTorch needs nine operations and as many views for it, each of which takes longer to start than to compute at the
sizes of a MARL update. All loops are over contiguous rows and vectorise.

Letters as in ``gru.py``: P packed rows, H hidden, K rows of a block of steps. Gates are G = 3 H in PyTorch's order
(reset, update, new); biases and gradients of gates have F = 4 H columns, because the reset gate stands between the two
halves of the new gate: biases (reset, update, new's input half, new's hidden half), gradients (new's hidden half,
reset, update, new's input half), so that each half's gradients are 3 H neighbouring columns.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

FACTORS = 5  # C: what multiplies the gradient of a state to give those of the gates' columns and of the state before

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
def step(gates_KG, at, hidden_RG, bias_F, before_RH, residual_PH, h_PH, start, rows):
    """Writes one step's states into ``h_PH[start : start + rows]``.

    Args:
        gates_KG: input half of the gates without bias; this step's rows begin at ``at``.
        hidden_RG: hidden half of the gates without bias.
        bias_F: the biases.
        before_RH: states before the step.
        residual_PH: added to the states; empty: nothing.
        h_PH: written.
        start, rows: the step's packed rows.
    """
    H = h_PH.shape[1]
    has_residual = residual_PH.shape[0] > 0
    for i in range(rows):
        gates, hidden, before, h = gates_KG[at + i], hidden_RG[i], before_RH[i], h_PH[start + i]
        for j in range(H):
            r = _sigmoid(gates[j] + hidden[j] + bias_F[j])
            z = _sigmoid(gates[H + j] + hidden[H + j] + bias_F[H + j])
            n = _tanh(gates[2 * H + j] + bias_F[2 * H + j] + r * (hidden[2 * H + j] + bias_F[3 * H + j]))
            h[j] = n + z * (before[j] - n)
        if has_residual:
            residual = residual_PH[start + i]
            for j in range(H):
                h[j] += residual[j]


@_compiled()
def step_with_factors(gates_KG, at, hidden_RG, bias_F, before_RH, residual_PH, h_PH, factors_PCH, start, rows):
    """As ``step``; also keeps the factors of the backward pass."""
    H = h_PH.shape[1]
    has_residual = residual_PH.shape[0] > 0
    for i in range(rows):
        row = start + i
        gates, hidden, before, h = gates_KG[at + i], hidden_RG[i], before_RH[i], h_PH[row]
        factors = factors_PCH[row]
        of_hidden, of_reset, of_update, of_new, keep = factors[0], factors[1], factors[2], factors[3], factors[4]
        for j in range(H):
            r = _sigmoid(gates[j] + hidden[j] + bias_F[j])
            z = _sigmoid(gates[H + j] + hidden[H + j] + bias_F[H + j])
            hn = hidden[2 * H + j] + bias_F[3 * H + j]
            n = _tanh(gates[2 * H + j] + bias_F[2 * H + j] + r * hn)
            old = before[j]
            h[j] = n + z * (old - n)
            slope = (_ONE - n * n) * (_ONE - z)
            of_hidden[j] = slope * r
            of_reset[j] = slope * hn * r * (_ONE - r)
            of_update[j] = (old - n) * z * (_ONE - z)
            of_new[j] = slope
            keep[j] = z
        if has_residual:
            residual = residual_PH[row]
            for j in range(H):
                h[j] += residual[j]


@_compiled()
def step_back(grad_PH, carry_RH, carried, factors_PCH, d_gates_KF, at, passed_RH, start, rows):
    """Writes one step's gradients of the gates into ``d_gates_KF[at : at + rows]``.

    Args:
        grad_PH: gradient of the states; the rows of this step get what the next one passes back.
        carry_RH: that, of the next step's ``carried`` rows.
        factors_PCH: what ``step_with_factors`` kept.
        d_gates_KF: written.
        passed_RH: gets the part of the gradient that passes to the step before without the gates.
        start, rows: the step's packed rows.
    """
    H = grad_PH.shape[1]
    for i in range(rows):
        d_h, d_gates, factors, passed = grad_PH[start + i], d_gates_KF[at + i], factors_PCH[start + i], passed_RH[i]
        of_hidden, of_reset, of_update, of_new, keep = factors[0], factors[1], factors[2], factors[3], factors[4]
        if i < carried:
            carry = carry_RH[i]
            for j in range(H):
                d_h[j] += carry[j]
        for j in range(H):
            d = d_h[j]
            d_gates[j] = of_hidden[j] * d
            d_gates[H + j] = of_reset[j] * d
            d_gates[2 * H + j] = of_update[j] * d
            d_gates[3 * H + j] = of_new[j] * d
            passed[j] = keep[j] * d
