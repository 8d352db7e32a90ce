"""MAIC: who hears what, attention, losses by hand, where gradients go, cutting, batch norm, and each switch."""

import copy
import dataclasses
import math

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
from torch.distributions import Normal, kl_divergence

from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac.settings import load_settings
from learners import REGISTRY as learner_REGISTRY
from modules.comm.maic import Gaussian, linear_of_parts
from modules.comm.steps import ACT, LEARN, TEST
from run import Experiment
from utils.logging import Logger, get_logger

Z = 8
OTHERS = ~torch.eye(N, dtype=torch.bool)
RELEASED = {
    "maic_sender_hidden": False,
    "maic_norm": "batch",
    "maic_self_pairs": True,
    "maic_mi_action": "greedy",
    "maic_entropy_of": "raw",
}
FORMS = pytest.mark.parametrize("form", [{}, RELEASED], ids=["common", "released"])


def make(**changes):
    torch.manual_seed(0)
    args = settings(comm="maic", **changes)
    scheme = full_scheme()
    return learner_REGISTRY[args.learner](mac_REGISTRY[args.mac](scheme, GROUPS, args), scheme, Recorder(), args)


def unroll(mac, batch, mode=TEST):
    """Returns a pass over all existing steps."""
    torch.manual_seed(5)
    return mac.unroll(batch, mac.steps(batch, mode))


def attention_by_hand(comm, h_NH, z_NSZ, sender, is_raw=False):
    """Returns one sender's attention over all receivers, from released or applied scores."""
    receivers = [j for j in range(N) if is_raw or j != sender]
    query = comm.query(h_NH[sender])
    scores = torch.stack([query @ comm.key(z_NSZ[j, sender]) for j in receivers])
    result = torch.zeros(N)
    result[receivers] = torch.softmax(scores if is_raw else scores / math.sqrt(32), 0)
    return result


# -- messages ----------------------------------------------------------------------------------------------


@FORMS
def test_values_are_own_values_plus_weighted_incentives_pair_by_pair(form):
    mac, batch = make(maic_cut=0.0, **form).mac, batch_of([2])
    comm = mac.comm
    with torch.no_grad():
        run = unroll(mac, batch)
        h = run.hidden_PNH[1]
        mean = [comm.model(h[i : i + 1]).mean[0].view(N, Z) for i in range(N)]  # of sender i, a row a teammate
        z = torch.stack([torch.stack([mean[i][j] for i in range(N)]) for j in range(N)])
        for j in range(N):
            expected = mac.agent.fc2(h[j])
            for i in range(N):
                state = h[i] if mac.args.maic_sender_hidden else h[j]
                hidden = torch.nn.functional.leaky_relu(comm.message_hidden(torch.cat([state, mean[i][j]])))
                expected = expected + attention_by_hand(comm, h, z, i)[j] * comm.message_out(hidden)
            torch.testing.assert_close(run.q_PNA[1, j], expected, rtol=1e-4, atol=1e-5)


def test_incentives_of_zero_leave_every_agent_its_own_values():
    mac, batch = make().mac, batch_of([3, 2])
    with torch.no_grad():
        for p in mac.comm.message_out.parameters():
            p.zero_()
        run = unroll(mac, batch, LEARN)
        assert torch.equal(run.q_PNA, mac.agent.fc2(run.hidden_PNH))


def test_every_sender_shares_out_one_among_its_teammates():
    mac = make().mac
    run = unroll(mac, batch_of([3, 2]), LEARN)
    attention = mac.comm.attention(run.hidden_PNH, run.kept["latent"])
    torch.testing.assert_close(attention.sum(1), torch.ones(7, N))
    assert attention[:, ~OTHERS].eq(0).all() and attention[:, OTHERS].gt(0).all()


