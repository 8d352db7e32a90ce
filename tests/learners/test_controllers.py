"""Controllers: acting step by step equals unrolling; inputs have the right layout; switches do what they say."""

import pytest
import torch
from learner_fixtures import GROUPS, HISTORY, A, D, N, O, S, T, batch_of, full_scheme, settings

from controllers import REGISTRY
from epymarl_lmac.errors import SettingsError
from modules.comm.steps import ACT

KINDS = {
    "qmix": {},
    "qmix_state": {"add_state": True},
    "no_memory": {"use_rnn": False},
    "lmac_sum": {"comm": "lmac"},
    "lmac_gru": {"comm": "lmac", "comm_carry": "gru"},
    "lmac_norm": {"comm": "lmac", "normalise_latent": True},
    "lmac_one_step": {"comm": "lmac", "protocol_steps": 1},
    "lmac_late": {"comm": "lmac", "channel_delay": 2},
    "lmac_few_bits": {"comm": "lmac", "channel_bits": 3, "channel_budget": 4},
    "lmac_silent": {"comm": "lmac", "protocol_steps": 0},
}


def make(**changes):
    torch.manual_seed(0)
    args = settings(**changes)
    mac = REGISTRY[args.mac](full_scheme(), GROUPS, args)
    mac.train(False)
    return mac


def padded_q(mac, batch):
    """Returns the unrolled Q-values (B, T, N, A), zeros where no step is stored."""
    steps = mac.steps(batch)
    return steps.packing.pad(mac.unroll(batch, steps).q_PNA)


