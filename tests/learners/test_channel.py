"""The message channel: what each option does, and what it leaves alone."""

import pytest
import torch
from learner_fixtures import T, batch_of, settings

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.packing import Packing
from modules.comm.channel import Channel, channel_settings

N, M = 3, 4
# Receiver 0: two numbers of agent 1, one of agents 1 and 2, one of its own. The others hear agent 0 only.
SENDERS = torch.zeros(N, M, N, dtype=torch.bool)
SENDERS[0, 0, 1] = SENDERS[0, 1, 1] = SENDERS[0, 2, 1] = SENDERS[0, 2, 2] = SENDERS[0, 3, 0] = True
SENDERS[1:, :, 0] = True


def channel(**changes):
    return Channel(channel_settings(settings(**changes)), SENDERS)


def messages(rows=5000):
    torch.manual_seed(0)
    return torch.randn(rows, N, M)


def test_a_perfect_channel_is_off():
    assert not channel().is_on(test_mode=True)


def test_evaluation_only_leaves_training_alone():
    only = channel(channel_drop=0.5, channel_when="test")
    assert only.is_on(test_mode=True) and not only.is_on(test_mode=False)


def test_drop_loses_what_needs_a_failed_link_and_nothing_else():
    sent = messages()
    heard = channel(channel_drop=0.3).step(sent)
    lost = heard == 0
    assert torch.equal(heard[~lost], sent[~lost])
    shares = lost.float().mean(0)
    expected = torch.full((N, M), 0.3)
    expected[0, 2], expected[0, 3] = 1 - 0.7**2, 0.0  # two links must hold; its own number needs none
    torch.testing.assert_close(shares, expected, atol=0.03, rtol=0)
    assert torch.equal(lost[:, 0, 0], lost[:, 0, 1])  # numbers of one sender share their link
    assert not torch.equal(lost[:, 1, 0], lost[:, 2, 0])  # links to different receivers fail independently


def test_drop_of_everything_leaves_own_numbers():
    heard = channel(channel_drop=1.0).step(messages())
    assert heard[:, 0, 3].ne(0).all()
    assert heard[:, 1:].eq(0).all() and heard[:, 0, :3].eq(0).all()


def test_delay_while_acting_and_in_an_update_agree():
    late = channel(channel_delay=2)
    batch = batch_of([T - 1, 2])
    packing = Packing.of(batch["filled"].squeeze(-1))
    sent_BTNM = torch.randn(2, T, N, M) * batch["filled"].unsqueeze(-1)
    late.reset()
    stepped = torch.stack([late.step(sent_BTNM[:, t]) for t in range(T)], dim=1)
    assert stepped[:, :2, 1].eq(0).all()
    assert torch.equal(stepped[:, 2:, 1], sent_BTNM[:, :-2, 1])
    assert torch.equal(stepped[:, :, 0, 3], sent_BTNM[:, :, 0, 3])  # an own number is not sent, so not late
    packed = packing.pad(late.packed(packing.pack(sent_BTNM), packing))
    assert torch.equal(packed, stepped * batch["filled"].unsqueeze(-1))


def test_delayed_messages_do_not_reach_the_next_episode():
    late = channel(channel_delay=1)
    late.step(torch.ones(1, N, M))
    late.reset()
    assert late.step(torch.ones(1, N, M))[0, 1].eq(0).all()


def test_noise_has_its_spread_and_spares_own_numbers():
    sent = messages(50_000)
    difference = channel(channel_noise=0.5).step(sent) - sent
    assert difference[:, 0, 3].eq(0).all()
    assert difference[:, 1].std().item() == pytest.approx(0.5, rel=0.02)


def test_quantisation_keeps_zero_and_the_ends_and_clips():
    values = torch.tensor([-9.0, -2.0, -0.3, 0.0, 0.3, 0.9, 2.0]).view(-1, 1, 1).expand(-1, N, M)
    heard = channel(channel_bits=2, channel_range=2.0).step(values)  # -2, 0, 2
    assert heard[:, 1, 0].tolist() == [-2, -2, 0, 0, 0, 0, 2]
    fine = channel(channel_bits=8, channel_range=2.0).step(values.clamp(-2, 2))
    torch.testing.assert_close(fine, values.clamp(-2, 2), atol=1.0 / 127, rtol=0)
    assert heard[0, 0, 3].item() == -9.0


def test_budget_keeps_the_first_numbers_of_every_link():
    one, two = channel(channel_budget=1), channel(channel_budget=2)
    assert one.kept_NM.tolist() == [
        [True, False, False, True],
        [True, False, False, False],
        [True, False, False, False],
    ]
    assert two.kept_NM[0].tolist() == [True, True, False, True]
    heard = one.step(messages())
    assert heard[:, 0, 1].eq(0).all() and heard[:, 0, 3].ne(0).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("channel_drop", 1.5),
        ("channel_delay", -1),
        ("channel_noise", -0.1),
        ("channel_bits", 1),
        ("channel_range", 0.0),
        ("channel_budget", -2),
        ("channel_when", "never"),
    ],
)
def test_impossible_values_are_refused_by_name(key, value):
    with pytest.raises(SettingsError, match=key):
        channel_settings(settings(**{key: value}))
