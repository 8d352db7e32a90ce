"""What every communication method promises. A method is covered here the day it is registered."""

import copy
import dataclasses

import pytest
import torch
from learner_fixtures import (
    GROUPS,
    SMS_POLICY,
    A,
    N,
    O,
    Recorder,
    T,
    batch_of,
    full_scheme,
    losses_with_and_without_padding_scribbled_on,
    settings,
)

from components.episode_buffer import EpisodeBatch
from components.transforms import OneHot
from controllers import REGISTRY as mac_REGISTRY
from learners import REGISTRY as learner_REGISTRY
from modules.comm import REGISTRY
from modules.comm.steps import TEST

METHODS = sorted(REGISTRY)
# What acting promises holds for methods and for their forms that another learner trains.
FORMS = {**{name: {"comm": name} for name in METHODS}, "sms, a policy": SMS_POLICY}


def sends(name):
    return REGISTRY[FORMS[name]["comm"]].sends


def make_mac(name, **changes):
    torch.manual_seed(0)
    args = settings(**{**FORMS[name], **changes})
    mac = mac_REGISTRY[args.mac](full_scheme(), GROUPS, args)
    mac.train(False)
    return mac


def make_learner(name, **changes):
    torch.manual_seed(0)
    args = settings(comm=name, **changes)
    mac = mac_REGISTRY[args.mac](full_scheme(), GROUPS, args)
    return learner_REGISTRY[args.learner](mac, full_scheme(), Recorder(), args)


@torch.no_grad()
def test_q(mac, batch, steps=None):
    """Returns the Q-values of all steps as in a test, padded (B, T, N, A)."""
    steps = mac.steps(batch, TEST) if steps is None else steps
    return mac.steps(batch).packing.pad(mac.unroll(batch, steps).q_PNA)


test_q.__test__ = False


def with_alive(batch, alive_BTN):
    """Adds the field in which environments say who lives."""
    batch.add_key("alive", {"vshape": (1,), "group": "agents"}, alive_BTN.float().unsqueeze(-1))
    return batch


