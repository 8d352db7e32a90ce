"""Epsilon-greedy selection: what is chosen, how often, and from which random stream."""

import copy
from types import SimpleNamespace

import pytest
import torch

from components.action_selectors import REGISTRY, EpsilonGreedyActionSelector
from components.transforms import OneHot
from epymarl_lmac.errors import SettingsError


def selector(**changes):
    settings = dict(
        epsilon_start=1.0,
        epsilon_finish=0.05,
        epsilon_anneal_time=100,
        evaluation_epsilon=0.0,
        test_greedy=True,
        seed=1,
    )
    return REGISTRY["epsilon_greedy"](SimpleNamespace(**{**settings, **changes}))


def binomial_bound(n, p):
    """Half width that a correct frequency leaves once in about 10^9 (6 standard deviations)."""
    return 6 * (n * p * (1 - p)) ** 0.5


def test_without_exploration_the_best_available_action_is_taken():
    q = torch.tensor([[[1.0, 5.0, 3.0], [9.0, 8.0, 7.0]]])
    avail = torch.tensor([[[1, 0, 1], [0, 1, 1]]])
    chosen = selector(epsilon_start=0.0, epsilon_finish=0.0).select_action(q, avail, t_env=0)
    assert chosen.tolist() == [[2, 1]]
    assert chosen.dtype == torch.long


def test_negative_values_do_not_make_an_unavailable_action_attractive():
    q = torch.full((1, 1, 3), -1e9)
    avail = torch.tensor([[[0, 0, 1]]])
    for epsilon in (0.0, 1.0):
        chosen = selector(epsilon_start=epsilon, epsilon_finish=epsilon).select_action(q, avail, 0)
        assert chosen.item() == 2


@pytest.mark.parametrize("epsilon", [0.05, 0.3, 1.0])
def test_exploration_takes_every_available_action_equally_often(epsilon):
    n = 20_000
    q = torch.zeros(n, 1, 5)
    q[..., 4] = 1.0
    avail = torch.ones(n, 1, 5, dtype=torch.int)
    avail[..., 1] = 0
    actions = selector(epsilon_start=epsilon, epsilon_finish=epsilon).select_action(q, avail, 0)
    counts = torch.bincount(actions.flatten(), minlength=5).tolist()
    assert counts[1] == 0
    for action, probability in {
        0: epsilon / 4,
        2: epsilon / 4,
        3: epsilon / 4,
        4: 1 - epsilon * 3 / 4,
    }.items():
        assert abs(counts[action] - n * probability) <= binomial_bound(n, probability)


def test_agents_explore_independently_of_each_other():
    n = 20_000
    q = torch.zeros(n, 2, 2)
    q[..., 0] = 1.0
    actions = selector(epsilon_start=0.5, epsilon_finish=0.5).select_action(q, torch.ones(n, 2, 2), 0)
    explored = actions == 1
    both = (explored[:, 0] & explored[:, 1]).sum().item()
    assert abs(both - n / 16) <= binomial_bound(n, 1 / 16)


def test_no_unavailable_action_in_many_random_masks():
    generator = torch.Generator().manual_seed(0)
    avail = (torch.rand(2000, 3, 6, generator=generator) < 0.3).int()
    avail[..., 0] = torch.where(avail.sum(-1) == 0, 1, avail[..., 0])
    q = torch.randn(2000, 3, 6, generator=generator)
    one = selector(epsilon_start=0.5, epsilon_finish=0.5)
    for test_mode in (False, True):
        actions = one.select_action(q, avail, 0, test_mode)
        assert avail.gather(2, actions.unsqueeze(-1)).all()


def test_epsilon_follows_the_schedule_in_training_and_is_kept_in_evaluation():
    one = selector()
    q, avail = torch.zeros(1, 1, 2), torch.ones(1, 1, 2)
    assert one.epsilon == 1.0
    one.select_action(q, avail, t_env=50)
    assert one.epsilon == pytest.approx(0.525)
    one.select_action(q, avail, t_env=90, test_mode=True)
    assert one.epsilon == pytest.approx(0.525)
    one.select_action(q, avail, t_env=1000)
    assert one.epsilon == 0.05


@pytest.mark.parametrize(("test_greedy", "probability"), [(True, 0.1), (False, 0.4)])
def test_evaluation_explores_as_the_settings_say(test_greedy, probability):
    n = 20_000
    q = torch.zeros(n, 1, 2)
    q[..., 0] = 1.0
    one = selector(epsilon_start=0.8, epsilon_finish=0.8, evaluation_epsilon=0.2, test_greedy=test_greedy)
    explored = one.select_action(q, torch.ones(n, 1, 2), 0, test_mode=True).sum().item()
    assert abs(explored - n * probability) <= binomial_bound(n, probability)


def draws(one, n=5, test_mode=False):
    q, avail = torch.zeros(4, 3, 6), torch.ones(4, 3, 6)
    return [one.select_action(q, avail, 0, test_mode).tolist() for _ in range(n)]


