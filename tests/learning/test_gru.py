"""The fused GRU over packed sequences equals a loop over torch.nn.GRUCell, forwards and backwards.

float32 on the CPU takes the compiled steps of a whole block, float64 the step made of PyTorch operations.
"""

import pytest
import torch
from torch import nn

from epymarl_lmac.learning import gru, products
from epymarl_lmac.learning.gru import gru_sequence

I, H = 4, 6
COUNTS = [3, 3, 2, 1, 1]  # rows still running at each step
P = sum(COUNTS)


@pytest.fixture(autouse=True, params=[products.TORCH, products.NUMPY])
def library(request):
    products.use(request.param, 1)


def looped(cell, x, h, residual):
    states, start = [], 0
    for rows in COUNTS:
        part = slice(start, start + rows)
        h = cell(x[part], h[:rows])
        if residual is not None:
            h = h + residual[part]
        states.append(h)
        start += rows
    return torch.cat(states)


def inputs(with_residual, dtype=torch.float64):
    torch.manual_seed(0)
    cell = nn.GRUCell(I, H).to(dtype)
    x = torch.randn(P, I, dtype=dtype, requires_grad=True)
    h0 = torch.randn(COUNTS[0], H, dtype=dtype, requires_grad=True)
    residual = torch.randn(P, H, dtype=dtype, requires_grad=True) if with_residual else None
    return cell, x, h0, residual


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_residual", [False, True])
def test_equals_a_loop_over_the_cell(with_residual, dtype):
    cell, x, h0, residual = inputs(with_residual, dtype)
    leaves = [x, h0, *cell.parameters()] + ([residual] if with_residual else [])
    weight = torch.randn(P, H, dtype=dtype)
    plain, fused = looped(cell, x, h0, residual), gru_sequence(cell, x, h0, COUNTS, residual)
    torch.testing.assert_close(fused, plain)
    plain_grads = torch.autograd.grad((plain * weight).sum(), leaves)
    fused_grads = torch.autograd.grad((fused * weight).sum(), leaves)
    for plain_grad, fused_grad in zip(plain_grads, fused_grads, strict=True):
        torch.testing.assert_close(fused_grad, plain_grad)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_large_gates_saturate_as_in_the_cell(scale):
    cell, x, h0, _ = inputs(False, torch.float32)
    h0 = h0.detach().clamp(-1, 1)
    torch.testing.assert_close(
        gru_sequence(cell, scale * x, h0, COUNTS), looped(cell, scale * x, h0, None), atol=1e-6, rtol=1e-5
    )


def test_gradient_agrees_with_finite_differences():
    cell, x, h0, residual = inputs(True)
    assert torch.autograd.gradcheck(lambda x, h, r: gru_sequence(cell, x, h, COUNTS, r), (x, h0, residual))


def test_backward_twice_over_two_graphs_gives_the_same_gradient():
    cell, x, h0, residual = inputs(True)
    grads = []
    for _ in range(2):
        (grad,) = torch.autograd.grad(gru_sequence(cell, x, h0, COUNTS, residual).square().sum(), [cell.weight_hh])
        grads.append(grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_gradient_mode_returns_the_same_states(dtype):
    cell, x, h0, residual = inputs(True, dtype)
    with torch.no_grad():
        quiet = gru_sequence(cell, x, h0, COUNTS, residual)
    torch.testing.assert_close(quiet, gru_sequence(cell, x, h0, COUNTS, residual).detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layer_before_the_cell_reads_its_parts_side_by_side(dtype):
    cell, _x, h0, _ = inputs(False, dtype)
    first = nn.Linear(5, I).to(dtype)
    parts = [torch.randn(P, width, dtype=dtype, requires_grad=True) for width in (2, 3)]
    leaves = [*parts, *first.parameters(), *cell.parameters()]
    weight = torch.randn(P, H, dtype=dtype)
    plain = looped(cell, torch.relu(first(torch.cat(parts, dim=1))), h0, None)
    fused = gru_sequence(cell, parts, h0, COUNTS, first=first)
    torch.testing.assert_close(fused, plain)
    plain_grads = torch.autograd.grad((plain * weight).sum(), leaves)
    fused_grads = torch.autograd.grad((fused * weight).sum(), leaves)
    for plain_grad, fused_grad in zip(plain_grads, fused_grads, strict=True):
        torch.testing.assert_close(fused_grad, plain_grad)


@pytest.mark.parametrize("block_rows", [1, 4])
def test_blocks_do_not_change_the_result(block_rows, monkeypatch):
    cell, x, h0, residual = inputs(True, torch.float32)
    leaves = [x, h0, residual, *cell.parameters()]
    found = []
    for rows in (block_rows, P):
        monkeypatch.setattr(gru, "GROUP_ROWS", rows)
        h = gru_sequence(cell, x, h0, COUNTS, residual)
        found.append([h.detach(), *torch.autograd.grad(h.square().sum(), leaves)])
    for small, whole in zip(*found, strict=True):
        torch.testing.assert_close(small, whole)


def test_inputs_with_gaps_between_their_rows_are_read():
    cell, _x, h0, _ = inputs(False, torch.float32)
    x = torch.randn(P, 2 * I)[:, ::2].requires_grad_()
    plain, fused = looped(cell, x, h0, None), gru_sequence(cell, x, h0, COUNTS)
    torch.testing.assert_close(fused, plain)
    for grads in zip(torch.autograd.grad(fused.sum(), [x, h0]), torch.autograd.grad(plain.sum(), [x, h0]), strict=True):
        torch.testing.assert_close(*grads)
