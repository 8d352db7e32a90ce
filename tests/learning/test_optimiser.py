"""The flat optimiser computes what PyTorch's does on separate tensors."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.optimiser import OptimiserChoice, make_optimiser


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def loss_of(net, step):
    x = torch.linspace(-1, 1, 12).view(3, 4) * (step + 1)
    return net(x).square().sum() * 10


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_equals_pytorch_on_separate_tensors(name):
    ours, theirs = network(), network()
    flat = make_optimiser(list(ours.parameters()), OptimiserChoice(name, lr=0.01, clip=1.0))
    if name == "adam":
        plain = torch.optim.Adam(theirs.parameters(), lr=0.01)
    else:
        plain = torch.optim.RMSprop(theirs.parameters(), lr=0.01, alpha=0.99, eps=1e-5)
    for step in range(5):
        flat.zero_grad()
        loss_of(ours, step).backward()
        norm = flat.clip_and_step(1.0)
        plain.zero_grad()
        loss_of(theirs, step).backward()
        plain_norm = nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        plain.step()
        torch.testing.assert_close(norm, plain_norm)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_state_of_pytorchs_optimiser_is_read(name):
    """As in checkpoints of earlier versions."""
    ours, theirs = network(), network()
    flat = make_optimiser(list(ours.parameters()), OptimiserChoice(name, lr=0.01, clip=1.0))
    parameter = nn.Parameter(torch.nn.utils.parameters_to_vector(theirs.parameters()).detach())
    if name == "adam":
        plain = torch.optim.Adam([parameter], lr=0.01, fused=True)
    else:
        plain = torch.optim.RMSprop([parameter], lr=0.01, alpha=0.99, eps=1e-5)
    flat.load_state_dict(plain.state_dict())  # nothing is in it yet
    for step in range(4):
        parameter.grad = torch.linspace(-1, 1, len(parameter)) * (step + 1)
        plain.step()
    flat.load_state_dict(plain.state_dict())
    flat.flat.copy_(parameter.detach())
    flat.grad.copy_(parameter.grad)
    plain.step()
    flat.clip_and_step(1e9)
    torch.testing.assert_close(flat.flat, parameter.detach(), rtol=0, atol=0)


def test_the_state_of_another_optimiser_is_refused():
    adam, rmsprop = (
        make_optimiser(list(network().parameters()), OptimiserChoice(name, lr=0.01, clip=1.0))
        for name in ("adam", "rmsprop")
    )
    with pytest.raises(ValueError, match="RMSprop has step, square_avg; this one has step, exp_avg, exp_avg_sq"):
        rmsprop.load_state_dict(adam.state_dict())


def test_restored_state_continues_to_the_bit():
    nets, optimisers = [], []
    for _ in range(2):
        nets.append(network())
        optimisers.append(make_optimiser(list(nets[-1].parameters()), OptimiserChoice("adam", lr=0.01, clip=10.0)))

    def step(i, n):
        optimisers[i].zero_grad()
        loss_of(nets[i], n).backward()
        optimisers[i].clip_and_step(10.0)

    for n in range(3):
        step(0, n)
    nets[1].load_state_dict(nets[0].state_dict())
    optimisers[1].load_state_dict(optimisers[0].state_dict())
    for n in range(3, 6):
        step(0, n)
        step(1, n)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_unknown_optimiser_is_named():
    with pytest.raises(SettingsError, match=r"optimiser='sgd'.*'adam' or 'rmsprop'"):
        make_optimiser(list(network().parameters()), OptimiserChoice("sgd", lr=0.01, clip=1.0))


UPDATE = """
import sys
import torch
from epymarl_lmac.learning.optimiser import OptimiserChoice, make_optimiser
net = torch.nn.Linear(3, 2)
for kind in ("adam", "rmsprop"):
    optimiser = make_optimiser(list(net.parameters()), OptimiserChoice(kind, lr=0.01, clip=1.0))
    net(torch.ones(4, 3)).sum().backward()
    optimiser.clip_and_step(1.0)
    optimiser.load_state_dict(optimiser.state_dict())
print("torch._dynamo" in sys.modules)
"""


def test_an_update_does_not_import_pytorchs_compiler():
    done = subprocess.run([sys.executable, "-c", UPDATE], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