def test_the_seed_decides_and_torchs_own_generator_is_not_used():
    before = torch.get_rng_state()
    assert draws(selector()) == draws(selector())
    assert draws(selector()) != draws(selector(seed=2))
    assert torch.equal(before, torch.get_rng_state())


def test_evaluation_does_not_change_what_training_explores():
    plain, tested = selector(evaluation_epsilon=0.5), selector(evaluation_epsilon=0.5)
    draws(tested, test_mode=True)
    assert draws(plain) == draws(tested)


@pytest.mark.parametrize("test_mode", [False, True])
def test_a_restored_selector_goes_on_where_it_was(test_mode):
    one = selector(evaluation_epsilon=0.7)
    draws(one), draws(one, test_mode=True)
    state = copy.deepcopy(one.state_dict())
    expected = draws(one, test_mode=test_mode)
    other = selector(evaluation_epsilon=0.7, seed=99)
    other.load_state_dict(state)
    assert draws(other, test_mode=test_mode) == expected


def test_a_deep_copy_draws_the_same_and_leaves_the_original_alone():
    one = selector()
    twin = copy.deepcopy(one)
    assert isinstance(twin, EpsilonGreedyActionSelector)
    first = draws(twin)
    assert draws(one) == first


@pytest.mark.parametrize("key", ["epsilon_start", "epsilon_finish", "evaluation_epsilon"])
def test_an_epsilon_that_is_no_probability_is_refused(key):
    with pytest.raises(SettingsError, match=rf"{key}=1\.5 is no probability") as error:
        selector(**{key: 1.5})
    assert error.value.key == key


def test_onehot_marks_the_index_and_refuses_one_out_of_range():
    onehot = OneHot(4).transform(torch.tensor([[[3], [0]]]))
    assert onehot.tolist() == [[[0, 0, 0, 1], [1, 0, 0, 0]]]
    assert OneHot(4).infer_output_info((1,), torch.long) == ((4,), torch.float32)
    with pytest.raises(RuntimeError):
        OneHot(4).transform(torch.tensor([[4]]))


# -- a stochastic policy -----------------------------------------------------------------------------------


def softmax(**changes):
    settings = dict(evaluation_epsilon=0.0, test_greedy=True, seed=1)
    return REGISTRY["softmax"](SimpleNamespace(**{**settings, **changes}))


def shares(chosen, n_actions=4):
    return torch.bincount(chosen.flatten(), minlength=n_actions) / chosen.numel()


LOGITS = torch.tensor([0.0, 1.0, -1.0, 2.0])
AVAIL = torch.tensor([1, 1, 1, 0])


@pytest.mark.parametrize("changes", [{}, {"test_greedy": False}], ids=["training", "a test that draws"])
def test_actions_are_drawn_from_the_softmax_over_available_actions(changes):
    n = 20_000
    chosen = softmax(**changes).select_action(
        LOGITS.expand(n, 1, 4), AVAIL.expand(n, 1, 4), t_env=0, test_mode=bool(changes)
    )
    expected = torch.tensor([*LOGITS[:3].softmax(0).tolist(), 0.0])
    for found, p in zip(shares(chosen).tolist(), expected.tolist(), strict=True):
        assert abs(found - p) * n <= binomial_bound(n, p)


def test_greedy_tests_take_the_likeliest_available_action():
    chosen = softmax().select_action(LOGITS.expand(50, 2, 4), AVAIL.expand(50, 2, 4), 0, test_mode=True)
    assert chosen.unique().tolist() == [1]


def test_greedy_tests_of_a_policy_explore_with_the_evaluations_epsilon():
    n = 20_000
    chosen = softmax(evaluation_epsilon=0.3).select_action(
        LOGITS.expand(n, 1, 4), AVAIL.expand(n, 1, 4), 0, test_mode=True
    )
    found = shares(chosen).tolist()
    assert abs(found[0] - 0.1) * n <= binomial_bound(n, 0.1) and found[3] == 0


def test_a_caller_can_make_a_policy_explore():
    n, chooser = 20_000, softmax()
    chooser.fixed_epsilon = 1.0
    found = shares(chooser.select_action(LOGITS.expand(n, 1, 4), AVAIL.expand(n, 1, 4), 0)).tolist()
    assert all(abs(share - 1 / 3) * n <= binomial_bound(n, 1 / 3) for share in found[:3]) and found[3] == 0


def test_a_restored_policy_selector_goes_on_to_the_bit_and_tests_do_not_move_training():
    first, second = softmax(), softmax()
    logits, avail = torch.zeros(40, 2, 4), torch.ones(40, 2, 4)
    first.select_action(logits, avail, 0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.select_action(logits, avail, 0, test_mode=True)
    twin = copy.deepcopy(first)
    drawn = [chooser.select_action(logits, avail, 0) for chooser in (first, second, twin)]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], first.select_action(logits, avail, 0))
