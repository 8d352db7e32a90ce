"""LMAC's recovery losses and the reconstruction R2."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epymarl_lmac.learning import mlp
from epymarl_lmac.learning.dropout import Dropout
from epymarl_lmac.learning.losses import reconstruction_r2, recovery_losses

V, N, Z, I = 7, 3, 4, 5


def plain_recovery(decoder, cycle, z, truth, tolerance, is_target_fixed):
    """The formulas, with PyTorch's own operations."""
    estimate, logits = decoder(z).chunk(2, dim=-1)
    squared = (estimate - truth.unsqueeze(1)) ** 2
    aware = (squared.detach() < tolerance).to(z.dtype)
    joined = torch.cat([estimate, torch.sigmoid(logits)], -1)
    again = cycle(joined)
    target = z.detach() if is_target_fixed else z
    return joined, squared.mean(), F.binary_cross_entropy_with_logits(logits, aware), F.mse_loss(again, target)


def networks():
    decoder = nn.Sequential(nn.Linear(Z, 6), nn.ReLU(), Dropout(0.3), nn.Linear(6, 2 * I))
    cycle = nn.Sequential(nn.Linear(2 * I, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, Z))
    for parameter in [*decoder.parameters(), *cycle.parameters()]:
        nn.init.normal_(parameter)
    return decoder, cycle


@pytest.mark.parametrize("block_numbers", [1, 60, 2**17])  # one transition a block, two, all
@pytest.mark.parametrize("is_target_fixed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # the compiled and the PyTorch form
def test_losses_and_gradients_equal_the_plain_formulas(dtype, is_target_fixed, block_numbers, monkeypatch):
    monkeypatch.setattr(mlp, "BLOCK_NUMBERS", block_numbers)
    torch.manual_seed(1)
    decoder, cycle = (network.to(dtype) for network in networks())
    z, truth = torch.randn(V, N, Z, dtype=dtype, requires_grad=True), torch.randn(V, I, dtype=dtype)
    found = []
    for function in (recovery_losses, plain_recovery):
        torch.manual_seed(2)  # the same dropout
        joined, recon, awareness, again = function(decoder, cycle, z, truth, 0.5, is_target_fixed)
        total = 3.0 * recon + 0.1 * awareness + 0.7 * again
        grads = torch.autograd.grad(total, [z, *decoder.parameters(), *cycle.parameters()])
        found.append([joined.detach(), recon.detach(), awareness.detach(), again.detach(), *grads])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_confidently_wrong_awareness_keeps_its_gradient(dtype):
    decoder, cycle = nn.Sequential(nn.Linear(1, 2)).to(dtype), nn.Sequential(nn.Linear(2, 1)).to(dtype)
    with torch.no_grad():
        decoder[0].bias.copy_(torch.tensor([5.0, 200.0]))  # far off, yet sure of being right
    z, truth = torch.zeros(1, 1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
    loss = recovery_losses(decoder, cycle, z, truth, 0.05).awareness_loss
    loss.backward()
    assert torch.isfinite(loss)
    assert decoder[0].bias.grad[1].item() == pytest.approx(1.0)


@pytest.mark.parametrize(("shift", "r2"), [(0.0, 1.0), (1.0, 0.2)])
def test_r2_is_one_minus_error_over_spread(shift, r2):
    truth = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # variance 1.25
    assert reconstruction_r2(truth + shift, truth).item() == pytest.approx(r2)


def test_r2_of_the_mean_is_zero():
    truth = torch.randn(50, 4)
    assert reconstruction_r2(truth.mean(0).expand(50, 4), truth).item() == pytest.approx(0.0, abs=1e-5)
