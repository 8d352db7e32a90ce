"""Compiled passes of ``gru.py`` for float32 on the CPU: a GRU and the layer before it, over some sequences.

PyTorch needs ten operations and as many views for a step, each of which takes longer to start than to compute at the
sizes of a MARL update. Here the whole pass of some sequences costs one call from Python, its matrix products included
(``product_kernels.py``), and works in blocks of rows that stay in the processor's cache. All loops are over contiguous
rows and vectorise.

Letters as in ``gru.py``: P packed rows, R rows of the first step, H hidden, A what the gates read, I input, N parts of
the input, K rows of a block of steps, S steps. Gates are G = 3 H in PyTorch's order (reset, update, new). The reset
gate stands between the two halves of the new gate, so that there are F = 4 H biases: reset, update, new's input half,
new's hidden half. The backward pass keeps C = 5 H factors of a row: those of the reset gate, the update gate and the
new gate's input and hidden half, with which the gradient of the state is multiplied, and that of the state before.
Panels (``product_kernels.py``) are named Q, the row of the right side, W.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

from epymarl_lmac.learning.activation_kernels import sigmoid, tanh
from epymarl_lmac.learning.mlp_kernels import add_bias, through_relu
from epymarl_lmac.learning.product_kernels import WIDTH, add_transposed_at, multiply, multiply_at

FACTORS = 5  # C / H
BLOCK_ROWS = 256  # of packed rows, which the gates' halves are computed for at once

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
def block_end(steps_S3, first):
    """Returns the step after the last of a block that begins with a step."""
    k, rows = first + 1, steps_S3[first, 1]
    while k < steps_S3.shape[0] and rows + steps_S3[k, 1] <= BLOCK_ROWS:
        rows += steps_S3[k, 1]
        k += 1
    return k


@_compiled()
def block_start(steps_S3, last):
    """Returns the first step of a block that ends before a step, and the block's rows."""
    k, rows = last - 1, steps_S3[last - 1, 1]
    while k > 0 and rows + steps_S3[k - 1, 1] <= BLOCK_ROWS:
        k -= 1
        rows += steps_S3[k, 1]
    return k, rows


@_compiled()
def run_of(steps_S3, first, last):
    """Returns the step after the last of those from ``first`` on whose rows follow one another, and their rows."""
    k, rows = first + 1, steps_S3[first, 1]
    while k < last and steps_S3[k, 0] == steps_S3[k - 1, 0] + steps_S3[k - 1, 1]:
        rows += steps_S3[k, 1]
        k += 1
    return k, rows


@_compiled()
def read_parts(parts_N3, start, rows, panels_QIW, bias_A, out_KA):
    """Writes relu(x W^T + b) of neighbouring packed rows, whose inputs x stand in parts.

    Args:
        parts_N3: of every part its address, the bytes between its rows and its columns.
        start, rows: the packed rows.
        panels_QIW: W^T, from ``panels``.
        bias_A: b.
        out_KA: written, with the columns that ``multiply`` needs.
    """
    first = 0
    for n in range(parts_N3.shape[0]):
        stride, inner = parts_N3[n, 1], parts_N3[n, 2]
        multiply_at(parts_N3[n, 0] + start * stride, stride, rows, panels_QIW, first, inner, out_KA, n > 0)
        first += inner
    add_bias(out_KA[:rows], bias_A, True)


@_compiled()
def forward(
    parts_N3, first_QIW, first_bias_A, a_PA, gates_QAW, hidden_QHW, bias_F, h0_RH, residual_PH, h_PH, factors_PC,
    steps_S3,
):  # fmt: skip
    """Writes the states of some sequences.

    Args:
        parts_N3, first_QIW, first_bias_A: the layer before the GRU, as for ``read_parts``; no parts: there is none.
        a_PA: what the gates read. Written if there is a layer before, by packed row; empty then: not kept.
        gates_QAW, hidden_QHW: weights of the gates' halves, transposed, from ``panels``.
        bias_F, residual_PH, h_PH: as for ``step``.
        h0_RH: the sequences' states before the first step.
        factors_PC: as for ``step_with_factors``; empty: nothing is kept.
        steps_S3: of every step its first packed row, its rows, and the first row of the step before or -1.
    """
    has_first, keeps_a = parts_N3.shape[0] > 0, a_PA.shape[0] > 0
    room = 0 if steps_S3.shape[0] == 0 else max(BLOCK_ROWS, steps_S3[0, 1])
    gates = np.empty((room, gates_QAW.shape[0] * WIDTH), np.float32)
    hidden = np.empty((h0_RH.shape[0], hidden_QHW.shape[0] * WIDTH), np.float32)
    block_a = np.empty((0 if keeps_a else room, a_PA.shape[1]), np.float32)
    k = 0
    while k < steps_S3.shape[0]:
        end = block_end(steps_S3, k)
        at, run = 0, k
        while run < end:
            next_run, rows = run_of(steps_S3, run, end)
            start = steps_S3[run, 0]
            a = a_PA[start : start + rows] if keeps_a else block_a[at : at + rows]
            if has_first:
                read_parts(parts_N3, start, rows, first_QIW, first_bias_A, a)
            multiply(a[:, : gates_QAW.shape[1]], gates_QAW, gates[at:], False)
            at, run = at + rows, next_run
        at = 0
        while k < end:
            row, rows, before = steps_S3[k, 0], steps_S3[k, 1], steps_S3[k, 2]
            prior = h0_RH[:rows] if before < 0 else h_PH[before : before + rows]
            multiply(prior, hidden_QHW, hidden, False)
            if factors_PC.shape[0] > 0:
                step_with_factors(gates, at, hidden, bias_F, prior, residual_PH, h_PH, factors_PC, row, rows)
            else:
                step(gates, at, hidden, bias_F, prior, residual_PH, h_PH, row, rows)
            at, k = at + rows, k + 1


