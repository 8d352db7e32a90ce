"""The link: what each option does to a message, and what it leaves alone."""

import pytest
import torch

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning import forms, threads
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.learning.packing import Packing
from modules.comm.link import Link, LinkSettings
from modules.comm.steps import ACT, LEARN, TEST, Steps

N, M = 3, 4
OWN = torch.eye(N, dtype=torch.bool)
# Receiver 0: two numbers of agent 1, one of agents 1 and 2, one of its own. The others hear agent 0 only.
SENDERS = torch.zeros(N, M, N, dtype=torch.bool)
SENDERS[0, 0, 1] = SENDERS[0, 1, 1] = SENDERS[0, 2, 1] = SENDERS[0, 2, 2] = SENDERS[0, 3, 0] = True
SENDERS[1:, :, 0] = True


def link(**changes):
    return Link(LinkSettings(**changes), N)


def acting(rows=1, mode=ACT, memory=None, **more):
    memory = {} if memory is None else memory
    return Steps(torch.zeros(rows, N, 1), 1, XLayout(2, False, False), [rows], mode, memory=memory, **more)


def learning(lengths, mode=LEARN):
    filled = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    packing = Packing.of(filled)
    P = len(packing.rows_P)
    return Steps(torch.zeros(P, N, 1), 1, XLayout(2, False, False), packing.counts, mode, packing=packing)


def messages(rows=5000, shape=(N, M)):
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# -- a perfect link ----------------------------------------------------------------------------------------


def test_a_perfect_link_changes_nothing():
    sent = messages(5)
    heard = link().broadcast(acting(5), sent)
    assert torch.equal(heard.values.squeeze(1), sent) and heard.open_RNS is None
    assert link().fixed(acting(5), sent, SENDERS) is sent


def test_evaluation_only_leaves_training_alone():
    only, sent = link(channel_drop=1.0, channel_when="test"), messages(5)
    assert only.broadcast(acting(5), sent).open_RNS is None
    assert torch.equal(only.broadcast(acting(5, TEST), sent).open_RNS[0], OWN)


# -- learned messages --------------------------------------------------------------------------------------


def test_drop_loses_whole_links_and_never_an_own_message():
    sent = messages()
    heard = link(channel_drop=0.3).broadcast(acting(5000), sent)
    shares = heard.open_RNS.float().mean(0)
    torch.testing.assert_close(shares, torch.where(OWN, 1.0, 0.7), atol=0.03, rtol=0)
    expected = torch.where(heard.open_RNS.unsqueeze(-1), sent.unsqueeze(1), 0.0)
    assert torch.equal(heard.values, expected)
    assert not torch.equal(heard.open_RNS[:, 1, 0], heard.open_RNS[:, 2, 0])  # links fail independently


def test_dead_agents_neither_send_nor_hear():
    alive = torch.tensor([[True, True, False]])
    heard = link().broadcast(acting(alive_RN=alive), messages(1))
    assert heard.open_RNS[0].tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert heard.values[0, 0, 2].eq(0).all() and heard.values[0, 2, :2].eq(0).all()


def test_a_gate_closes_links_of_one_receiver():
    gate = torch.ones(1, N, N, dtype=torch.bool)
    gate[0, 0, 1] = False
    sent = messages(1, (N, N, M))
    heard = link().pairs(acting(), sent, gate)
    assert heard.values[0, 0, 1].eq(0).all() and torch.equal(heard.values[0, 1, 0], sent[0, 1, 0])


def test_mean_of_others_is_over_those_that_were_heard():
    gate = torch.tensor([[[True, True, False], [True, True, True], [False, False, True]]])
    sent = messages(1)
    mean = link().broadcast(acting(), sent, gate).mean_of_others()
    torch.testing.assert_close(mean[0, 0], sent[0, 1])
    torch.testing.assert_close(mean[0, 1], (sent[0, 0] + sent[0, 2]) / 2)
    assert mean[0, 2].eq(0).all()
    open_mean = link().broadcast(acting(), sent).mean_of_others()
    torch.testing.assert_close(open_mean[0, 0], (sent[0, 1] + sent[0, 2]) / 2)