@pytest.mark.parametrize("kind", KINDS)
def test_acting_step_by_step_equals_unrolling(kind):
    mac, batch = make(**KINDS[kind]), batch_of([T - 1, 2, T - 2])
    mac.init_hidden(3)
    with torch.no_grad():
        stepped = torch.stack([mac.forward(batch, t) for t in range(T)], dim=1)
        unrolled = padded_q(mac, batch)
    assert unrolled.shape == (3, T, N, A)
    torch.testing.assert_close(stepped * batch["filled"].unsqueeze(-1), unrolled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_does_not_depend_on_the_others_in_the_batch(kind):
    mac = make(**KINDS[kind])
    batch = batch_of([T - 1, T - 1, T - 1])
    with torch.no_grad():
        together, alone = padded_q(mac, batch), padded_q(mac, batch[1])
    torch.testing.assert_close(together[1:2], alone)


def test_messages_stored_with_episodes_are_those_computed_for_a_batch():
    mac, batch = make(comm="lmac", message_cache_mib=1), batch_of([T - 1, 2, T - 2])
    (transform,) = mac.transforms(n_steps=3 * T)
    with torch.no_grad():
        computed = padded_q(mac, batch)
        transform.fill(batch)
        assert batch[transform.key].shape == (3, T, N, mac.comm.message_dim)
        assert torch.equal(padded_q(mac, batch), computed)
        batch.data.transition_data[transform.key].zero_()
        assert not torch.equal(padded_q(mac, batch), computed)  # they are read, not computed again
    assert batch[transform.key][1, 3:].eq(0).all()  # nothing after the end of a short episode


@pytest.mark.parametrize("changes", [{"message_cache_mib": 0}, {"message_cache_mib": 1, "protocol_steps": 0}])
def test_messages_are_not_stored_where_there_is_no_room_or_nothing_to_store(changes):
    assert make(comm="lmac", **changes).transforms(n_steps=10**6) == []


def test_extended_observation_is_obs_then_last_action_then_id():
    mac, batch = make(), batch_of([T - 1, T - 1])
    steps = mac.steps(batch)
    x = steps.packing.pad(steps.x_RND).transpose(0, 1)
    assert x.shape == (T, 2, N, D)
    for t in range(T):
        torch.testing.assert_close(x[t], mac.step(batch, t, ACT).x_RND)
        for b in range(2):
            for i in range(N):
                row = x[t, b, i]
                assert torch.equal(row[:O], batch["obs"][b, t, i])
                last = torch.zeros(A) if t == 0 else batch["actions_onehot"][b, t - 1, i].float()
                assert torch.equal(row[O : O + A], last)
                assert torch.equal(row[O + A :], torch.eye(N)[i])
    assert torch.equal(torch.cat([steps.obs_RNO, steps.last_action_RNA, steps.id_RNN], dim=-1), steps.x_RND)


def test_the_state_is_appended_for_every_agent():
    mac, batch = make(add_state=True), batch_of([T - 1, T - 1])
    read = []
    states = mac.agent.states
    mac.agent.states = lambda inputs, h0, counts: read.append(inputs) or states(inputs, h0, counts)
    steps = mac.steps(batch)
    mac.unroll(batch, steps)
    inputs = steps.packing.pad(read[0].view(-1, N, D + S))
    for i in range(N):
        assert torch.equal(inputs[:, :, i, D:], batch["state"])


def test_history_before_the_episode_is_minus_one_with_the_id_kept(bundle):
    mac, batch = make(comm="lmac"), batch_of([T - 1])
    steps = mac.steps(batch)
    x = steps.packing.pad(steps.x_RND).transpose(0, 1)
    received = steps.packing.pad(mac.comm.messages(steps)).transpose(0, 1)
    sent = received[..., 2 * D :]  # the third program sends what was seen HISTORY - 1 steps ago
    for t in range(T):
        ago = t - (HISTORY - 1)
        for i in range(N):
            sender = (i + 1) % N
            if ago >= 0:
                assert torch.equal(sent[t, 0, i], x[ago, 0, sender])
            else:
                assert torch.equal(sent[t, 0, i, : O + A], torch.full((O + A,), -1.0))
                assert torch.equal(sent[t, 0, i, O + A :], torch.eye(N)[sender])


def test_messages_reach_the_agents():
    batch = batch_of([T - 1])
    with torch.no_grad():
        heard = make(comm="lmac").unroll(batch).q_PNA
        deaf = make(comm="lmac", comm_control="zero").unroll(batch).q_PNA
    assert not torch.allclose(heard, deaf)


def test_messages_can_be_zeroed_in_evaluation_only():
    batch = batch_of([T - 1])
    mac = make(comm="lmac", comm_control="zero", comm_control_when="test")
    outputs = {}
    for test_mode in (False, True):
        mac.init_hidden(1)
        outputs[test_mode] = mac.forward(batch, 0, test_mode=test_mode)
    assert not torch.allclose(outputs[False], outputs[True])
    deaf = make(comm="lmac", comm_control="zero")
    deaf.init_hidden(1)
    torch.testing.assert_close(outputs[True], deaf.forward(batch, 0))


@pytest.mark.parametrize(("detach", "reaches"), [(True, False), (False, True)])
def test_the_td_path_stops_at_the_latent_unless_asked(detach, reaches):
    mac = make(comm="lmac", detach_latent=detach)
    mac.unroll(batch_of([T - 1])).q_PNA.sum().backward()
    assert (mac.comm.value.weight.grad is not None) == reaches


def test_dropout_acts_in_train_mode_only():
    mac, batch = make(comm="lmac", comm_dropout=0.5), batch_of([T - 1])
    with torch.no_grad():
        assert torch.equal(mac.unroll(batch).q_PNA, mac.unroll(batch).q_PNA)
        mac.train(True)
        assert not torch.equal(mac.unroll(batch).q_PNA, mac.unroll(batch).q_PNA)


def test_saved_models_load_back(tmp_path):
    mac = make(comm="lmac")
    mac.save_models(tmp_path)
    other = make(comm="lmac")
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    other.load_models(tmp_path)
    for a, b in zip(mac.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_windows_built_in_pieces_give_the_same_messages(monkeypatch):
    mac, batch = make(comm="lmac"), batch_of([T - 1, 3])
    whole = mac.comm.messages(mac.steps(batch))
    monkeypatch.setattr("epymarl_lmac.learning.extended_obs.WINDOW_FLOATS", 2 * HISTORY * N * D)
    assert torch.equal(mac.comm.messages(mac.steps(batch)), whole)


@pytest.mark.parametrize(("below", "used"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_protocol_steps_are_those_with_a_k_below(bundle, below, used):
    bundle.programs, bundle.steps = [bundle.programs[0], bundle.programs[2]], [0, 2]
    assert len(make(comm="lmac", protocol_steps=below).comm.shared.programs) == used


def test_a_bundle_without_the_steps_that_are_asked_for_is_refused(bundle):
    bundle.programs, bundle.steps = bundle.programs[1:], [1, 2]
    with pytest.raises(SettingsError, match=r"protocol_steps=1 uses the steps k < 1, but the bundle has only k = 1, 2"):
        make(comm="lmac", protocol_steps=1)
