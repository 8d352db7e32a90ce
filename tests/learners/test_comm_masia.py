"""MASIA: one latent for all, losses by hand, the momentum encoder, and receivers that hear apart."""

import copy

import pytest
import torch
from learner_fixtures import GROUPS, N, Recorder, S, T, batch_of, full_scheme, settings

from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac.errors import SettingsError
from learners import REGISTRY as learner_REGISTRY

SLOT = 8


def make(**changes):
    torch.manual_seed(0)
    args = settings(comm="masia", **changes)
    scheme = full_scheme()
    return learner_REGISTRY[args.learner](mac_REGISTRY[args.mac](scheme, GROUPS, args), scheme, Recorder(), args)


def latent(learner, batch):
    return learner.mac.unroll(batch).kept["latent"]


def test_all_receivers_share_one_latent_of_a_slot_an_agent():
    z = latent(make(), batch_of([2]))
    assert z.shape == (3, 1, N * SLOT)


def test_an_imperfect_link_gives_the_same_latent_where_nothing_is_lost():
    batch = batch_of([3, 2])
    shared, apart = latent(make(), batch), latent(make(channel_bits=24, channel_range=10.0), batch)
    assert apart.shape == (7, N, N * SLOT)
    torch.testing.assert_close(apart, shared.expand_as(apart), rtol=1e-3, atol=1e-4)


def test_without_ids_exchanging_two_agents_exchanges_their_slots():
    learner, batch = make(obs_agent_id=False), batch_of([3])
    z = latent(learner, batch)
    swapped = copy.deepcopy(batch)
    swapped.data.transition_data["obs"][:, :, [0, 1]] = batch["obs"][:, :, [1, 0]]
    slots = z.unflatten(-1, (N, SLOT))[:, :, [1, 0, 2]]
    torch.testing.assert_close(latent(learner, swapped).unflatten(-1, (N, SLOT)), slots)


@pytest.mark.parametrize("first", [0, 1])
def test_losses_of_two_steps_by_hand(first):
    learner, batch = make(masia_pred_from=first), batch_of([2])
    comm = learner.mac.comm
    unrolled = learner.mac.unroll(batch)
    z = unrolled.kept["latent"][:, 0]
    total, stats = learner.loss(batch)
    state, reward, onehot = batch["state"][0], batch["reward"][0, :, 0], batch["actions_onehot"][0].float()
    # The episode ends at its second transition: steps 0 and 1 count, the one after the end does not.
    recon = sum((comm.decoder(z[t]) - state[t]).square().sum() / S for t in range(2)) / 2
    target = [comm.projection(z[t]) for t in range(2)]  # the momentum copies still equal their sources
    ahead = comm.transition(z[:1].unsqueeze(1), onehot[:1])[0, 0]
    now = sum((comm.predictor(target[t]) - target[t]).square().sum() for t in range(2)) / 2
    later = (comm.predictor(comm.projection(ahead)) - target[1]).square().sum()
    rewards = sum((comm.reward(z[t]) - reward[t]).square().sum() for t in range(2)) / 2
    rewards = rewards + (comm.reward(ahead) - reward[1]).square().sum()
    torch.testing.assert_close(stats["recon_loss"], recon.detach())
    torch.testing.assert_close(stats["prediction_loss"], (later + (now if first == 0 else 0)).detach())
    torch.testing.assert_close(stats["reward_loss"], rewards.detach())
    by_hand = stats["loss"] + stats["recon_loss"] + stats["prediction_loss"] + stats["reward_loss"]
    torch.testing.assert_close(total.detach(), by_hand)


def test_without_losses_of_its_own_only_what_acting_uses_is_trained():
    learner = make(masia_repr_coef=0.0)
    for p in learner.params:
        p.grad.zero_()
    learner.loss(batch_of([T - 1] * 4))[0].backward()
    comm = learner.mac.comm
    assert all(p.grad.any() for p in comm.aggregator.parameters())
    for part in (comm.decoder, comm.projection, comm.predictor, comm.transition, comm.reward):
        assert not any(p.grad.any() for p in part.parameters())


def test_the_momentum_copies_change_at_target_updates_only_and_then_equal_their_sources():
    learner, batch = make(target_update_interval_or_tau=3), batch_of([T - 1] * 4)
    comm = learner.mac.comm
    for update in range(1, 7):
        learner.train(batch, update, update)
        pairs = zip(comm.slow_aggregator.parameters(), comm.aggregator.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == (update % 3 == 0)
    assert all(p.grad is None for p in comm.slow_aggregator.parameters())


@pytest.mark.parametrize("changes", [{}, {"channel_delay": 1}])
def test_acting_step_by_step_equals_unrolling(changes):
    mac, batch = make(**changes).mac, batch_of([T - 1, 2, T - 2])
    mac.init_hidden(3)
    steps = mac.steps(batch)
    with torch.no_grad():
        stepped = torch.stack([mac.forward(batch, t) for t in range(T)], dim=1)
        unrolled = steps.packing.pad(mac.unroll(batch, steps).q_PNA)
    torch.testing.assert_close(stepped * batch["filled"].unsqueeze(-1), unrolled, rtol=1e-5, atol=1e-6)


def test_the_td_loss_stops_at_the_latent_where_asked():
    mac = make(masia_td_trains_encoder=False).mac
    mac.unroll(batch_of([3])).q_PNA.sum().backward()
    assert not any(p.grad.any() for p in mac.comm.aggregator.parameters())


def test_no_step_to_compare_is_named():
    with pytest.raises(SettingsError, match="masia_pred_len"):
        make(masia_pred_len=0)


def test_without_steps_ahead_there_is_no_transition_model():
    assert make(masia_pred_len=0, masia_pred_from=0).mac.comm.transition is None
