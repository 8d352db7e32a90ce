"""The linear mixer's weights, the agent without hidden layers, and the dueling critics."""

from types import SimpleNamespace

import pytest
import torch

from epymarl_lmac.errors import SettingsError
from modules.agents.linear_agent import LinearAgent
from modules.critics.twin_critic import DuelingCritic, TwinCritic
from modules.mixers.linear_mixer import LinearMixer

N, S, A, Z = 3, 5, 4, 6


def mixer():
    torch.manual_seed(0)
    return LinearMixer(SimpleNamespace(n_agents=N, state_shape=S, mixing_embed_dim=8))


def test_the_mixers_weights_are_positive_sum_to_one_and_depend_on_the_state():
    k = mixer().weights(torch.randn(20, S))
    assert (k > 0).all() and (k.std(0) > 0.01).all()
    torch.testing.assert_close(k.sum(-1), torch.ones(20))


def test_the_mixer_is_linear_in_the_agents_values():
    mix, state, q = mixer(), torch.randn(2, 3, S), torch.randn(2, 3, N, requires_grad=True)
    total = mix(q, state)
    assert total.shape == (2, 3, 1)
    torch.testing.assert_close(torch.autograd.grad(total.sum(), q)[0], mix.weights(state))
    torch.testing.assert_close(mix(torch.full((2, 3, N), 7.0), state), torch.full((2, 3, 1), 7.0))


def test_weights_that_are_all_zero_give_no_nan():
    mix = mixer()
    with torch.no_grad():
        mix.hyper_w_final.weight.zero_()
        mix.hyper_w_final.bias.zero_()
    assert mix(torch.ones(1, 1, N), torch.randn(1, 1, S)).item() == 0


def test_a_linear_agent_has_one_layer_and_keeps_no_memory():
    agent = LinearAgent(Z, SimpleNamespace(use_rnn=False, n_actions=A))
    x, anything = torch.randn(2, Z), torch.randn(2, Z)
    q, state = agent(x, anything)
    assert torch.equal(q, agent.fc2(x)) and torch.equal(state, x) and torch.equal(agent.states(x, anything, [2]), x)
    assert [name for name, _ in agent.named_parameters()] == ["fc2.weight", "fc2.bias"]


def test_a_linear_agent_with_memory_is_refused():
    with pytest.raises(SettingsError, match=r"agent=linear has no memory; set use_rnn=False, or agent=rnn"):
        LinearAgent(Z, SimpleNamespace(use_rnn=True, n_actions=A))


def critic_by_hand(critic, z, p):
    advantages = [critic.advantage(torch.cat([z, action])) for action in torch.eye(A)]
    return critic.value(z) + critic.advantage(torch.cat([z, p])) - sum(advantages) / A


def test_a_dueling_critic_by_hand():
    torch.manual_seed(0)
    critic, z, p = DuelingCritic(Z, A, 8), torch.randn(2, N, Z), torch.randn(2, N, 3, A).softmax(-1)
    q = critic(z, p)
    for r, n, c in torch.cartesian_prod(torch.arange(2), torch.arange(N), torch.arange(3)).tolist():
        torch.testing.assert_close(q[r, n, c], critic_by_hand(critic, z[r, n], p[r, n, c]).squeeze())


def test_the_mean_over_actions_is_the_value():
    torch.manual_seed(0)
    critic, z = DuelingCritic(Z, A, 8), torch.randn(2, N, Z)
    q = critic(z, torch.eye(A).expand(2, N, A, A))
    torch.testing.assert_close(q.mean(-1), critic.value(z).squeeze(-1))


def test_twin_critics_start_differently_and_the_smaller_is_taken():
    torch.manual_seed(0)
    twin, z, p = TwinCritic(Z, A, 8), 9 * torch.randn(99, N, Z), torch.randn(99, N, 1, A).softmax(-1)
    first, second = twin(z, p)
    assert (first < second).any() and (second < first).any()
    assert torch.equal(twin.smaller(z, p), torch.minimum(first, second))
