"""NDQ: routing, losses by hand, where gradients go, cutting, and what each switch does."""

import math

import pytest
import torch
from learner_fixtures import GROUPS, N, Recorder, T, batch_of, full_scheme, settings

from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac.errors import SettingsError
from learners import REGISTRY as learner_REGISTRY
from modules.comm.steps import ACT, TEST

M = 3  # numbers of a message


def make(**changes):
    torch.manual_seed(0)
    args = settings(comm="ndq", **changes)
    scheme = full_scheme()
    return learner_REGISTRY[args.learner](mac_REGISTRY[args.mac](scheme, GROUPS, args), scheme, Recorder(), args)


def read_by(comm, batch, mac, mode=TEST):
    """Returns what agents read of their messages at all existing steps, (P, N, senders, M)."""
    kept = {}
    steps = mac.steps(batch, mode)
    read = comm.inputs(steps, steps.x_RND, None, kept)
    return read[..., steps.x_RND.shape[-1] :].unflatten(-1, (N, M)), kept


def mark_means(comm):
    """Makes the mean of every number 100 * sender + 10 * receiver + number; ids are the last columns of x."""
    first, last = comm.encoder[0], comm.encoder[4]
    with torch.no_grad():
        for p in comm.encoder.parameters():
            p.zero_()
        for sender in range(N):
            first.weight[sender, -N + sender] = 1
            comm.encoder[2].weight[sender, sender] = 1
            for receiver in range(N):
                for m in range(M):
                    last.weight[receiver * M + m, sender] = 100 * sender + 10 * receiver + m


@pytest.mark.parametrize("to_self", [False, True])
def test_a_receiver_reads_the_block_of_every_sender_at_the_senders_place(to_self):
    mac = make(ndq_self_message=to_self).mac
    mark_means(mac.comm)
    heard, _ = read_by(mac.comm, batch_of([2]), mac)
    for receiver in range(N):
        for sender in range(N):
            expected = [100.0 * sender + 10 * receiver + m for m in range(M)]
            expected = expected if sender != receiver or to_self else [0.0] * M
            assert heard[0, receiver, sender].tolist() == expected


def hand_losses(learner, batch):
    """Returns expressiveness and KL of one episode of two transitions, with the last forward's draws, term by term."""
    mac, target_mac = learner.mac, learner.target_mac
    steps = mac.steps(batch)
    torch.manual_seed(5)
    online = mac.unroll(batch, steps)
    target = target_mac.unroll(batch, steps)
    likelihood, divergence, entropy = [], [], []
    for t in range(2):
        for j in range(N):
            q = target.q_PNA[t, j].clone()
            q[batch["avail_actions"][0, t, j] == 0] = -math.inf
            logits = mac.comm.posterior(online.kept["read"][t, j])
            likelihood.append(-torch.log_softmax(logits, -1)[q.argmax()])
            for i in range(N):
                if i != j or learner.args.ndq_self_message:
                    divergence += [mu**2 / 2 for mu in online.kept["mean"][t, j, i]]
                    normal = torch.distributions.Normal(0.0, 1.0)
                    entropy += [-normal.log_prob(m) for m in online.kept["message"][t, j, i]]
    return sum(likelihood) / 2, sum(divergence) / 2, sum(entropy) / 2


@pytest.mark.parametrize("to_self", [False, True])
def test_losses_of_two_steps_by_hand(to_self):
    learner = make(ndq_self_message=to_self, ndq_c_beta=0.5, ndq_comm_beta=0.25, ndq_entropy_beta=0.125)
    batch = batch_of([2])
    batch.data.transition_data["avail_actions"][:, :, 0, :2] = 0
    likelihood, divergence, entropy = hand_losses(learner, batch)
    torch.manual_seed(5)
    total, stats = learner.loss(batch)
    torch.testing.assert_close(stats["expressiveness_loss"], likelihood.detach())
    torch.testing.assert_close(stats["message_kl"], divergence.detach())
    torch.testing.assert_close(stats["message_entropy_loss"], entropy.detach())
    by_hand = stats["loss"] + 0.5 * (likelihood + 0.25 * divergence + 0.125 * entropy)
    torch.testing.assert_close(total, by_hand)


def gradients(learner):
    """Returns whether encoder and posterior get a gradient from a batch's loss."""
    for p in learner.params:
        p.grad.zero_()
    learner.loss(batch_of([T - 1] * 4))[0].backward()
    comm = learner.mac.comm
    return [all(bool(p.grad.any()) for p in part.parameters()) for part in (comm.encoder, comm.posterior)]


def test_without_message_losses_the_td_loss_still_trains_the_encoder():
    assert gradients(make(ndq_c_beta=0.0)) == [True, False]


def test_message_losses_train_posterior_and_encoder_and_no_target_network():
    learner = make()
    assert gradients(learner) == [True, True]
    assert all(p.grad is None for p in learner.target_mac.parameters())


def test_tests_send_means_and_training_draws():
    mac, batch = make().mac, batch_of([3])
    for mode, is_mean in ((TEST, True), (ACT, False)):
        _, kept = read_by(mac.comm, batch, mac, mode)
        assert torch.equal(kept["message"], kept["mean"]) == is_mean


