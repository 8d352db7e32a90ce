"""SMS on QMIX: Shapley values, the selector's labels by hand, whom agents ask, what it costs, dropout, each switch."""

import copy
import itertools

import pytest
import torch
from learner_fixtures import GROUPS, A, N, O, Recorder, T, batch_of, full_scheme, settings

from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac.learning.optimiser import Adam
from learners import REGISTRY as learner_REGISTRY
from modules.comm.base import CHOOSING
from modules.comm.sms_shapley import shapley_values, utility_worth
from modules.comm.steps import ACT, LEARN, TEST

M = 8  # numbers of a message
OTHERS = ~torch.eye(N, dtype=torch.bool)


def make(**changes):
    torch.manual_seed(0)
    args = settings(comm="sms", **changes)
    scheme = full_scheme()
    return learner_REGISTRY[args.learner](mac_REGISTRY[args.mac](scheme, GROUPS, args), scheme, Recorder(), args)


def ask_only(comm, asked):
    """Lets every agent ask the teammates ``asked``, whatever it sees, from now on."""
    with torch.no_grad():
        for p in comm.acting_selector.parameters():
            p.zero_()
        comm.acting_selector[2].bias.copy_(torch.tensor([1.0 if j in asked else -1.0 for j in range(N)]))
    comm.is_selecting.fill_(True)


@torch.no_grad()
def q_of(mac, batch, mode=TEST):
    return mac.unroll(batch, mac.steps(batch, mode)).q_PNA


def q_by_hand(mac, batch, heard_NS):
    """Returns Q-values of the first episode's steps if receiver n hears the senders of row n, (T, N, A)."""
    steps = mac.steps(batch)
    h = mac._run_agents(steps.x_RND, steps)
    q = mac.agent.fc2(h)
    message = mac.comm.messages(steps)
    weight = mac.comm.head.weight
    for i, j in itertools.product(range(N), range(N)):
        if i != j and heard_NS[i][j]:
            q[:, i] = q[:, i] + message[:, i, j] @ weight[:, j * M : (j + 1) * M].t()
    return q.detach()


# -- messages ----------------------------------------------------------------------------------------------


def test_every_receiver_has_its_own_slice_of_a_senders_encoder():
    comm = (learner := make()).mac.comm
    steps = learner.mac.steps(batch_of([2]))
    read = torch.cat([steps.obs_RNO, steps.id_RNN], dim=-1)
    message = comm.messages(steps)
    for receiver, sender in itertools.product(range(N), range(N)):
        expected = comm.encoder(read[:, sender])[:, receiver * M : (receiver + 1) * M]
        torch.testing.assert_close(message[:, receiver, sender], expected)


def test_a_receiver_adds_the_messages_of_all_others_and_none_of_its_own():
    mac, batch = make().mac, batch_of([3])
    torch.testing.assert_close(q_of(mac, batch), q_by_hand(mac, batch, torch.ones(N, N)))


def test_with_links_closed_it_is_qmix():
    mac, batch = make(comm_control="zero").mac, batch_of([3])
    torch.testing.assert_close(q_of(mac, batch), q_by_hand(mac, batch, torch.zeros(N, N)))


def test_messages_never_enter_the_agents_state():
    mac, batch = make().mac, batch_of([3])
    before = mac.unroll(batch).hidden_PNH
    ask_only(mac.comm, [])
    assert torch.equal(mac.unroll(batch).hidden_PNH, before)


# -- whom agents ask ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [TEST, ACT, LEARN])
def test_only_asked_teammates_are_heard(mode):
    mac, batch = make().mac, batch_of([3])
    ask_only(mac.comm, [2])
    torch.testing.assert_close(q_of(mac, batch, mode), q_by_hand(mac, batch, [[0, 0, 1]] * N))


def test_only_links_that_are_used_are_paid_for():
    mac, batch = make().mac, batch_of([3])
    ask_only(mac.comm, [2])
    q_of(mac, batch)
    floats = mac.comm.link.take_costs()["floats"]
    assert floats.tolist() == [[0, 0, M], [0, 0, M], [0, 0, 0]]
    q_of(mac, batch)
    metrics = mac.take_message_metrics()
    assert (metrics["links_open"], metrics["message_floats"]) == pytest.approx((2 / 6, 2 / 6 * M))
    assert metrics["message_bits"] == pytest.approx(2 / 6 * M * 32)


