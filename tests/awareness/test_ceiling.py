"""What can be known, judged on fewer episodes than protocols are."""

import numpy as np
import pytest
import torch

from epymarl_lmac.awareness.ceiling import ceiling_of
from epymarl_lmac.awareness.inputs import Episodes
from epymarl_lmac.tasks.posterior import EXACT, SAMPLED, Belief

B, T, N, S = 40, 3, 2, 4
GROUPS = {"low": [0, 1], "high": [2, 3]}


@pytest.fixture
def episodes():
    """A state that is drawn anew for every episode and stays."""
    generator = torch.Generator().manual_seed(1)
    state_BTS = torch.randn(B, 1, S, generator=generator).expand(B, T, S).contiguous()
    return Episodes(torch.zeros(B, T, N, 1), torch.zeros(B, T, N, dtype=torch.long), state_BTS, torch.full((B,), T))


class KnowsTheMean:
    """Says the mean over all episodes, whatever was seen: it knows nothing."""

    note = "the mean"

    def __init__(self, episodes, form):
        self.mean_S, self.form, self.n_asked = episodes.state_BTS.mean((0, 1)).numpy(), form, 0

    def together(self, obs_TNO, actions_TN):
        self.n_asked += 1
        return Belief(np.tile(self.mean_S, (len(obs_TNO), 1)), np.zeros((len(obs_TNO), S)))

    def alone(self, obs_TNO, actions_TN):
        return Belief(np.tile(self.mean_S, (len(obs_TNO), N, 1)), np.zeros((len(obs_TNO), N, S)))


def ceiling(posterior, episodes, n):
    return ceiling_of(posterior, episodes, range(S), 0.1, GROUPS, n)


def test_r2_on_few_episodes_is_relative_to_the_variance_of_all(episodes):
    """Else an R2 of four episodes could not stand beside that of forty."""
    found = ceiling(KnowsTheMean(episodes, SAMPLED), episodes, 4)
    some = episodes.spread(4).state_BTS
    mean_S = episodes.state_BTS.mean((0, 1))
    error, variance = (
        (some - mean_S).square().mean((0, 1)).sum(),
        (episodes.state_BTS - mean_S).square().mean((0, 1)).sum(),
    )
    own_variance = (some - some.mean((0, 1))).square().mean((0, 1)).sum()
    assert found.alone.r2 == pytest.approx(1 - float(error / variance), abs=1e-5)
    assert abs(found.alone.r2 - (1 - float(error / own_variance))) > 0.05
    assert found.together.r2 == found.alone.r2


@pytest.mark.parametrize(("form", "n_together"), [(EXACT, B), (SAMPLED, 4)])
def test_a_sampled_posterior_is_asked_about_some_episodes_only(form, n_together, episodes):
    posterior = KnowsTheMean(episodes, form)
    found = ceiling(posterior, episodes, 4)
    assert (found.n_alone, found.n_together, posterior.n_asked) == (4, n_together, n_together)