def test_quantised_messages_pass_gradients_within_the_range():
    sent = torch.tensor([0.3, -0.8, 5.0, 0.0]).expand(1, N, M).clone().requires_grad_()
    heard = link(channel_bits=3).broadcast(acting(), sent)
    heard.values[0, 0, 1].sum().backward()
    assert torch.equal(sent.grad[0, 1], torch.tensor([1.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(heard.values[0, 0, 1].detach(), torch.tensor([1 / 3, -2 / 3, 1.0, 0.0]))


def test_budget_keeps_the_first_numbers_of_a_message():
    heard = link(channel_budget=2).broadcast(acting(), torch.ones(1, N, M))
    assert heard.values[0, 0, 1].tolist() == [1, 1, 0, 0]
    assert heard.values[0, 0, 0].tolist() == [1, 1, 1, 1]  # what an agent knows itself


@pytest.mark.parametrize("kind", ["broadcast", "pairs"])
def test_delay_while_acting_and_in_an_update_agree(kind):
    late, lengths = link(channel_delay=2), [5, 3]
    steps = learning(lengths)
    shape = (N, M) if kind == "broadcast" else (N, N, M)
    sent = messages(2 * 5, shape).view(2, 5, *shape)
    packed = getattr(late, kind)(steps, steps.packing.pack(sent))
    values = steps.packing.pad(packed.values)
    memory = {}
    for t in range(5):
        heard = getattr(late, kind)(acting(2, memory=memory), sent[:, t])
        for b, length in enumerate(lengths):
            if t < length:
                assert torch.equal(heard.values[b], values[b, t])
                own = sent[b, t] if kind == "broadcast" else sent[b, t][OWN]
                assert torch.equal(heard.values[b][OWN], own)  # an own message is not sent, so not late
                if t < 2:
                    assert torch.equal(heard.open_RNS[b], OWN)


# -- controls ----------------------------------------------------------------------------------------------


def test_zero_lets_nothing_arrive():
    heard = link(comm_control="zero").broadcast(acting(), messages(1))
    assert torch.equal(heard.open_RNS[0], OWN) and heard.values[0][~OWN].eq(0).all()


@pytest.mark.parametrize("make", [lambda: learning([3, 3, 3, 2]), lambda: acting(4)], ids=["update", "acting"])
def test_shuffle_brings_messages_of_another_episode_at_the_same_step(make):
    steps = make()
    rows = steps.n_rows
    stamp = torch.arange(rows, dtype=torch.float32).view(rows, 1, 1).expand(rows, N, M)
    heard = link(comm_control="shuffle").broadcast(steps, stamp)
    came_from = heard.values[:, 0, 1, 0].long()
    step_of = torch.repeat_interleave(torch.arange(len(steps.counts)), torch.tensor(steps.counts))
    assert (came_from != torch.arange(rows)).all()
    assert torch.equal(step_of[came_from], step_of)
    assert torch.equal(heard.values[:, 0, 0, 0].long(), torch.arange(rows))  # an own message stays


def test_shuffle_leaves_out_episodes_that_have_ended():
    running = torch.tensor([True, False, True, True])
    index, has_other = acting(4, running=lambda: running).another_episode()
    assert index[1] == 1 and has_other.tolist() == [True, False, True, True]
    assert sorted(index[running].tolist()) == [0, 2, 3] and (index[running] != torch.tensor([0, 2, 3])).all()


def test_shuffle_of_a_single_episode_closes_the_links():
    heard = link(comm_control="shuffle").broadcast(acting(1), messages(1))
    assert torch.equal(heard.open_RNS[0], OWN)


def test_replace_exchanges_one_sender_only():
    stamp = torch.arange(2.0).view(2, 1, 1).expand(2, N, M)
    heard = link(comm_control="replace", comm_control_sender=2).broadcast(acting(2), stamp)
    assert heard.values[0, 0, :, 0].tolist() == [0, 0, 1] and heard.values[0, 2, :, 0].tolist() == [0, 0, 0]


# -- fixed protocols ---------------------------------------------------------------------------------------


def test_drop_loses_what_needs_a_failed_link_and_nothing_else():
    sent = messages()
    heard = link(channel_drop=0.3).fixed(acting(5000), sent, SENDERS)
    lost = heard == 0
    assert torch.equal(heard[~lost], sent[~lost])
    expected = torch.full((N, M), 0.3)
    expected[0, 2], expected[0, 3] = 1 - 0.7**2, 0.0  # two links must hold; its own number needs none
    torch.testing.assert_close(lost.float().mean(0), expected, atol=0.03, rtol=0)
    assert torch.equal(lost[:, 0, 0], lost[:, 0, 1])  # numbers of one sender share their link


@pytest.mark.parametrize("changes", [{"channel_drop": 1.0}, {"comm_control": "zero"}])
def test_nothing_arriving_leaves_own_numbers(changes):
    sent = messages(5)
    heard = link(**changes).fixed(acting(5), sent, SENDERS)
    assert torch.equal(heard[:, 0, 3], sent[:, 0, 3])
    assert heard[:, 1:].eq(0).all() and heard[:, 0, :3].eq(0).all()


@pytest.mark.parametrize(
    ("alive", "arrives"),
    [
        ([True, False, True], [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]),  # of the joint number one sender lives
        ([True, False, False], [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]),
        ([False, True, True], [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]),  # the dead hear nobody
    ],
)
def test_numbers_all_of_whose_senders_are_dead_do_not_arrive(alive, arrives):
    heard = link().fixed(acting(alive_RN=torch.tensor([alive])), torch.ones(1, N, M), SENDERS)
    assert heard[0].tolist() == arrives


@pytest.mark.parametrize("n_agents", [3, 22, 63, 64])
@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("has_dead", [False, True])
def test_the_compiled_form_silences_what_the_plain_one_does(n_agents, drop, has_dead, monkeypatch):
    monkeypatch.setattr(threads, "SMALLEST_SHARE", 8)
    R = 50
    senders = torch.rand(n_agents, 9, n_agents) < 2 / n_agents
    alive = torch.rand(R, n_agents) < 0.6 if has_dead else None
    sent = torch.randn(R, n_agents, 9)

    def heard(plain_only, n_threads):
        monkeypatch.setattr(forms, "plain_only", plain_only)
        threads.use(n_threads)
        torch.manual_seed(1)
        own = Link(LinkSettings(channel_drop=drop), n_agents)
        steps = Steps(torch.zeros(R, n_agents, 1), 1, XLayout(2, False, False), [R], ACT, memory={}, alive_RN=alive)
        values = own.fixed(steps, sent, senders)
        threads.use(1)
        return values

    plain = heard(True, 1)
    assert torch.equal(heard(False, 1), plain) and torch.equal(heard(False, 3), plain)
    assert torch.equal(plain, sent) == (drop == 0 and not has_dead)


def test_what_is_sent_is_changed_only_where_it_may_be():
    sent, steps = messages(9), acting(9, alive_RN=torch.rand(9, N) < 0.5)
    before = sent.clone()
    heard = link().fixed(steps, sent, SENDERS)
    assert torch.equal(sent, before)
    again = link().fixed(steps, sent, SENDERS, may_overwrite=True)
    assert torch.equal(again, heard) and again is sent


def test_the_link_of_a_dead_agent_takes_no_number_of_the_living_along():
    steps = acting(5000, alive_RN=torch.tensor([[True, False, True]]).expand(5000, N))
    heard = link(channel_drop=0.5).fixed(steps, torch.ones(5000, N, M), SENDERS)
    assert heard[:, 0, 2].mean().item() == pytest.approx(0.5, abs=0.03)  # of two links one has to hold


def test_late_numbers_of_a_fixed_protocol_agree_while_acting_and_in_an_update():
    late, steps = link(channel_delay=2), learning([5, 3])
    sent = messages(10).view(2, 5, N, M)
    values = steps.packing.pad(late.fixed(steps, steps.packing.pack(sent), SENDERS))
    memory = {}
    for t in range(5):
        heard = late.fixed(acting(2, memory=memory), sent[:, t], SENDERS)
        assert torch.equal(heard[0], values[0, t])
        assert torch.equal(heard[:, 0, 3], sent[:, t, 0, 3])  # an own number is not late
        assert torch.equal(heard[0, 1], sent[0, t - 2, 1] if t >= 2 else torch.zeros(M))


def test_noise_has_its_spread_and_spares_own_numbers():
    sent = messages(50_000)
    difference = link(channel_noise=0.5).fixed(acting(50_000), sent, SENDERS) - sent
    assert difference[:, 0, 3].eq(0).all()
    assert difference[:, 1].std().item() == pytest.approx(0.5, rel=0.02)


def test_quantisation_keeps_zero_and_the_ends_and_clips():
    values = torch.tensor([-9.0, -2.0, -0.3, 0.0, 0.3, 0.9, 2.0]).view(-1, 1, 1).expand(-1, N, M)
    heard = link(channel_bits=2, channel_range=2.0).fixed(acting(7), values, SENDERS)  # -2, 0, 2
    assert heard[:, 1, 0].tolist() == [-2, -2, 0, 0, 0, 0, 2]
    assert heard[0, 0, 3].item() == -9.0


def test_budget_of_a_fixed_protocol_counts_every_link_that_a_number_needs():
    ones = torch.ones(1, N, M)
    assert link(channel_budget=1).fixed(acting(), ones, SENDERS)[0].tolist() == [
        [1, 0, 0, 1],
        [1, 0, 0, 0],
        [1, 0, 0, 0],
    ]
    assert link(channel_budget=2).fixed(acting(), ones, SENDERS)[0, 0].tolist() == [1, 1, 0, 1]


# -- cost --------------------------------------------------------------------------------------------------


def test_cost_counts_numbers_for_every_ordered_pair_of_running_episodes():
    gate = torch.ones(4, N, N, dtype=torch.bool)
    gate[0, 0, 1] = False
    counted = link()
    running = torch.tensor([True, True, True, False])
    counted.broadcast(acting(4, TEST, running=lambda: running), messages(4), gate)
    costs = counted.take_costs()
    torch.testing.assert_close(costs["floats"][0], torch.tensor([0, M * 2 / 3, M], dtype=torch.float64))
    assert costs["floats"].diagonal().eq(0).all() and costs["links"][1, 0] == 1
    assert counted.take_costs() == {}


def test_cost_of_a_fixed_protocol_is_its_flow():
    counted = link()
    counted.fixed(acting(2, TEST), torch.ones(2, N, M), SENDERS)
    assert counted.take_costs()["floats"].tolist() == [[0, 3, 1], [4, 0, 0], [4, 0, 0]]


def test_cost_of_a_central_messenger_is_named_apart():
    counted = link()
    steps = acting(2, TEST)
    counted.from_messenger(steps, counted.to_messenger(steps, torch.ones(2, N, 5))[..., :2])
    costs = counted.take_costs()
    assert costs["uplink"].tolist() == [5, 5, 5] and costs["downlink"].tolist() == [2, 2, 2]


def test_training_is_not_counted():
    counted = link()
    counted.broadcast(acting(2), messages(2))
    assert counted.take_costs() == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_bits": 1}, "channel_bits=1"),
        ({"comm_control": "replace", "comm_control_sender": 3}, "comm_control_sender=3 is no agent"),
    ],
)
def test_settings_that_fit_no_link_are_refused_by_name(changes, message):
    with pytest.raises(SettingsError, match=message):
        link(**changes)


def test_numbers_that_are_not_sent_arrive_as_zero_and_cost_nothing():
    sent = messages(2, (N, N, M))
    used = torch.ones(2, N, N, M, dtype=torch.bool)
    used[0, 0, 1, 1:] = False  # of the message from agent 1 to agent 0 only the first number is sent
    used[1, 0, 1] = False  # and a step later nothing
    counted = link()
    heard = counted.pairs(acting(2, TEST), sent, sent_RNSM=used)
    assert torch.equal(heard.values, sent * used)
    assert heard.open_RNS.logical_not().nonzero().tolist() == [[1, 0, 1]]
    costs = counted.take_costs()
    assert costs["floats"][0].tolist() == [0, 0.5, M] and costs["links"][0].tolist() == [0, 0.5, 1]


def test_a_budget_counts_sent_numbers_of_its_first_columns_only():
    used = torch.ones(1, N, N, M, dtype=torch.bool)
    used[0, 0, 1, 0] = False
    counted = link(channel_budget=2)
    counted.pairs(acting(1, TEST), messages(1, (N, N, M)), sent_RNSM=used)
    assert counted.take_costs()["floats"][0].tolist() == [0, 1, 2]