def test_whom_to_ask_depends_on_the_step():
    mac, batch = make().mac, batch_of([T - 1] * 4)
    mac.comm.is_selecting.fill_(True)
    with torch.no_grad():
        gate = mac.comm._gate(mac.steps(batch))[:, OTHERS]
    assert gate.any() and not gate.all() and (gate != gate[0]).any()


@pytest.mark.parametrize("changes", [{}, {"channel_delay": 2}])
def test_acting_while_selecting_equals_unrolling(changes):
    mac, batch = make(**changes).mac, batch_of([T - 1, 2, T - 2])
    mac.comm.is_selecting.fill_(True)
    mac.init_hidden(3)
    with torch.no_grad():
        stepped = torch.stack([mac.forward(batch, t) for t in range(T)], dim=1)
    unrolled = mac.steps(batch).packing.pad(q_of(mac, batch, LEARN))
    torch.testing.assert_close(stepped * batch["filled"].unsqueeze(-1), unrolled, rtol=1e-4, atol=1e-5)


def test_selection_starts_at_its_step_and_the_target_follows_when_it_is_copied():
    learner = make(sms_select_from=100, target_update_interval_or_tau=2)
    seen = []
    for t_env in (0, 99, 100, 101):
        learner.train(batch_of([T - 1]), t_env, 0)
        seen.append([bool(mac.comm.is_selecting) for mac in (learner.mac, learner.target_mac)])
    assert seen == [[False, False], [False, False], [True, False], [True, True]]


def test_selection_from_the_first_step_on_where_asked():
    assert bool(make(sms_select_from=0).mac.comm.is_selecting)


def test_selection_is_saved_with_the_weights(tmp_path):
    first, second = make(), make()
    ask_only(first.mac.comm, [1])
    first.save_models(tmp_path)
    second.load_models(tmp_path)
    batch = batch_of([3])
    assert torch.equal(q_of(first.mac, batch), q_of(second.mac, batch))


