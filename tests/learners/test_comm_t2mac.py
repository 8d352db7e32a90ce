"""T2MAC: fusion by Dempster's rule, who is told what, the selector's labels, and both modes."""

import dataclasses

import pytest
import torch
from learner_fixtures import (
    GROUPS,
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

from controllers import REGISTRY as mac_REGISTRY
from learners import REGISTRY as learner_REGISTRY
from modules.comm.steps import TEST
from modules.comm.t2mac import fused, uncertainty

OTHERS = ~torch.eye(N, dtype=torch.bool)
MODES = ("paper", "release")
F = 8  # features of the released form


def make(**changes):
    torch.manual_seed(0)
    args = settings(comm="t2mac", t2mac_feature_dim=F, **changes)
    scheme = full_scheme()
    return learner_REGISTRY[args.learner](mac_REGISTRY[args.mac](scheme, GROUPS, args), scheme, Recorder(), args)


def unrolled(mac, batch, mode=TEST):
    steps = mac.steps(batch, mode)
    return steps, mac.unroll(batch, steps)


# -- opinions ----------------------------------------------------------------------------------------------


def fold(evidence_SK):
    """Fuses opinions one by one as equations 5 to 8 of the paper say, in beliefs and uncertainty."""
    K = evidence_SK.shape[-1]
    belief, u = torch.zeros(K, dtype=evidence_SK.dtype), torch.ones((), dtype=evidence_SK.dtype)
    for evidence in evidence_SK:
        strength = (evidence + 1).sum()
        b2, u2 = evidence / strength, K / strength
        conflict = belief.sum() * b2.sum() - (belief * b2).sum()
        belief, u = (belief * b2 + belief * u2 + b2 * u) / (1 - conflict), u * u2 / (1 - conflict)
    return belief * K / u, u


@pytest.mark.parametrize("senders", [1, 2, 5])
def test_the_product_of_evidence_is_dempsters_rule(senders):
    evidence = 3 * torch.rand(senders, 4, generator=torch.Generator().manual_seed(senders), dtype=torch.float64)
    expected, u = fold(evidence)
    result = fused(evidence.view(1, 1, senders, 4))[0, 0]
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(uncertainty(result), u)


def test_no_evidence_is_full_uncertainty_and_changes_nothing():
    evidence = torch.tensor([[[[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]])
    torch.testing.assert_close(fused(evidence)[0, 0], evidence[0, 0, 0])
    assert uncertainty(torch.zeros(3)) == 1


def test_fusion_passes_gradients_at_no_evidence():
    evidence = torch.zeros(1, 1, 2, 3, requires_grad=True)
    fused(evidence).sum().backward()
    assert evidence.grad.eq(1).all()


# -- who is told what --------------------------------------------------------------------------------------


def test_a_message_is_made_by_its_sender_for_its_receiver():
    comm = make().mac.comm
    with torch.no_grad():
        comm.tailored.weight.zero_()
        comm.selector.weight.zero_()
        for k in range(N * A):
            comm.tailored.weight[k, 0] = k
        for receiver in range(N):
            comm.selector.weight[receiver, 0] = receiver
        comm.tailored.bias.zero_()
        comm.selector.bias.zero_()
    h = torch.zeros(1, N, 8)
    h[0, :, 0] = torch.tensor([100.0, 200.0, 300.0])  # softplus is the identity up there
    h[0, :, 0] += 1000
    message, logit = comm.messages(h)
    for receiver in range(N):
        for sender in range(N):
            size = h[0, sender, 0].item()
            assert logit[0, receiver, sender].item() == receiver * size
            expected = [max((receiver * A + k) * size, 0.6931) for k in range(A)]
            assert message[0, receiver, sender].tolist() == pytest.approx(expected, rel=1e-4)


def test_values_are_own_evidence_and_what_was_sent_fused():
    mac = make().mac
    with torch.no_grad():
        mac.comm.selector.bias.fill_(0.0)  # so that some links are closed
        _, online = unrolled(mac, batch_of([T - 1] * 4))
    kept = online.kept
    is_sent = (torch.sigmoid(kept["logit"]) > 0.5) & OTHERS
    assert is_sent.any() and not is_sent[:, OTHERS].all()
    for row in range(len(is_sent)):
        for j in range(N):
            received, _ = fold(kept["message"][row, j][is_sent[row, j]])
            torch.testing.assert_close(online.q_PNA[row, j], kept["own"][row, j] + received, rtol=1e-4, atol=1e-5)


def test_only_links_that_were_chosen_cost_anything():
    mac = make().mac
    with torch.no_grad():
        mac.comm.selector.bias.fill_(0.0)
        _, online = unrolled(mac, batch_of([T - 1] * 4))
    metrics = mac.take_message_metrics()
    used = (online.kept["gate"] & OTHERS).double().mean(0)
    torch.testing.assert_close(mac.last_costs["links"], used)
    torch.testing.assert_close(mac.last_costs["floats"], A * used)
    assert 0 < metrics["links_open"] < 1
    assert metrics["message_bits"] == pytest.approx(32 * A * metrics["links_open"])


@pytest.mark.parametrize(("gate", "links"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_gate_is_the_probability_that_must_be_exceeded(gate, links):
    mac = make(t2mac_gate=gate).mac
    with torch.no_grad():
        unrolled(mac, batch_of([T - 1]))
    assert mac.take_message_metrics()["links_open"] == links


def test_an_untrained_selector_opens_all_links():
    mac = make().mac
    with torch.no_grad():
        unrolled(mac, batch_of([T - 1]))
    assert mac.take_message_metrics()["message_floats"] == A == mac.comm.floats_per_pair()


def test_noise_on_the_channel_makes_no_negative_evidence():
    mac = make(channel_noise=50.0).mac
    with torch.no_grad():
        _, online = unrolled(mac, batch_of([T - 1] * 4))
    assert (online.q_PNA >= online.kept["own"]).all() and online.q_PNA.isfinite().all()


# -- the selector's loss -----------------------------------------------------------------------------------


def hand_loss(kept, alive_TN, min_gain):
    """Returns the selector's loss of one episode of two transitions and its labels, pair by pair."""
    terms, labels = [], []
    for t in range(2):
        for j in range(N):
            for i in range(N):
                if i == j or not (alive_TN[t][j] and alive_TN[t][i]):
                    continue
                own, message = kept["own"][t, j], kept["message"][t, j, i]
                before, after = fold(own.unsqueeze(0))[1], fold(torch.stack([own, message]))[1]
                labels.append(float(before - after > min_gain))
                p = torch.sigmoid(kept["logit"][t, j, i])
                terms.append(-torch.log(p if labels[-1] else 1 - p))
    return sum(terms) / len(terms), labels


@pytest.mark.parametrize("alive", [[[1, 1, 1]] * 2, [[1, 1, 1], [1, 0, 1]]], ids=["all live", "one dies"])
def test_selector_loss_of_two_steps_by_hand(alive):
    first = make()
    batch = batch_of([2])
    gains = first.mac.comm.gain(*[first.mac.unroll(batch).kept[key][:2].detach() for key in ("own", "message")])
    middle = float(gains[:, OTHERS].flatten().sort().values[5:7].mean())  # of 12 gains; both labels occur
    learner = make(t2mac_min_gain=middle, t2mac_selector_coef=0.25)
    if not all(map(all, alive)):
        lives = torch.ones(1, T, N, 1)
        lives[0, :2, :, 0] = torch.tensor(alive).float()
        batch.add_key("alive", {"vshape": (1,), "group": "agents"}, lives)
    expected, labels = hand_loss(learner.mac.unroll(batch).kept, alive, middle)
    assert {0.0, 1.0} == set(labels)
    total, stats = learner.loss(batch)
    torch.testing.assert_close(stats["selector_loss"], expected.detach())
    torch.testing.assert_close(total, stats["loss"] + 0.25 * expected)
    assert float(stats["worth_sending"]) == pytest.approx(sum(labels) / len(labels))


def test_a_message_never_raises_uncertainty_and_an_empty_one_is_worth_nothing():
    comm = make().mac.comm
    g = torch.Generator().manual_seed(0)
    own, message = 5 * torch.rand(50, N, A, generator=g), 5 * torch.rand(50, N, N, A, generator=g)
    assert (comm.gain(own, message) > 0).all()
    assert comm.gain(own, torch.zeros_like(message)).abs().max() < 1e-6


# -- gradients ---------------------------------------------------------------------------------------------


def gradients(**changes):
    """Returns the gradients of the whole loss by part."""
    learner = make(**changes)
    for p in learner.params:
        p.grad.zero_()
    learner.loss(batch_of([T - 1] * 4))[0].backward()
    comm = learner.mac.comm
    parts = {"own": learner.mac.agent.fc2, "tailored": comm.tailored, "selector": comm.selector}
    return {part: torch.cat([p.grad.flatten() for p in module.parameters()]) for part, module in parts.items()}


def test_the_td_loss_trains_evidence_at_both_ends_and_not_the_selector():
    gradient = gradients(t2mac_selector_coef=0.0)
    assert gradient["own"].any() and gradient["tailored"].any() and not gradient["selector"].any()


def test_the_selectors_loss_trains_no_evidence():
    gradient, td_only = gradients(t2mac_selector_coef=10.0), gradients(t2mac_selector_coef=0.0)
    assert gradient["selector"].any()
    assert torch.equal(gradient["own"], td_only["own"]) and torch.equal(gradient["tailored"], td_only["tailored"])


def test_evidence_for_a_receiver_that_is_never_chosen_gets_no_gradient():
    learner = make(t2mac_selector_coef=0.0)
    with torch.no_grad():
        learner.mac.comm.selector.bias[1] = -100.0
    for p in learner.params:
        p.grad.zero_()
    learner.loss(batch_of([T - 1] * 4))[0].backward()
    by_receiver = learner.mac.comm.tailored.weight.grad.view(N, A, -1).abs().sum((1, 2))
    assert [bool(g > 0) for g in by_receiver] == [True, False, True]


# -- the released form -------------------------------------------------------------------------------------


def released(**changes):
    """Returns a learner in the released form whose selector opens a few links and whose values are alive."""
    learner = make(t2mac_mode="release", **changes)
    with torch.no_grad():
        learner.mac.agent.fc2.bias.fill_(1.0)
        learner.mac.comm.selector[1].weight.mul_(20)
    return learner


def test_released_values_are_twice_the_own_evidence_and_a_tenth_of_what_was_fused():
    mac = released().mac
    batch = batch_of([T - 1] * 4)
    with torch.no_grad():
        steps, online = unrolled(mac, batch)
        probability_RSN = torch.softmax(mac.comm.selector(steps.x_RND), -1)  # sender, receiver
    own = online.kept["own"]
    is_sent = (probability_RSN.transpose(1, 2) > 0.5) & OTHERS
    assert is_sent.any() and (own > 0).any()
    assert (is_sent.sum(1) <= 1).all()  # the softmax lets every sender choose one receiver at most
    for row in range(len(own)):
        for j in range(N):
            received, _ = fold(own[row][is_sent[row, j]])
            torch.testing.assert_close(online.q_PNA[row, j], 2 * own[row, j] + 0.1 * received, rtol=1e-4, atol=1e-5)


def test_released_values_pass_the_gradient_of_a_single_own_evidence():
    mac = released().mac
    _, online = unrolled(mac, batch_of([T - 1] * 4))
    online.q_PNA.sum().backward()
    assert torch.equal(mac.agent.fc2.bias.grad, (online.kept["own"] > 0).float().sum((0, 1)))


def test_the_released_selector_is_never_trained():
    learner = released()
    before = [p.clone() for p in learner.mac.comm.selector.parameters()]
    for step in range(2):
        learner.train(batch_of([T - 1] * 4), step, step)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.mac.comm.selector.parameters(), strict=True))
    assert "selector_loss" not in learner.logger.stats and "gate_open" in learner.logger.stats


def test_the_released_form_pays_for_features_always_and_for_opinions_when_it_sends_them():
    mac = released().mac
    with torch.no_grad():
        _, online = unrolled(mac, batch_of([T - 1] * 4))
    used = (online.kept["gate"] & OTHERS).double().mean(0)
    mac.take_message_metrics()
    torch.testing.assert_close(mac.last_costs["floats"], 2 * F * OTHERS.double() + A * used)
    assert mac.comm.floats_per_pair() == 2 * F + A


# -- what the contract's tests check of the default mode, in both modes -------------------------------------


@pytest.fixture(params=MODES)
def mac(request):
    return released().mac if request.param == "release" else make().mac


@torch.no_grad()
def padded_q(mac, batch):
    steps, online = unrolled(mac, batch)
    return steps.packing.pad(online.q_PNA)


def changed_by(mac, batch, j):
    """Returns whose values change when agent j sees something else."""
    before = padded_q(mac, batch)
    batch.data.transition_data["obs"][:, :, j] += torch.randn(O, generator=torch.Generator().manual_seed(5))
    return [bool(d > 1e-6) for d in (padded_q(mac, batch) - before).abs().amax((0, 1, 3))]


def test_acting_step_by_step_equals_unrolling(mac):
    batch = batch_of([T - 1, 2, T - 2])
    mac.init_hidden(3)
    with torch.no_grad():
        stepped = torch.stack([mac.forward(batch, t, test_mode=True) for t in range(T)], dim=1)
    torch.testing.assert_close(stepped * batch["filled"].unsqueeze(-1), padded_q(mac, batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("j", range(N))
def test_with_links_closed_nobody_depends_on_others(mac, j):
    link = mac.comm.link
    link.settings = dataclasses.replace(link.settings, comm_control="zero")
    assert changed_by(mac, batch_of([T - 1] * 4), j) == [i == j for i in range(N)]


def test_what_a_dead_agent_sees_changes_nobody_else(mac):
    batch = batch_of([T - 1] * 4)
    lives = torch.ones(4, T, N, 1)
    lives[:, :, 1] = 0
    batch.add_key("alive", {"vshape": (1,), "group": "agents"}, lives)
    assert changed_by(mac, batch, 1) == [False, True, False]


def test_padded_steps_change_no_loss_of_the_released_form():
    torch.testing.assert_close(*losses_with_and_without_padding_scribbled_on(make(t2mac_mode="release")))
