"""Dropout with shared draws behaves as torch.nn.Dropout."""

import pytest
import torch

from epymarl_lmac.learning.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_share_of_zeros_and_mean_are_those_of_dropout(p):
    torch.manual_seed(3)
    y = Dropout(p)(torch.ones(400, 1001))  # a width that four does not divide
    n = y.numel()
    spread = (p * (1 - p) / n) ** 0.5
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=5 * spread + 2**-17)
    assert y.mean().item() == pytest.approx(1.0, abs=5 * spread / (1 - p) + 1e-4)
    kept = y[y > 0]
    assert kept.min() == kept.max() == pytest.approx(1 / (1 - p), rel=1e-4)


def test_elements_that_share_a_draw_are_independent():
    torch.manual_seed(4)
    dropped = (Dropout(0.5)(torch.ones(100_000, 4)) == 0).float()
    correlation = torch.corrcoef(dropped.T) - torch.eye(4)
    assert correlation.abs().max().item() < 5 / 100_000**0.5


def test_gradient_passes_where_the_value_passed():
    x = torch.ones(1000, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_eval_mode_and_zero_probability_change_nothing():
    x = torch.randn(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_impossible_probabilities_are_refused(p):
    with pytest.raises(ValueError, match="not in"):
        Dropout(p)