# -- shapes, acting and learning ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
def test_acting_step_by_step_equals_unrolling(name):
    mac, batch = make_mac(name), batch_of([T - 1, 2, T - 2])
    mac.init_hidden(3)
    with torch.no_grad():
        stepped = torch.stack([mac.forward(batch, t, test_mode=True) for t in range(T)], dim=1)
    unrolled = test_q(mac, batch)
    assert unrolled.shape == (3, T, N, A)
    torch.testing.assert_close(stepped * batch["filled"].unsqueeze(-1), unrolled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_acting_with_delayed_messages_equals_unrolling(name):
    if not sends(name):
        return
    mac, batch = make_mac(name, channel_delay=2), batch_of([T - 1, 3])
    mac.init_hidden(2)
    with torch.no_grad():
        stepped = torch.stack([mac.forward(batch, t, test_mode=True) for t in range(T)], dim=1)
    torch.testing.assert_close(stepped * batch["filled"].unsqueeze(-1), test_q(mac, batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_an_episode_does_not_depend_on_the_others_in_the_batch(name):
    mac, batch = make_mac(name), batch_of([T - 1, T - 1, T - 1])
    torch.testing.assert_close(test_q(mac, batch)[1:2], test_q(mac, batch[1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_tests_are_deterministic(name):
    mac, batch = make_mac(name), batch_of([T - 1, 3])
    assert torch.equal(test_q(mac, batch), test_q(mac, batch))


# -- who hears whom ----------------------------------------------------------------------------------------


def changed_agents(mac, batch, j):
    """Returns whose Q-values change when agent j sees something else."""
    other = copy.deepcopy(batch)
    other.data.transition_data["obs"][:, :, j] += torch.randn(O, generator=torch.Generator().manual_seed(5))
    difference = (test_q(mac, batch) - test_q(mac, other)).abs().amax((0, 1, 3))
    return [bool(d > 1e-6) for d in difference]


@pytest.mark.parametrize("name", FORMS)
def test_with_links_closed_nobody_depends_on_others(name):
    changes = {"comm_control": "zero"} if sends(name) else {}
    mac, batch = make_mac(name, **changes), batch_of([T - 1, T - 1])
    for j in range(N):
        assert changed_agents(mac, batch, j) == [i == j for i in range(N)]


@pytest.mark.parametrize("name", FORMS)
def test_with_links_open_somebody_hears(name):
    mac, batch = make_mac(name), batch_of([T - 1, T - 1])
    reached = sum(changed_agents(mac, batch, j)[i] for j in range(N) for i in range(N) if i != j)
    assert (reached > 0) == sends(name)


@pytest.mark.parametrize("name", FORMS)
def test_what_dead_agents_see_changes_nobody_else(name):
    if not sends(name):
        return
    mac, batch = make_mac(name), batch_of([T - 1, T - 1])
    alive = torch.ones(2, T, N)
    alive[:, :, 1] = 0
    batch = with_alive(batch, alive)
    changed = changed_agents(mac, batch, 1)
    assert [changed[0], changed[2]] == [False, False]


@pytest.mark.parametrize("name", FORMS)
def test_the_noop_rule_finds_dead_agents_as_smac_shows_them(name):
    if not sends(name):
        return
    mac, batch = make_mac(name, comm_dead="noop"), batch_of([T - 1, T - 1])
    avail = batch.data.transition_data["avail_actions"]
    avail[..., 0] = 0  # who lives cannot do nothing
    avail[:, :, 1] = torch.tensor([1] + [0] * (A - 1), dtype=avail.dtype)
    changed = changed_agents(mac, batch, 1)
    assert [changed[0], changed[2]] == [False, False]


@pytest.mark.parametrize("name", FORMS)
def test_exchanging_agents_exchanges_their_values_unless_weights_belong_to_an_index(name):
    mac, batch = make_mac(name), batch_of([T - 1, T - 1])
    order = [1, 0, 2]
    steps = mac.steps(batch, TEST)
    exchanged = dataclasses.replace(steps, x_RND=steps.x_RND[:, order], look=lambda key: None, _once={})
    same = torch.allclose(test_q(mac, batch, exchanged), test_q(mac, batch)[:, :, order], rtol=1e-4, atol=1e-5)
    assert same != mac.comm.is_slotted


@pytest.mark.parametrize("name", FORMS)
def test_the_link_measures_what_the_method_says_it_costs(name):
    mac, batch = make_mac(name), batch_of([T - 1, T - 1])
    test_q(mac, batch)
    metrics = mac.take_message_metrics()
    if not sends(name):
        assert metrics == {} and mac.comm.floats_per_pair() == 0
        return
    if "uplink_floats" in metrics:
        assert mac.comm.floats_per_pair() == 0 and metrics["downlink_floats"] > 0
        return
    assert metrics["message_floats"] <= mac.comm.floats_per_pair() + 1e-9
    if metrics["links_open"] == 1.0:
        assert metrics["message_floats"] == pytest.approx(mac.comm.floats_per_pair())
    assert metrics["message_bits"] == pytest.approx(32 * metrics["message_floats"])


# -- learning ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_gradient_reaches_every_trained_parameter_and_no_target(name):
    learner = make_learner(name)
    for optimiser, _ in learner.optimisers.values():
        optimiser.zero_grad()
    learner.loss(batch_of([T - 1] * 8))[0].backward()
    dry = [n for n, p in learner.mac.comm.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0]
    dry += [n for n, p in learner.mac.agent.named_parameters() if not p.grad.abs().sum() > 0]
    assert dry == []
    targets = [*learner.target_mac.parameters(), *learner.target_mixer.parameters()]
    averages = [p for p in learner.mac.comm.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in [*targets, *averages])


@pytest.mark.parametrize("name", METHODS)
def test_every_trained_parameter_has_exactly_one_optimiser(name):
    learner = make_learner(name)
    trained = sum(p.numel() for p in learner.params)
    assert sum(optimiser.flat.numel() for optimiser, _ in learner.optimisers.values()) == trained


@pytest.mark.parametrize("name", METHODS)
def test_padded_steps_do_not_change_the_loss(name):
    torch.testing.assert_close(*losses_with_and_without_padding_scribbled_on(make_learner(name)))


@pytest.mark.parametrize("name", METHODS)
def test_targets_copy_buffers_as_well_as_parameters(name):
    learner = make_learner(name, target_update_interval_or_tau=2)
    for _ in range(2):
        learner.train(batch_of([T - 1] * 4), 0, 0)
    for key, value in learner.mac.comm.state_dict().items():
        assert torch.equal(value, learner.target_mac.comm.state_dict()[key]), key


@pytest.mark.parametrize("name", METHODS)
def test_a_restored_learner_goes_on_to_the_bit(name):
    changes = {"standardise_rewards": True, "target_update_interval_or_tau": 3}
    first, second = make_learner(name, **changes), make_learner(name, **changes)
    batches = [batch_of([T - 1, 3], seed=i) for i in range(6)]
    for batch in batches[:3]:
        first.train(batch, 0, 0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for batch in batches[3:]:
        for learner in (first, second):
            torch.manual_seed(9)
            learner.train(batch, 0, 0)
    states = [{**learner.mac.state_dict(), "target": learner.target_mac.state_dict()} for learner in (first, second)]
    for a, b in zip(_tensors(states[0]), _tensors(states[1]), strict=True):
        assert torch.equal(a, b)


def _tensors(value):
    return [t for item in value.values() for t in _tensors(item)] if isinstance(value, dict) else [value]


PAYOFF = torch.tensor([[1.0, 0.4, 0.2], [0.4, 0.3, 0.1], [0.2, 0.1, 0.0]])  # monotonic; the best is (0, 0)


def matrix_game():
    """Returns settings and the nine one-step episodes of a game of two agents with three actions."""
    sizes = {"n_agents": 2, "n_actions": 3, "obs_shape": 1, "state_shape": 1}
    scheme = {
        "state": {"vshape": 1},
        "obs": {"vshape": 1, "group": "agents"},
        "actions": {"vshape": (1,), "group": "agents", "dtype": torch.long},
        "avail_actions": {"vshape": (3,), "group": "agents", "dtype": torch.int},
        "reward": {"vshape": (1,)},
        "terminated": {"vshape": (1,), "dtype": torch.uint8},
    }
    batch = EpisodeBatch(scheme, {"agents": 2}, 9, 2, preprocess={"actions": ("actions_onehot", [OneHot(out_dim=3)])})
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    ones = {"state": torch.ones(9, 1), "obs": torch.ones(9, 2, 1), "avail_actions": torch.ones(9, 2, 3)}
    batch.update({**ones, "actions": pairs.unsqueeze(-1)}, ts=0)
    batch.update({"reward": PAYOFF[pairs[:, 0], pairs[:, 1]].unsqueeze(1), "terminated": torch.ones(9, 1)}, ts=0)
    batch.update({**ones, "actions": pairs.unsqueeze(-1)}, ts=1)
    return sizes, batch


@pytest.mark.parametrize("name", [name for name in METHODS if name != "lmac"])  # the stand-in bundle has three agents
def test_a_matrix_game_of_two_agents_is_solved(name):
    sizes, batch = matrix_game()
    torch.manual_seed(0)
    args = settings(comm=name, hidden_dim=16, learner_log_interval=10**9, **sizes)
    mac = mac_REGISTRY[args.mac](batch.scheme, {"agents": 2}, args)
    learner = learner_REGISTRY[args.learner](mac, batch.scheme, Recorder(), args)
    for step in range(250):
        learner.train(batch, step, step)
    with torch.no_grad():
        chosen = mac.unroll(batch, mac.steps(batch, TEST)).q_PNA[0].argmax(-1)
    assert chosen.tolist() == [0, 0]
    transitions = learner._transitions(batch, mac.steps(batch).packing)
    q = mac.unroll(batch).q_PNA
    assert learner.td_loss(transitions, q, q, False)[0] < 0.01