@_compiled()
def _add_columns(x_KJ, sums):
    """Adds the sum of every column; a block's own sum first, which rounds less than one running sum."""
    own = np.zeros(sums.shape[0], np.float32)
    for i in range(x_KJ.shape[0]):
        x = x_KJ[i]
        for j in range(sums.shape[0]):
            own[j] += x[j]
    for j in range(sums.shape[0]):
        sums[j] += own[j]


@_compiled()
def backward(
    parts_N3, d_first_IA, d_first_bias_A, a_PA, d_a_PA, from_gates_QGW, d_ih_AG, from_hidden_QGW, d_hh_HG, d_biases_2G,
    grad_PH, carry_RH, factors_PC, h0_RH, h_PH, steps_S3, wants_h0,
):  # fmt: skip
    """Goes back through the steps of some sequences; adds to the gradients of all weights.

    Args:
        parts_N3: the inputs of the layer before, as for ``read_parts``; no parts: there is none.
        d_first_IA, d_first_bias_A: gradients of that layer's weights, transposed, added to.
        a_PA: what the gates read, as ``forward`` kept it.
        d_a_PA: its gradient, before the ReLU if there is a layer before; written unless empty.
        from_gates_QGW, from_hidden_QGW: weights of the gates' halves, from ``panels``.
        d_ih_AG, d_hh_HG, d_biases_2G: gradients of them, transposed, and of their biases; added to.
        grad_PH, factors_PC: as for ``step_back``.
        carry_RH: the first step's, written if ``wants_h0``; with the columns that ``multiply`` needs.
        h0_RH, h_PH, steps_S3: as for ``forward``.
        wants_h0: whether the gradient of the first states is wanted.

    The first columns of transposed gradients count; room for whole panels is beyond them.
    """
    H, has_first = h_PH.shape[1], parts_N3.shape[0] > 0
    reads_back = has_first or d_a_PA.shape[0] > 0
    room = 0 if steps_S3.shape[0] == 0 else max(BLOCK_ROWS, steps_S3[0, 1])
    d_input, d_hidden = np.zeros((2, room, d_ih_AG.shape[1]), np.float32)
    before_KH, block_d_a = np.empty((room, H), np.float32), np.empty((room, d_a_PA.shape[1]), np.float32)
    last, carried = steps_S3.shape[0], 0
    while last > 0:
        first, n = block_start(steps_S3, last)
        at = n
        for k in range(last - 1, first - 1, -1):
            row, rows, before = steps_S3[k, 0], steps_S3[k, 1], steps_S3[k, 2]
            at -= rows
            step_back(grad_PH, carry_RH, carried, factors_PC, d_input, d_hidden, at, row, rows)
            before_KH[at : at + rows] = h0_RH[:rows] if before < 0 else h_PH[before : before + rows]
            if before >= 0 or wants_h0:
                multiply(d_hidden[at : at + rows, : 3 * H], from_hidden_QGW, carry_RH, True)
            carried = rows
        _add_columns(d_input[:n], d_biases_2G[0])
        _add_columns(d_hidden[:n], d_biases_2G[1])
        add_transposed_at(before_KH.ctypes.data, before_KH.strides[0], H, d_hidden[:n], d_hh_HG)
        at, k = 0, first
        while k < last:
            end, rows = run_of(steps_S3, k, last)
            start = steps_S3[k, 0]
            a, own = a_PA[start : start + rows], d_input[at : at + rows]
            add_transposed_at(a.ctypes.data, a.strides[0], d_ih_AG.shape[0], own, d_ih_AG)
            if reads_back:
                d_a = d_a_PA[start : start + rows] if d_a_PA.shape[0] > 0 else block_d_a[at : at + rows]
                multiply(own[:, : 3 * H], from_gates_QGW, d_a, False)
                if has_first:
                    through_relu(d_a, a, _ONE)
                    _add_columns(d_a, d_first_bias_A)
                    i = 0
                    for part in range(parts_N3.shape[0]):
                        stride, inner = parts_N3[part, 1], parts_N3[part, 2]
                        add_transposed_at(parts_N3[part, 0] + start * stride, stride, inner, d_a, d_first_IA[i:])
                        i += inner
            at, k = at + rows, end
        last = first
