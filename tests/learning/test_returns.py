"""Lambda-returns by the recursion, episode by episode, on episodes of different lengths."""

import pytest
import torch

from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.learning.returns import lambda_returns

T = 6
LENGTHS = [2, 6, 1, 4]  # stored steps of each episode, the last one only bootstraps
TERMINATED = [True, False, False, True]
GAMMA = 0.9


def batch():
    """Returns packing, rewards and terminations of transitions, values of steps, and the padded arrays."""
    g = torch.Generator().manual_seed(0)
    filled = torch.tensor([[int(t < n) for t in range(T)] for n in LENGTHS])
    packing = Packing.of(filled)
    reward, value = torch.randn(4, T, 1, generator=g), torch.randn(4, T, 1, generator=g)
    done = torch.zeros(4, T, 1)
    for b, length in enumerate(LENGTHS):
        if TERMINATED[b]:
            done[b, length - 2] = 1
    rows = packing.rows_P[packing.now_V]
    flat = [array.reshape(-1, 1)[rows] for array in (reward, done)]
    return packing, *flat, packing.pack(value), reward, done, value


def by_recursion(reward, done, value, length, lam):
    following = float(value[length - 1])
    returns = [0.0] * (length - 1)
    for t in reversed(range(length - 1)):
        future = (1 - lam) * float(value[t + 1]) + lam * following
        following = returns[t] = float(reward[t]) + GAMMA * (1 - float(done[t])) * future
    return returns


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_every_episode_has_the_returns_of_the_recursion(lam):
    packing, reward_V1, done_V1, value_P1, *padded = batch()
    found = torch.zeros(4 * T)
    found[packing.rows_P[packing.now_V]] = lambda_returns(packing, reward_V1, done_V1, value_P1, GAMMA, lam).squeeze(1)
    for b, length in enumerate(LENGTHS):
        expected = by_recursion(*(array[b] for array in padded), length, lam)
        torch.testing.assert_close(found.view(4, T)[b, : length - 1], torch.tensor(expected))


def test_an_episode_that_terminates_is_not_bootstrapped_and_one_that_is_cut_off_is():
    packing = Packing.of(torch.ones(2, 2, dtype=torch.long))
    value = torch.full((4, 1), 10.0)
    returns = lambda_returns(packing, torch.ones(2, 1), torch.tensor([[1.0], [0.0]]), value, GAMMA, 0.6)
    assert returns.flatten().tolist() == [1.0, 10.0]