def test_acting_asks_the_selector_as_it_was_when_the_target_was_copied():
    learner = make(target_update_interval_or_tau=3)
    comm = learner.mac.comm
    for update in range(1, 7):
        learner.train(batch_of([T - 1] * 2), update, update)
        pairs = zip(comm.acting_selector.parameters(), comm.selector.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == (update % 3 == 0)


# -- Shapley values ----------------------------------------------------------------------------------------


def game(V=3, S=4, A=3, seed=0):
    """Returns own utilities, what messages add to them, and availability of all actions."""
    g = torch.Generator().manual_seed(seed)
    parts = torch.randn(V, S, S, A, generator=g) * (~torch.eye(S, dtype=torch.bool)).view(1, S, S, 1)
    return torch.randn(V, S, A, generator=g), parts, torch.ones(V, S, A, dtype=torch.bool)


def test_shapley_values_approach_the_mean_over_all_orderings():
    own, parts, available = game()
    worth = utility_worth("best", own + parts.sum(2), available)
    torch.manual_seed(0)
    estimate = shapley_values(own, parts, worth, 4000)
    for v, i in itertools.product(range(3), range(4)):
        senders = [j for j in range(4) if j != i]
        exact = torch.zeros(4)
        for order in itertools.permutations(senders):
            q = own[v, i]
            for j in order:
                joined = q + parts[v, i, j]
                exact[j] += (joined.max() - q.max()) / 6
                q = joined
        # A gain has a standard deviation of about 1, so 4,000 orderings leave 0.016; this is five times that.
        torch.testing.assert_close(estimate[v, i], exact, atol=0.08, rtol=0)


@pytest.mark.parametrize("kind", ["best", "full_action", "judged"])
def test_the_values_of_every_ordering_add_up_to_all_minus_none(kind):
    own, parts, available = game()
    worth = utility_worth(kind, own + parts.sum(2), available)
    total = shapley_values(own, parts, worth, 1).sum(-1)
    none, everyone = worth(own.unsqueeze(2)), worth((own + parts.sum(2)).unsqueeze(2))
    torch.testing.assert_close(total, (everyone - none).squeeze(2))


def test_an_agent_has_no_value_for_itself():
    own, parts, available = game()
    values = shapley_values(own, parts, utility_worth("best", own + parts.sum(2), available), 3)
    assert torch.diagonal(values, dim1=1, dim2=2).eq(0).all()


def test_the_three_kinds_of_worth_by_hand():
    full = torch.tensor([[[1.0, 5.0, 9.0]]])  # all messages would choose action 1: action 2 is not available
    given = torch.tensor([[[[4.0, 3.0, 8.0]]]])  # this set chooses action 0
    available = torch.tensor([[[True, True, False]]])
    worth = {kind: utility_worth(kind, full, available)(given).item() for kind in ("best", "full_action", "judged")}
    assert worth == {"best": 4, "full_action": 3, "judged": 1}


def test_no_message_counts_for_less_than_nothing_in_all_when_all_messages_judge():
    own, parts, available = game()
    values = shapley_values(own, parts, utility_worth("judged", own + parts.sum(2), available), 2)
    assert values.sum(-1).min() >= -1e-6 and values.sum() > 0


# -- losses ------------------------------------------------------------------------------------------------


def test_the_selector_loss_of_two_steps_by_hand():
    learner, batch = make(sms_worth="full_action"), batch_of([2])
    mac, comm = learner.mac, learner.mac.comm
    steps = mac.steps(batch)
    full = q_by_hand(mac, batch, torch.ones(N, N)).double()
    message, read = comm.messages(steps).detach(), torch.cat([steps.obs_RNO, steps.id_RNN], dim=-1)
    mixer = copy.deepcopy(learner.mixer).double()
    squares = []
    for t in range(2):
        state = batch["state"][:, t : t + 1].double()
        taken = full[t].gather(1, batch["actions"][0, t]).view(1, 1, N)
        for i in range(N):
            nudge = torch.zeros_like(taken)
            nudge[..., i] = 1e-6
            k = (mixer(taken + nudge, state) - mixer(taken - nudge, state)).item() / 2e-6
            action = full[t, i].argmax()
            for j in range(N):
                if j != i:  # the worth of a fixed action is a sum over messages, so no ordering matters
                    label = k * (comm.head.weight[action, j * M : (j + 1) * M] @ message[t, i, j])
                    squares.append((comm.selector(read[t, i])[j] - label).square())
    total, stats = learner.loss(batch)
    torch.testing.assert_close(
        stats["selector_loss"], (sum(squares) / len(squares)).float().detach(), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(total.detach(), stats["loss"] + stats["selector_loss"])


def test_a_label_belongs_to_its_own_step_in_a_batch_of_several_episodes():
    learner, lengths = make(sms_worth="full_action"), [T - 1, 2, 3]
    batch = batch_of(lengths)
    together = learner.loss(batch)[1]["selector_loss"] * sum(lengths)
    apart = sum(learner.loss(batch[b])[1]["selector_loss"] * lengths[b] for b in range(3))
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-6)


def test_without_a_mixer_values_count_as_they_are():
    learner, batch = make(sms_worth="full_action", mixer=None), batch_of([2])
    mixed = make(sms_worth="full_action", mixer="vdn")  # its derivative is 1
    mixed.mac.load_state(learner.mac)
    torch.testing.assert_close(learner.loss(batch)[1]["selector_loss"], mixed.loss(batch)[1]["selector_loss"])


def gradients(module):
    return [bool(p.grad is not None and p.grad.any()) for p in module.parameters()]


def test_the_selector_loss_trains_the_selector_and_nothing_else():
    learner, batch = make(), batch_of([T - 1] * 4)
    for p in learner.params:
        p.grad.zero_()
    mac, steps = learner.mac, learner.mac.steps(batch)
    total = learner.loss(batch)[0]
    transitions = learner._transitions(batch, steps.packing)
    online, target = mac.unroll(batch, steps), learner.target_mac.unroll(batch, steps)
    td, _ = learner.td_loss(transitions, online.q_PNA, target.q_PNA.detach(), False)
    (total - td).backward()
    assert all(gradients(mac.comm.selector))
    rest = [p.grad for p in learner.params if not any(p is own for own in mac.comm.selector.parameters())]
    assert max(float(g.abs().max()) for g in rest) < 1e-6
    assert not any(gradients(mac.comm.acting_selector))


def test_the_td_loss_trains_encoder_and_head_but_never_the_selector():
    learner = make()
    learner.mac.train(True)
    learner.mac.unroll(batch_of([3])).q_PNA.sum().backward()
    comm = learner.mac.comm
    assert all(gradients(comm.encoder)) and all(gradients(comm.head)) and not any(gradients(comm.selector))


def test_the_selector_has_an_optimiser_of_its_own():
    learner = make(sms_selector_lr=0.003, optimiser="rmsprop")
    optimiser, _ = learner.optimisers["selector"]
    assert isinstance(optimiser, Adam) and optimiser.choice.lr == 0.003


def test_what_dead_agents_see_does_not_change_the_selector_loss():
    learner, batch = make(sms_worth="full_action", mixer=None), batch_of([3, 3])
    alive = torch.ones(2, T, N)
    alive[:, :, 1] = 0
    batch.add_key("alive", {"vshape": (1,), "group": "agents"}, alive.unsqueeze(-1))
    other = copy.deepcopy(batch)
    other.data.transition_data["obs"][:, :, 1] = 9.0
    first, second = (learner.loss(seen)[1] for seen in (batch, other))
    assert torch.equal(first["selector_loss"], second["selector_loss"]) and first["loss"] != second["loss"]


# -- dropout and noise -------------------------------------------------------------------------------------


def updating(**changes):
    learner = make(**changes)
    learner.mac.train(True)
    return learner


def test_dropout_is_for_updates_only():
    mac, batch = make(sms_dropout=1.0).mac, batch_of([3])
    everyone = q_by_hand(mac, batch, torch.ones(N, N))
    for mode in (LEARN, ACT, TEST):
        torch.testing.assert_close(q_of(mac, batch, mode), everyone)
    mac.train(True)
    torch.testing.assert_close(q_of(mac, batch, LEARN), q_by_hand(mac, batch, torch.zeros(N, N)))
    torch.testing.assert_close(q_of(mac, batch, ACT), everyone)


def test_dropout_leaves_out_whole_messages_of_pairs():
    comm = make(sms_dropout=0.3).mac.comm
    everything = torch.ones(5000, N, N, M)
    left = comm._with_dropout(everything, everything, False)
    assert left.amin(-1).equal(left.amax(-1))
    torch.testing.assert_close(left.mean((0, 3)), torch.full((N, N), 0.7), atol=0.03, rtol=0)


def test_while_selecting_only_a_share_of_the_steps_has_dropout():
    comm = make(sms_dropout=1.0, sms_dropout_share=0.2).mac.comm
    heard, everything = torch.full((5000, N, N, M), 2.0), torch.ones(5000, N, N, M)
    read = comm._with_dropout(heard, everything, True).flatten(1)
    assert read.amin(-1).equal(read.amax(-1)) and set(read.unique().tolist()) == {0.0, 2.0}
    assert read[:, 0].eq(0).float().mean().item() == pytest.approx(0.2, abs=0.03)


def test_dropout_while_selecting_draws_from_teammates_that_were_not_asked_as_well():
    learner, batch = updating(sms_dropout=1e-9, sms_dropout_share=1.0), batch_of([3])
    ask_only(learner.mac.comm, [])
    torch.testing.assert_close(
        q_of(learner.mac, batch, LEARN), q_by_hand(learner.mac, batch, torch.ones(N, N)), rtol=1e-4, atol=1e-5
    )


def test_next_actions_are_chosen_with_the_messages_that_agents_hear():
    learner, batch = updating(sms_dropout=1.0), batch_of([3])
    unrolled = learner.mac.unroll(batch)
    torch.testing.assert_close(unrolled.kept[CHOOSING].detach(), q_by_hand(learner.mac, batch, torch.ones(N, N)))
    transitions = learner._transitions(batch, learner.mac.steps(batch).packing)
    value = torch.arange(4.0 * N * A).view(4, N, A)

    def error(choosing):
        return learner.td_loss(transitions, value, value, False, choosing)[0]

    assert torch.equal(error(None), error(value)) and not torch.equal(error(None), error(-value))


def test_noise_is_drawn_in_training_and_never_in_tests():
    mac, batch = make(sms_noise=1.0).mac, batch_of([3])
    assert mac.comm.samples and not make().mac.comm.samples
    assert torch.equal(q_of(mac, batch, TEST), q_of(mac, batch, TEST))
    for mode in (ACT, LEARN):
        assert not torch.equal(q_of(mac, batch, mode), q_of(mac, batch, mode))


@pytest.mark.parametrize("noisy", [False, True])
def test_labels_are_free_of_noise_unless_asked(noisy):
    learner = make(sms_noise=1.0, sms_noisy_labels=noisy, sms_worth="full_action", mixer=None)
    losses = [learner.loss(batch_of([3]))[1]["selector_loss"] for _ in range(2)]
    assert torch.allclose(*losses, rtol=1e-5) != noisy  # orderings are drawn, and every order rounds in its own way


# -- forms -------------------------------------------------------------------------------------------------


def test_messages_read_the_observation_and_the_id_only():
    mac = make().mac
    assert mac.comm.encoder[0].in_features == O + N == mac.comm.selector[0].in_features
    assert make(obs_agent_id=False).mac.comm.encoder[0].in_features == O