def test_released_tests_draw_as_well():
    mac = make(ndq_sample_tests=True).mac
    _, kept = read_by(mac.comm, batch_of([3]), mac)
    assert not torch.equal(kept["message"], kept["mean"])


def test_acting_step_by_step_equals_unrolling():
    mac, batch = make().mac, batch_of([T - 1, 2, T - 2])
    mac.init_hidden(3)
    steps = mac.steps(batch, TEST)
    with torch.no_grad():
        stepped = torch.stack([mac.forward(batch, t, test_mode=True) for t in range(T)], dim=1)
        unrolled = steps.packing.pad(mac.unroll(batch, steps).q_PNA)
    torch.testing.assert_close(stepped * batch["filled"].unsqueeze(-1), unrolled, rtol=1e-5, atol=1e-6)


# -- cutting -----------------------------------------------------------------------------------------------


def q_of_a_test(batch, **changes):
    """Returns the Q-values of a test's first step and what its messages cost."""
    mac = make(**changes).mac
    mac.init_hidden(batch.batch_size)
    with torch.no_grad():
        q = mac.forward(batch, 0, test_mode=True)
    return q, mac.take_message_metrics()


def test_cutting_everything_equals_messages_of_zero_and_costs_nothing():
    batch = batch_of([3, 3])
    cut, cost = q_of_a_test(batch, ndq_cut="rank", ndq_cut_at=100.0)
    assert torch.equal(cut, q_of_a_test(batch, comm_control="zero")[0])
    assert cost["message_floats"] == 0 and cost["links_open"] == 0


@pytest.mark.parametrize("cut", [{"ndq_cut": "rank"}, {"ndq_cut": "threshold"}])
def test_cutting_nothing_changes_nothing(cut):
    batch = batch_of([3, 3])
    uncut, cost = q_of_a_test(batch)
    assert torch.equal(q_of_a_test(batch, **cut, ndq_cut_at=1e-6)[0], uncut)
    assert cost["message_floats"] == M


def test_rank_cuts_the_share_with_the_smallest_means():
    batch = batch_of([3, 3])
    mac = make(ndq_cut="rank", ndq_cut_at=50.0, ndq_self_message=True).mac
    heard, kept = read_by(mac.comm, batch, mac)
    others = ~torch.eye(N, dtype=torch.bool)
    size, is_sent = kept["mean"][:, others].abs(), heard[:, others] != 0
    assert is_sent.sum() == size.numel() // 2
    assert size[is_sent].min() >= size[~is_sent].max()
    assert heard[:, ~others].ne(0).all()  # what agents tell themselves is kept


def test_threshold_cuts_small_means():
    mac = make(ndq_cut="threshold", ndq_cut_at=0.1).mac
    heard, kept = read_by(mac.comm, batch_of([3, 3]), mac)
    others = ~torch.eye(N, dtype=torch.bool)
    is_large = kept["mean"][:, others].abs() >= 0.1
    assert is_large.any() and not is_large.all()
    assert torch.equal(heard[:, others] != 0, is_large)


def test_episodes_that_ended_do_not_count_in_the_ranks():
    batch = batch_of([1, 3])
    mac = make(ndq_cut="rank", ndq_cut_at=50.0).mac
    steps = mac.step(batch, 2, TEST)
    mean = torch.cat([torch.full((1, N, N, M), 1e-6), torch.arange(1.0, N * N * M + 1).view(1, N, N, M)])
    is_sent = mac.comm._uncut(steps, mean)
    assert is_sent[1].logical_not().sum() == N * (N - 1) * M // 2


def test_ranks_are_among_episodes_that_are_played_side_by_side():
    assert make(ndq_cut="rank", ndq_cut_at=50.0).mac.needs_one_step(test_mode=True)
    assert not make(ndq_cut="rank", ndq_cut_at=50.0).mac.needs_one_step(test_mode=False)
    assert not make(ndq_cut="threshold", ndq_cut_at=0.1).mac.needs_one_step(test_mode=True)


def test_training_is_never_cut():
    mac, batch = make(ndq_cut="rank", ndq_cut_at=100.0).mac, batch_of([3])
    heard, _ = read_by(mac.comm, batch, mac, ACT)
    assert heard[:, ~torch.eye(N, dtype=torch.bool)].ne(0).all()


# -- weights -----------------------------------------------------------------------------------------------


def test_weights_move_linearly_and_stay_at_their_targets():
    comm = make(
        ndq_comm_beta=1.0, ndq_comm_beta_target=3.0, ndq_entropy_beta_target=4.0, ndq_ramp_start=100, ndq_ramp_end=200
    ).mac.comm
    seen = [comm.weights(t) for t in (0, 100, 150, 200, 900)]
    assert seen == [(1.0, 0.0), (1.0, 0.0), (2.0, 2.0), (3.0, 4.0), (3.0, 4.0)]


def test_weights_stay_where_there_is_no_ramp():
    assert make(ndq_comm_beta=1.0).mac.comm.weights(10**9) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"ndq_ramp_start": 5, "ndq_ramp_end": 5}, "ndq_ramp_end"),
        ({"ndq_cut": "rank", "ndq_cut_at": 101.0}, "ndq_cut_at"),
        ({"ndq_cut": "threshold"}, "ndq_cut_at"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, key):
    with pytest.raises(SettingsError, match=key):
        make(**changes)
