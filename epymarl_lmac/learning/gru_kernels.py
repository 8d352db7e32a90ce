"""Compiled inner loops of ``gru.py`` for float32 on the CPU: the steps of a GRU, products included.

PyTorch needs ten operations and as many views for a step, each of which takes longer to start than to compute at the
sizes of a MARL update. Here a block of steps costs one call from Python. All loops are over contiguous rows and
vectorise; a step's product with the weights of the hidden half is that of ``product_kernels.py``.

Letters as in ``gru.py``: P packed rows, R rows of the first step, H hidden, K rows of a block of steps, S steps of a
block. Gates are G = 3 H in PyTorch's order (reset, update, new). The reset gate stands between the two halves of the
new gate, so that there are F = 4 H biases: reset, update, new's input half, new's hidden half. The backward pass keeps
C = 5 H factors of a row: those of the reset gate, the update gate and the new gate's input and hidden half, with which
the gradient of the state is multiplied, and that of the state before.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

from epymarl_lmac.learning.activation_kernels import sigmoid, tanh
from epymarl_lmac.learning.product_kernels import multiply

FACTORS = 5  # C / H

_ONE = np.float32(1.0)
_compiled: Any = partial(njit, cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})


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
            r = sigmoid(gates[j] + hidden[j] + bias_F[j])
            z = sigmoid(gates[H + j] + hidden[H + j] + bias_F[H + j])
            n = tanh(gates[2 * H + j] + bias_F[2 * H + j] + r * (hidden[2 * H + j] + bias_F[3 * H + j]))
            h[j] = n + z * (before[j] - n)
        if has_residual:
            residual = residual_PH[start + i]
            for j in range(H):
                h[j] += residual[j]


@_compiled()
def step_with_factors(gates_KG, at, hidden_RG, bias_F, before_RH, residual_PH, h_PH, factors_PC, start, rows):
    """As ``step``; also keeps the factors of the backward pass."""
    H = h_PH.shape[1]
    has_residual = residual_PH.shape[0] > 0
    for i in range(rows):
        row = start + i
        gates, hidden, before, h = gates_KG[at + i], hidden_RG[i], before_RH[i], h_PH[row]
        factors = factors_PC[row]
        for j in range(H):
            r = sigmoid(gates[j] + hidden[j] + bias_F[j])
            z = sigmoid(gates[H + j] + hidden[H + j] + bias_F[H + j])
            hn = hidden[2 * H + j] + bias_F[3 * H + j]
            n = tanh(gates[2 * H + j] + bias_F[2 * H + j] + r * hn)
            old = before[j]
            h[j] = n + z * (old - n)
            slope = (_ONE - n * n) * (_ONE - z)
            factors[j] = slope * hn * r * (_ONE - r)  # of the reset gate
            factors[H + j] = (old - n) * z * (_ONE - z)  # of the update gate
            factors[2 * H + j] = slope  # of the new gate's input half
            factors[3 * H + j] = slope * r  # of its hidden half
            factors[4 * H + j] = z  # of the state before
        if has_residual:
            residual = residual_PH[row]
            for j in range(H):
                h[j] += residual[j]


@_compiled()
def step_back(grad_PH, carry_RH, carried, factors_PC, d_input_KG, d_hidden_KG, at, start, rows):
    """Writes one step's gradients of the gates from row ``at`` on.

    Args:
        grad_PH: gradient of the states; the rows of this step get what the next one passes back.
        carry_RH: that, of the next step's ``carried`` rows; then written: what passes to the step before without the
            gates.
        factors_PC: what ``step_with_factors`` kept.
        d_input_KG: written, of the input half, in PyTorch's order.
        d_hidden_KG: written, of the hidden half, in PyTorch's order.
        start, rows: the step's packed rows.
    """
    H = grad_PH.shape[1]
    for i in range(rows):
        d_h, factors, carry = grad_PH[start + i], factors_PC[start + i], carry_RH[i]
        d_input, d_hidden = d_input_KG[at + i], d_hidden_KG[at + i]
        if i < carried:
            for j in range(H):
                d_h[j] += carry[j]
        # One loop for each array that is written: with more, the compiler does not vectorise.
        for j in range(H):
            d_input[j] = factors[j] * d_h[j]
        for j in range(H):
            d_input[H + j] = factors[H + j] * d_h[j]
        for j in range(H):
            d_input[2 * H + j] = factors[2 * H + j] * d_h[j]
        for j in range(2 * H):
            d_hidden[j] = d_input[j]
        for j in range(H):
            d_hidden[2 * H + j] = factors[3 * H + j] * d_h[j]
        for j in range(H):
            carry[j] = factors[4 * H + j] * d_h[j]


@_compiled()
def steps(gates_KG, hidden_RG, panels_QHW, bias_F, h0_RH, residual_PH, h_PH, factors_PC, steps_S3):
    """Writes the states of a block's steps.

    Args:
        gates_KG, bias_F, residual_PH, h_PH: as for ``step``.
        hidden_RG: room for the hidden half of the gates, with the columns that ``multiply`` needs.
        panels_QHW: their weights, transposed, from ``panels``.
        h0_RH: states before the first step of all.
        factors_PC: as for ``step_with_factors``; empty: nothing is kept.
        steps_S3: of every step its first packed row, its rows, and the first row of the step before or -1.
    """
    at = 0
    for k in range(steps_S3.shape[0]):
        row, rows, before = steps_S3[k, 0], steps_S3[k, 1], steps_S3[k, 2]
        prior = h0_RH[:rows] if before < 0 else h_PH[before : before + rows]
        multiply(prior, panels_QHW, hidden_RG, False)
        if factors_PC.shape[0] > 0:
            step_with_factors(gates_KG, at, hidden_RG, bias_F, prior, residual_PH, h_PH, factors_PC, row, rows)
        else:
            step(gates_KG, at, hidden_RG, bias_F, prior, residual_PH, h_PH, row, rows)
        at += rows


@_compiled()
def steps_back(
    grad_PH, carry_RH, carried, factors_PC, d_input_KG, d_hidden_KG, panels_QGW, h0_RH, h_PH, before_KH, steps_S3,
    wants_h0,
):  # fmt: skip
    """Writes the gradients of a block's gates, the states before its steps and what passes to the block before.

    Args:
        grad_PH, carried, factors_PC, d_input_KG, d_hidden_KG: as for ``step_back``.
        carry_RH: as for ``step_back``, with the columns that ``multiply`` needs; written for the step before the block.
        panels_QGW: weights of the hidden half, from ``panels``.
        h0_RH, h_PH: the states.
        before_KH: written.
        steps_S3: as for ``steps``.
        wants_h0: whether the carry of the first step of all is wanted.
    """
    at = steps_S3[:, 1].sum()
    for k in range(steps_S3.shape[0] - 1, -1, -1):
        row, rows, before = steps_S3[k, 0], steps_S3[k, 1], steps_S3[k, 2]
        at -= rows
        step_back(grad_PH, carry_RH, carried, factors_PC, d_input_KG, d_hidden_KG, at, row, rows)
        before_KH[at : at + rows] = h0_RH[:rows] if before < 0 else h_PH[before : before + rows]
        if before >= 0 or wants_h0:
            multiply(d_hidden_KG[at : at + rows], panels_QGW, carry_RH, True)
        carried = rows
