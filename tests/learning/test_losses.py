"""LMAC's recovery losses and the reconstruction R2."""

import pytest
import torch
from torch.nn import functional as F

from epymarl_lmac.learning.losses import reconstruction_r2, recovery_losses


def plain_recovery(decoded, truth, tolerance):
    estimate, logits = decoded.chunk(2, dim=-1)
    squared = (estimate - truth.unsqueeze(1)) ** 2
    aware = (squared.detach() < tolerance).to(decoded.dtype)
    bce = F.binary_cross_entropy_with_logits(logits, aware)
    return torch.cat([estimate, torch.sigmoid(logits)], -1), squared.mean(), bce


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # the compiled and the PyTorch form
def test_recovery_losses_and_gradients_equal_the_plain_formulas(dtype):
    torch.manual_seed(1)
    decoded = torch.randn(7, 3, 10, dtype=dtype, requires_grad=True)
    truth = torch.randn(7, 5, dtype=dtype)
    mix = torch.randn(7, 3, 10, dtype=dtype)
    grads = []
    for function in (recovery_losses, plain_recovery):
        joined, recon, awareness = function(decoded, truth, 0.5)
        total = (joined * mix).sum() + 2.0 * recon + 0.1 * awareness
        grads.append(torch.autograd.grad(total, decoded)[0])
    for ours, plain in zip(recovery_losses(decoded, truth, 0.5), plain_recovery(decoded, truth, 0.5), strict=True):
        torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(grads[0], grads[1])


def test_confidently_wrong_awareness_keeps_its_gradient():
    decoded = torch.tensor([[[5.0, 200.0]]], requires_grad=True)  # far off, yet sure of being right
    loss = recovery_losses(decoded, torch.zeros(1, 1), 0.05).awareness_loss
    loss.backward()
    assert torch.isfinite(loss)
    assert decoded.grad[0, 0, 1].item() == pytest.approx(1.0)


@pytest.mark.parametrize(("shift", "r2"), [(0.0, 1.0), (1.0, 0.2)])
def test_r2_is_one_minus_error_over_spread(shift, r2):
    truth = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # variance 1.25
    assert reconstruction_r2(truth + shift, truth).item() == pytest.approx(r2)


def test_r2_of_the_mean_is_zero():
    truth = torch.randn(50, 4)
    assert reconstruction_r2(truth.mean(0).expand(50, 4), truth).item() == pytest.approx(0.0, abs=1e-5)
