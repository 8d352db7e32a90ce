"""The compiled form of a feed-forward network equals PyTorch's own modules, forwards and backwards."""

import pytest
import torch
from torch import nn

from epymarl_lmac.learning import forms, mlp
from epymarl_lmac.learning.dropout import Dropout
from epymarl_lmac.learning.mlp import mlp as run

P, N = 7, 2
NETWORKS = {
    "linear": lambda: [nn.Linear(5, 3)],
    "relu": lambda: [nn.Linear(5, 4), nn.ReLU()],
    "norm": lambda: [nn.Linear(5, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 3)],
    "dropout": lambda: [nn.Linear(5, 4), nn.ReLU(), Dropout(0.4), nn.Linear(4, 4), nn.ReLU(), Dropout(0.2)],
    "norm and dropout": lambda: [
        nn.Linear(5, 4),
        nn.ReLU(),
        nn.LayerNorm(4),
        nn.Linear(4, 6),
        nn.ReLU(),
        Dropout(0.4),
        nn.Linear(6, 3),
    ],
    "a layer that has no compiled form": lambda: [nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)],
}


def results(network, parts):
    """Returns what a network puts out, its gradients by part and parameter, and what it puts out without gradient."""
    torch.manual_seed(3)
    out = run(network, *parts)
    grads = torch.autograd.grad(
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), [*parts, *network.parameters()]
    )
    with torch.no_grad():
        torch.manual_seed(3)
        return [out.detach(), *grads, run(network, *parts)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("block_numbers", [1, 2**17])
def test_output_and_gradients_equal_those_of_the_modules(name, block_numbers, monkeypatch):
    monkeypatch.setattr(mlp, "BLOCK_NUMBERS", block_numbers)
    torch.manual_seed(0)
    network = nn.Sequential(*NETWORKS[name]())
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    parts = [torch.randn(P, N, width, requires_grad=True) for width in (2, 3)]
    compiled = results(network, parts)
    monkeypatch.setattr(forms, "plain_only", True)
    for ours, plain in zip(compiled, results(network, parts), strict=True):
        torch.testing.assert_close(ours, plain)


def test_eval_mode_drops_nothing():
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), Dropout(0.4)).eval()
    x = torch.randn(P, 5)
    torch.testing.assert_close(run(network, x), network(x))
