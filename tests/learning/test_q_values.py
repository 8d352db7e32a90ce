"""Q-values of the actions taken and of the next step's best action: the compiled form and PyTorch's."""

import pytest
import torch

from epymarl_lmac.learning import forms
from epymarl_lmac.learning.q_values import UNAVAILABLE, next_values, taken

P, V, N, A = 9, 6, 3, 4


def drawn():
    torch.manual_seed(0)
    rows = torch.randperm(P)[:V]
    avail = torch.randint(0, 2, (V, N, A))
    avail[0, 0], avail[1] = 0, 1
    return torch.randn(P, N, A), torch.randn(P, N, A), rows, avail


@pytest.mark.parametrize("plain_only", [False, True])
def test_actions_taken_are_picked_and_pass_their_gradient_back(plain_only, monkeypatch):
    monkeypatch.setattr(forms, "plain_only", plain_only)
    q, weights, rows, _ = drawn()
    q.requires_grad_()
    actions = torch.randint(0, A, (V, N, 1))
    values = taken(q, rows, actions)
    (values * weights[:V, :, 0]).sum().backward()
    expected = torch.zeros(P, N, A)
    for v in range(V):
        for n in range(N):
            assert values[v, n] == q[rows[v], n, actions[v, n, 0]]
            expected[rows[v], n, actions[v, n, 0]] = weights[v, n, 0]
    assert torch.equal(q.grad, expected)


@pytest.mark.parametrize("plain_only", [False, True])
def test_one_network_judges_the_available_action_that_another_prefers(plain_only, monkeypatch):
    monkeypatch.setattr(forms, "plain_only", plain_only)
    worth, choosing, rows, avail = drawn()
    values = next_values(worth, choosing, rows, avail)
    for v in range(V):
        for n in range(N):
            possible = [a for a in range(A) if avail[v, n, a]]
            best = max(possible, key=lambda a: choosing[rows[v], n, a], default=None)
            assert values[v, n] == (UNAVAILABLE if best is None else worth[rows[v], n, best])


@pytest.mark.parametrize("plain_only", [False, True])
def test_of_equal_actions_the_first_is_preferred(plain_only, monkeypatch):
    monkeypatch.setattr(forms, "plain_only", plain_only)
    worth = torch.arange(4.0).view(1, 1, 4)
    avail = torch.tensor([[[0, 1, 1, 1]]])
    assert next_values(worth, torch.zeros(1, 1, 4), torch.zeros(1, dtype=torch.long), avail).item() == 1.0