@pytest.mark.parametrize("by_sender", [True, False])
def test_what_only_the_receiver_sees_changes_what_arrives_in_the_released_form_alone(by_sender):
    mac, batch = make(maic_sender_hidden=by_sender).mac, batch_of([3])
    other = copy.deepcopy(batch)
    other.data.transition_data["obs"][:, :, 1] += torch.randn(O, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        before, after = (unroll(mac, b).kept["heard"] for b in (batch, other))
    to_receiver = torch.equal(before[:, 1, [0, 2]], after[:, 1, [0, 2]])
    assert to_receiver == by_sender
    assert not torch.equal(before[:, [0, 2], 1], after[:, [0, 2], 1])  # it is heard as a sender


@FORMS
def test_an_agent_is_told_nothing_by_itself(form):
    assert unroll(make(**form).mac, batch_of([3])).kept["heard"][:, ~OTHERS].eq(0).all()


def test_states_do_not_depend_on_communication():
    mac, batch = make().mac, batch_of([3])
    before = unroll(mac, batch).hidden_PNH
    with torch.no_grad():
        for p in mac.comm.parameters():
            p.add_(1.0)
    assert torch.equal(unroll(mac, batch).hidden_PNH, before)


def test_tests_send_means_and_training_draws_around_them():
    mac, batch = make().mac, batch_of([3])
    for mode in (ACT, LEARN):
        assert not torch.equal(unroll(mac, batch, mode).kept["latent"], unroll(mac, batch, mode).kept["mean"])
    run = unroll(mac, batch, TEST)
    assert torch.equal(run.kept["latent"], run.kept["mean"])


def test_draws_have_the_mean_and_the_variance_of_their_model():
    torch.manual_seed(0)
    drawn = Gaussian(torch.tensor([1.0, -2.0]).expand(20000, 2), torch.tensor([0.25, 4.0]).expand(20000, 2)).draw()
    torch.testing.assert_close(drawn.mean(0), torch.tensor([1.0, -2.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.var(0), torch.tensor([0.25, 4.0]), atol=0, rtol=0.1)


def test_no_variance_falls_below_the_floor():
    comm = make(maic_var_floor=0.5).mac.comm
    with torch.no_grad():
        comm.model.last.bias[N * Z :] = -9.0
        assert comm.models(torch.randn(4, N, 8)).variance.min() == 0.5


def test_a_layer_of_parts_equals_the_layer_of_the_joint_input():
    layer, once, pairs = torch.nn.Linear(7, 5), torch.randn(4, 1, N, 3), torch.randn(4, N, N, 4)
    joint = torch.cat([once.expand(-1, N, -1, -1), pairs], dim=-1)
    torch.testing.assert_close(linear_of_parts(layer, once, pairs), layer(joint))


@FORMS
def test_acting_step_by_step_equals_unrolling(form):
    learner, batch = make(**form), batch_of([T - 1, 2, T - 2])
    learner.train(batch, 0, 0)  # moves the running statistics of a batch norm
    mac = learner.mac
    mac.init_hidden(3)
    steps = mac.steps(batch, TEST)
    with torch.no_grad():
        stepped = torch.stack([mac.forward(batch, t, test_mode=True) for t in range(T)], dim=1)
        unrolled = steps.packing.pad(mac.unroll(batch, steps).q_PNA)
    torch.testing.assert_close(stepped * batch["filled"].unsqueeze(-1), unrolled, rtol=1e-4, atol=1e-5)


# -- cost and cutting --------------------------------------------------------------------------------------


def played(batch, mode=TEST, **changes):
    """Returns the Q-values of a first step, every sender's attention, and what a test's messages cost."""
    mac = make(**changes).mac
    with torch.no_grad():
        run = unroll(mac, batch, mode)
        attention = mac.comm.attention(run.hidden_PNH, run.kept["latent"])
    return run, attention, mac.take_message_metrics()


@pytest.mark.parametrize(("by_sender", "floats"), [(True, A), (False, Z + 1)])
def test_uncut_messages_cost_what_the_form_sends(by_sender, floats):
    _, _, cost = played(batch_of([3]), maic_sender_hidden=by_sender, maic_cut=0.0)
    assert cost["message_floats"] == floats and cost["links_open"] == 1


def test_tests_cut_weak_links_and_keep_the_others_as_they_are():
    batch = batch_of([3, 3])
    whole, attention, _ = played(batch, maic_cut=0.0)
    at = N * float(attention[:, OTHERS].median())
    cut, _, cost = played(batch, maic_cut=at)
    is_sent = attention >= at / N
    assert 0 < is_sent[:, OTHERS].float().mean() < 1
    assert torch.equal(cut.kept["heard"], whole.kept["heard"] * is_sent.unsqueeze(-1))
    assert cost["links_open"] == pytest.approx(float(is_sent[:, OTHERS].float().mean()))


def test_cutting_everything_equals_messages_of_zero():
    batch = batch_of([3, 3])
    cut, _, cost = played(batch, maic_cut=float(2 * N))
    assert torch.equal(cut.q_PNA, played(batch, comm_control="zero")[0].q_PNA)
    assert cost["message_floats"] == 0


@pytest.mark.parametrize("mode", [ACT, LEARN])
def test_training_is_never_cut(mode):
    run, _, _ = played(batch_of([3]), mode, maic_cut=float(2 * N))
    assert run.kept["heard"][:, OTHERS].abs().sum(-1).gt(0).all()


# -- losses ------------------------------------------------------------------------------------------------


def losses_by_hand(learner, batch, online):
    """Returns both losses of one episode of two transitions, pair by pair."""
    comm, args, kept = learner.mac.comm, learner.args, online.kept
    divergence, entropy = [], []
    inputs = {}
    for t in range(2):
        for j in range(N):
            q = online.q_PNA[t, j].clone()
            q[batch["avail_actions"][0, t, j] == 0] = -math.inf
            action = int(q.argmax()) if args.maic_mi_action == "greedy" else int(batch["actions"][0, t, j])
            onehot = torch.eye(A)[action]
            for i in range(N):
                inputs[t, j, i] = torch.cat([online.hidden_PNH[t, i], onehot])
    inferred = comm.inference(torch.stack(list(inputs.values())))  # one call: batch norm sees all pairs
    for n, (t, j, i) in enumerate(inputs):
        if i != j or args.maic_self_pairs:
            model = Normal(kept["mean"][t, j, i], kept["variance"][t, j, i].sqrt())
            divergence.append(kl_divergence(model, Normal(inferred.mean[n], inferred.variance[n].sqrt())).sum())
    for t in range(2):
        for i in range(N):
            is_raw = args.maic_entropy_of == "raw"
            share = attention_by_hand(comm, online.hidden_PNH[t], kept["latent"][t], i, is_raw).clamp(min=1e-4)
            entropy.append(-(share * share.log2()).sum())
    return torch.stack(divergence).mean(), torch.stack(entropy).mean()


@FORMS
def test_losses_of_two_steps_by_hand(form):
    learner = make(maic_mi_coef=0.5, maic_entropy_coef=0.25, **form)
    learner.mac.train(True)
    batch = batch_of([2])
    batch.data.transition_data["avail_actions"][:, :, 0, :2] = 0
    information, entropy = losses_by_hand(learner, batch, unroll(learner.mac, batch, LEARN))
    torch.manual_seed(5)
    total, stats = learner.loss(batch)
    torch.testing.assert_close(stats["mutual_information_loss"], information.detach())
    torch.testing.assert_close(stats["attention_entropy"], entropy.detach())
    torch.testing.assert_close(total, stats["loss"] + 0.5 * information + 0.25 * entropy)


def test_equal_gaussians_do_not_diverge():
    one = Gaussian(torch.randn(4, Z), torch.rand(4, Z) + 0.1)
    assert torch.equal(one.divergence(one), torch.zeros(4))


def trained_by(learner, loss):
    """Returns which networks get a gradient from one loss."""
    for p in learner.params:
        p.grad.zero_()
    mac, kept = learner.mac, {}
    losses_of = mac.comm.losses

    def keep(context):
        kept.update(losses_of(context))
        return {}

    mac.comm.losses = keep
    total, _ = learner.loss(batch_of([T - 1] * 4))
    (total if loss == "td" else kept[loss][1]).backward()
    parts = {name: part.parameters() for name, part in mac.comm.named_children()} | {
        "agent": mac.agent.rnn.parameters()
    }
    return {name for name, parameters in parts.items() if any(bool(p.grad.any()) for p in parameters)}


def test_the_td_loss_trains_everything_that_a_message_is_made_of():
    learner = make()
    assert trained_by(learner, "td") == {"agent", "model", "message_hidden", "message_out", "query", "key"}
    assert all(p.grad is None for p in learner.target_mac.parameters())


def test_the_mutual_information_trains_both_gaussians_and_the_state():
    assert trained_by(make(), "mutual_information_loss") == {"agent", "model", "inference"}


@pytest.mark.parametrize("of", ["applied", "raw"])
def test_the_entropy_trains_the_attention_only(of):
    assert trained_by(make(maic_entropy_of=of), "attention_entropy") == {"query", "key"}


def test_padded_steps_change_no_loss_of_the_released_form():
    torch.testing.assert_close(*losses_with_and_without_padding_scribbled_on(make(**RELEASED)))


def test_dead_agents_do_not_count_in_the_losses():
    learner, batch = make(), batch_of([3])
    alive = torch.ones(1, T, N, 1)
    alive[:, :, 1] = 0
    batch.add_key("alive", {"vshape": (1,), "group": "agents"}, alive)
    other = copy.deepcopy(batch)
    other.data.transition_data["obs"][:, :, 1] += 1.0
    other.data.transition_data["actions"][:, :, 1] = 0
    other.data.transition_data["actions_onehot"][:, :, 1] = torch.tensor([1.0, 0, 0, 0])
    results = []
    for b in (batch, other):
        torch.manual_seed(3)
        stats = learner.loss(b)[1]
        results.append([stats["mutual_information_loss"], stats["attention_entropy"]])
    torch.testing.assert_close(*results)


# -- batch norm --------------------------------------------------------------------------------------------


def statistics(mac):
    return {key: value.clone() for key, value in mac.comm.state_dict().items() if "running" in key}


def test_updates_move_running_statistics_which_the_target_copies_with_its_parameters():
    learner, batch = make(target_update_interval_or_tau=2, maic_norm="batch"), batch_of([T - 1] * 4)
    start = statistics(learner.target_mac)
    assert len(start) == 4  # mean and variance of two networks
    learner.train(batch, 0, 0)
    assert all(torch.equal(value, start[key]) for key, value in statistics(learner.target_mac).items())
    learner.train(batch, 0, 0)
    online, target = statistics(learner.mac), statistics(learner.target_mac)
    assert all(torch.equal(value, target[key]) and not torch.equal(value, start[key]) for key, value in online.items())


def test_acting_reads_running_statistics_and_leaves_them_alone():
    learner = make(maic_norm="batch")
    mac, batch = learner.mac, batch_of([T - 1] * 3)
    learner.train(batch, 0, 0)
    before = statistics(mac)
    mac.init_hidden(3)
    together = mac.forward(batch, 0, test_mode=True)
    mac.init_hidden(1)
    torch.testing.assert_close(mac.forward(batch[0], 0, test_mode=True), together[:1])
    assert all(torch.equal(value, before[key]) for key, value in statistics(mac).items())


def test_a_pass_of_the_target_network_leaves_its_statistics_alone():
    learner = make(maic_norm="batch")
    before = statistics(learner.target_mac)
    learner.train(batch_of([T - 1]), 0, 0)
    assert all(torch.equal(value, before[key]) for key, value in statistics(learner.target_mac).items())


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_other_norms_have_no_statistics(norm):
    assert statistics(make(maic_norm=norm).mac) == {}


def test_the_official_preset_is_the_released_form():
    official = vars(load_settings("maic", "lookout", ["preset=official"]))
    assert {key: official[key] for key in RELEASED} == RELEASED


# -- learning ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_messages_solve_lookout_of_two_agents_and_zeroed_it_is_chance_again():
    args = load_settings("maic", "lookout", ["seed=1", "use_cuda=False", "env_args.players=2"])
    experiment = Experiment(args, Logger(get_logger()))
    while experiment.runner.t_env < 6000:
        experiment.advance()
    assert score(experiment) >= 0.95
    link = experiment.mac.comm.link
    link.settings = dataclasses.replace(link.settings, comm_control="zero", comm_control_when="test")
    assert score(experiment) < 0.41  # chance is 1/4; five standard errors of 200 episodes are 0.153


def score(experiment):
    """Returns the mean return of one test."""
    experiment.test()
    return experiment.logger.stats["test_return_mean"][-1][1]
