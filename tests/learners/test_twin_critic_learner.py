"""The actor-critic learner: its losses by hand, what they train, what they read, what it refuses, its state."""

import copy
import itertools

import pytest
import torch
from learner_fixtures import (
    GROUPS,
    POLICY,
    SMS_POLICY,
    A,
    N,
    Recorder,
    T,
    batch_of,
    full_scheme,
    losses_with_and_without_padding_scribbled_on,
    settings,
)
from test_comm_contract import matrix_game

from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.batches import BatchRequest, requests_of, update_ratio
from learners import REGISTRY
from modules.comm.steps import TEST

GAMMA, LAMBDA = 0.9, 0.6
KINDS = {
    "no messages": POLICY,
    "sms": SMS_POLICY,
    "sms with a GRU": {**SMS_POLICY, "agent": "rnn", "use_rnn": True},
    "qmix mixer": {**SMS_POLICY, "mixer": "qmix"},
}


def make(kind="no messages", **changes):
    torch.manual_seed(0)
    args = settings(**{**KINDS[kind], **changes})
    mac = mac_REGISTRY[args.mac](full_scheme(), GROUPS, args)
    return REGISTRY[args.learner](mac, full_scheme(), Recorder(), args)


def seen(learner, batch):
    """Returns the batch's steps and transitions."""
    steps = learner.mac.steps(batch)
    return steps, learner._transitions(batch, steps.packing)


def on_policy(learner, batch):
    return learner.on_policy_loss(*seen(learner, batch))[0]


def off_policy(learner, batch):
    return learner.off_policy_loss(batch)[0]


def actor(learner, batch):
    return learner.actor_loss(batch, *seen(learner, batch), True)[0]


LOSSES = {"on-policy critics": on_policy, "off-policy critics": off_policy, "actor": actor}


# -- by hand -----------------------------------------------------------------------------------------------


def team_value(critic, mixer, batch, t, p_NA):
    """Returns Q_tot of probabilities at step t of the first episode, from the networks' layers."""
    state = batch["state"][0, t]
    first = mixer.hyper_w_1(state).abs().view(N, -1)
    k = first @ mixer.hyper_w_final(state).abs()
    total = 0
    for i in range(N):
        z = torch.cat([batch["obs"][0, t, i], state, torch.eye(N)[i]])
        advantages = [critic.advantage(torch.cat([z, action])) for action in torch.eye(A)]
        q = critic.value(z) + critic.advantage(torch.cat([z, p_NA[i]])) - sum(advantages) / A
        total = total + k[i] / k.sum() * q
    return total.squeeze()


def pessimistic_value(learner, batch, t, p_NA):
    """Returns the target networks' Q_tot: the smaller critic of every agent, under the mixer."""
    state = batch["state"][0, t]
    mixer, twin = learner.target_mixer, learner.target_critic
    total = 0
    for i in range(N):
        z = torch.cat([batch["obs"][0, t, i], state, torch.eye(N)[i]]).view(1, 1, -1)
        total = total + mixer.weights(state)[i] * min(q.item() for q in twin(z, p_NA[i].view(1, 1, 1, A)))
    return total


def critic_loss_by_hand(learner, batch, returns, taken):
    total = 0
    for critic in (learner.critic.first, learner.critic.second):
        errors = [team_value(critic, learner.mixer, batch, t, taken[t]) - y for t, y in enumerate(returns)]
        total = total + 0.5 * sum(e**2 for e in errors) / len(errors)
    return total


def taken_and_rewards(batch):
    return torch.eye(A)[batch["actions"][0, :, :, 0]], batch["reward"][0, :, 0]


@pytest.mark.parametrize("terminates", [True, False])
def test_the_on_policy_critic_loss_of_two_steps_by_hand(terminates):
    learner, batch = make(), batch_of([2], steps=3)
    if not terminates:
        batch.data.transition_data["terminated"].zero_()
    taken, reward = taken_and_rewards(batch)
    v = [pessimistic_value(learner, batch, t, taken[t]) for t in range(3)]
    last = reward[1] + (0 if terminates else GAMMA * v[2])
    returns = [reward[0] + GAMMA * ((1 - LAMBDA) * v[1] + LAMBDA * last), last]
    torch.testing.assert_close(on_policy(learner, batch), critic_loss_by_hand(learner, batch, returns, taken))


def test_the_off_policy_critic_loss_of_two_steps_by_hand():
    learner, batch = make("sms"), batch_of([2], steps=3)
    with torch.no_grad():
        for p in learner.mac.parameters():
            p.add_(0.3)  # the online policy is another one than the target's
        steps = learner.target_mac.steps(batch, TEST)  # as in a test: no noise and no dropout here
        p = learner.target_mac.unroll(batch, steps).q_PNA.softmax(-1)
    taken, reward = taken_and_rewards(batch)
    returns = [reward[0] + GAMMA * pessimistic_value(learner, batch, 1, p[1]), reward[1]]
    torch.testing.assert_close(off_policy(learner, batch), critic_loss_by_hand(learner, batch, returns, taken))


def policy_by_hand(learner, batch):
    """Returns logits of an agent without messages and hidden layers."""
    x = torch.cat([batch["obs"][0], torch.eye(N).expand(T, -1, -1)], dim=-1)
    return learner.mac.agent.fc2(x)


def test_the_actor_loss_of_two_steps_and_its_gradient_by_hand():
    learner, batch = make(entropy_coef=0.5), batch_of([2])
    weight = learner.mac.agent.fc2.weight
    p = policy_by_hand(learner, batch).softmax(-1)
    total = sum(team_value(learner.critic.first, learner.mixer, batch, t, p[t]) for t in range(2)) / 2
    entropy = -(p[:2] * p[:2].log()).sum(-1).mean()
    expected = -total - 0.5 * entropy / entropy.item()
    found = actor(learner, batch)
    torch.testing.assert_close(found, expected)
    by_hand, by_learner = (torch.autograd.grad(loss, weight)[0] for loss in (expected, found))
    torch.testing.assert_close(by_learner, by_hand)


def test_actions_that_cannot_be_taken_have_no_probability_and_no_gradient():
    learner, batch = make(), batch_of([3])
    batch.data.transition_data["avail_actions"][..., 2] = 0
    steps, transitions = seen(learner, batch)
    loss, stats = learner.actor_loss(batch, steps, transitions, True)
    gradient = torch.autograd.grad(loss, learner.mac.agent.fc2.weight)[0]
    assert torch.isfinite(gradient).all() and not gradient[2].any() and gradient[0].any()
    assert stats["entropy"] <= torch.tensor(3.0).log()


def test_an_agent_with_one_action_left_gives_a_finite_loss_without_entropy():
    learner, batch = make(), batch_of([3])
    batch.data.transition_data["avail_actions"][..., 1:] = 0
    loss, stats = learner.actor_loss(batch, *seen(learner, batch), True)
    assert torch.isfinite(loss) and stats["entropy"] == 0 and stats["pi_max"] == 1


# -- what is trained, and by whom --------------------------------------------------------------------------


def trained_by(learner, loss):
    """Returns which parts a loss passes gradients to: all parameters, none, or some."""
    for p in learner.params:
        p.grad.zero_()
    loss.backward()
    comm = learner.mac.comm
    parts = {"agent": learner.mac.agent, "mixer": learner.mixer, "critic": learner.critic}
    if comm is not None:
        parts |= {"encoder": comm.encoder, "head": comm.head, "selector": comm.selector}
    found = {}
    for name, part in parts.items():
        reached = [p.grad is not None and float(p.grad.abs().max()) > 1e-6 for p in part.parameters()]
        found[name] = "all" if all(reached) else "some" if any(reached) else "none"
    return found


@pytest.mark.parametrize("name", ["on-policy critics", "off-policy critics"])
def test_the_critics_losses_train_critics_and_mixer_only(name):
    learner = make("sms")
    found = trained_by(learner, LOSSES[name](learner, batch_of([T - 1] * 8)))
    expected = {"agent": "none", "mixer": "all", "encoder": "none", "head": "none", "selector": "none"}
    assert found == {**expected, "critic": "some"}
    # The last bias of an advantage cancels against the mean over actions.
    dry = [name for name, p in learner.critic.named_parameters() if float(p.grad.abs().max()) < 1e-6]
    assert dry == ["first.advantage.4.bias", "second.advantage.4.bias"]


@pytest.mark.parametrize("kind", ["sms", "sms with a GRU"])
def test_the_policys_update_trains_the_policy_and_the_selector_only(kind):
    learner = make(kind)
    before = copy.deepcopy(learner.state_dict())
    learner.train(batch_of([T - 1] * 8), 0, 0)
    moved = {name: not torch.equal(before["mac"]["comm"][name], p) for name, p in learner.mac.comm.named_parameters()}
    assert all(moved[name] for name in moved if not name.startswith("acting_selector")), moved
    assert all(not moved[name] for name in moved if name.startswith("acting_selector"))
    agent = learner.mac.agent.state_dict()
    assert all(not torch.equal(before["mac"]["agent"][name], value) for name, value in agent.items())
    targets = learner.state_dict()
    for name in ("target_mac", "target_critic", "target_mixer"):
        for a, b in zip(_tensors(before[name]), _tensors(targets[name]), strict=True):
            assert torch.equal(a, b)


def _tensors(value):
    return [t for item in value.values() for t in _tensors(item)] if isinstance(value, dict) else [value]


def test_the_policys_loss_gives_the_critics_no_gradient():
    learner, batch = make("sms"), batch_of([T - 1] * 4)
    learner.train(batch, 0, 0)  # the critics' gradients are now those of their own loss
    kept = [p.grad.clone() for p in learner._judges()]
    assert all(p.requires_grad for p in learner._judges())
    optimiser, _ = learner.optimisers["critic"]
    optimiser.zero_grad()
    on_policy(make("sms"), batch)
    fresh = make("sms")
    critic_loss = on_policy(fresh, batch)
    fresh._step(critic_loss, ["critic"])
    for p, gradient in zip(fresh._judges(), kept, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_every_parameter_has_exactly_one_optimiser_with_its_own_numbers():
    learner = make("sms", lr=0.01, critic_lr=0.02, adam_eps=1e-3, sms_selector_lr=0.03)
    assert sum(optimiser.flat.numel() for optimiser, _ in learner.optimisers.values()) == sum(
        p.numel() for p in learner.params
    )
    choices = {name: optimiser.choice for name, (optimiser, _) in learner.optimisers.items()}
    assert {name: (choice.lr, choice.adam_eps) for name, choice in choices.items()} == {
        "main": (0.01, 1e-3),
        "critic": (0.02, 1e-3),
        "selector": (0.03, 1e-8),
    }


def test_parameters_are_counted_by_part():
    learner = make("sms")
    counts = learner.n_parameters()
    assert set(counts) == {"agents", "mixer", "critic"} and sum(counts.values()) == sum(
        p.numel() for p in learner.params
    )


# -- what does not matter ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), list(itertools.product(KINDS, LOSSES)))
def test_padded_steps_change_no_loss(kind, name):
    torch.testing.assert_close(*losses_with_and_without_padding_scribbled_on(make(kind), LOSSES[name]))


@pytest.mark.parametrize("name", LOSSES)
def test_an_episodes_loss_does_not_depend_on_the_others_in_the_batch(name):
    learner, lengths = make("sms", sms_dropout=0.0, entropy_coef=0.0), [T - 1, 2, 3]
    learner.mac.comm.losses = lambda context: {}  # orderings are drawn
    batch = batch_of(lengths)
    together = LOSSES[name](learner, batch) * sum(lengths)
    apart = sum(LOSSES[name](learner, batch[b]) * lengths[b] for b in range(3))
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_what_dead_agents_see_changes_nobody_elses_policy_entropy_or_selector():
    learner, batch = make("sms"), batch_of([T - 1] * 2)
    alive = torch.ones(2, T, N)
    alive[:, :, 1] = 0
    batch.add_key("alive", {"vshape": (1,), "group": "agents"}, alive.unsqueeze(-1))
    batch.data.transition_data["avail_actions"][:, :, 1, 1:] = 0
    other = copy.deepcopy(batch)
    other.data.transition_data["obs"][:, :, 1] = 9.0
    found = []
    for one in (batch, other):
        torch.manual_seed(1)
        steps, transitions = seen(learner, one)
        stats = learner.actor_loss(one, steps, transitions, True)[1]
        found.append([stats["entropy"], stats["selector_loss"], learner.mac.unroll(one, steps).q_PNA[:, [0, 2]]])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_dead_agents_do_not_count_in_the_entropy():
    learner, batch = make("sms", sms_dropout=0.0), batch_of([T - 1] * 2)
    batch.add_key("alive", {"vshape": (1,), "group": "agents"}, torch.ones(2, T, N, 1))
    batch.data.transition_data["alive"][:, :, 1] = 0
    batch.data.transition_data["avail_actions"][:, :, 1, 1:] = 0
    steps, transitions = seen(learner, batch)
    p = learner.mac.unroll(batch, steps).q_PNA[transitions.packing.now_V][:, [0, 2]].softmax(-1)
    entropy = learner.actor_loss(batch, steps, transitions, True)[1]["entropy"]
    torch.testing.assert_close(entropy, -(p * p.log()).sum(-1).mean())


# -- over many updates -------------------------------------------------------------------------------------


def test_the_target_networks_are_copied_every_so_many_rounds():
    learner, batch = make("sms", target_update_interval_or_tau=2), batch_of([T - 1] * 4)
    for update in range(1, 5):
        learner.train_off_policy(batch, update, update)
        learner.train(batch, update, update)
        pairs = [("mac", "target_mac"), ("critic", "target_critic"), ("mixer", "target_mixer")]
        state = learner.state_dict()
        same = [all(map(torch.equal, _tensors(state[a]), _tensors(state[b]))) for a, b in pairs]
        assert same == [update % 2 == 0] * 3


def test_metrics_are_logged_once_an_interval_for_both_batches():
    learner, batch = make("sms", learner_log_interval=100), batch_of([T - 1] * 2)
    for t_env in (0, 50, 100):
        learner.train_off_policy(batch, t_env, 0)
        learner.train(batch, t_env, 0)
    for key in ("critic_loss", "off_policy_critic_loss", "actor_loss", "entropy", "selector_loss", "grad_norm_critic"):
        assert [t for t, _ in learner.logger.stats[key]] == [0, 100], key


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_learner_goes_on_to_the_bit(kind):
    changes = {"standardise_rewards": True, "target_update_interval_or_tau": 3}
    first, second = make(kind, **changes), make(kind, **changes)
    batches = [batch_of([T - 1, 3], seed=i) for i in range(6)]

    def both(learner, batch):
        torch.manual_seed(9)
        learner.train_off_policy(batch, 0, 0)
        learner.train(batch, 0, 0)

    for batch in batches[:3]:
        both(first, batch)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for batch in batches[3:]:
        for learner in (first, second):
            both(learner, batch)
    for a, b in zip(_tensors(first.state_dict()), _tensors(second.state_dict()), strict=True):
        assert a == b if not isinstance(a, torch.Tensor) else torch.equal(a, b)


def test_saved_networks_are_read_back(tmp_path):
    first, second = make("sms"), make("sms")
    first.train(batch_of([T - 1] * 2), 0, 0)
    first.save_models(tmp_path)
    second.load_models(tmp_path)
    assert {"agent.th", "comm.th", "critic.th", "mixer.th", "opt.th"} == {path.name for path in tmp_path.iterdir()}
    for name in ("mac", "critic", "mixer"):
        for part, target in ((name, name), (name, f"target_{name}")):
            for a, b in zip(_tensors(first.state_dict()[part]), _tensors(second.state_dict()[target]), strict=True):
                assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["no messages", "sms"])
def test_a_matrix_game_of_two_agents_is_solved(kind):
    sizes, batch = matrix_game()
    torch.manual_seed(0)
    args = settings(
        **{**KINDS[kind], "critic_hidden_dim": 32, "critic_lr": 0.01, "learner_log_interval": 10**9, **sizes}
    )
    mac = mac_REGISTRY[args.mac](batch.scheme, {"agents": 2}, args)
    learner = REGISTRY[args.learner](mac, batch.scheme, Recorder(), args)
    for step in range(200):
        learner.train_off_policy(batch, step, step)
        learner.train(batch, step, step)
    with torch.no_grad():
        p = mac.unroll(batch, mac.steps(batch, TEST)).q_PNA[0].softmax(-1)
    assert p.argmax(-1).tolist() == [0, 0] and p[:, 0].min() > 0.9


# -- what it asks for and what it refuses ------------------------------------------------------------------


def test_it_asks_for_any_episodes_then_for_the_latest_ones():
    learner = make(batch_size=64, on_policy_batch_size=32, learn_from_episodes=128)
    assert requests_of(learner, 7) == (
        BatchRequest(64, latest=False, method="train_off_policy", stored=128),
        BatchRequest(32, latest=True, method="train", stored=128),
    )
    assert update_ratio(0.125, learner.requests) == (
        "0.125 updates an episode, 64 episodes and the latest 32 episodes an update"
    )


def test_a_learner_that_asks_for_nothing_is_served_the_batch_size():
    assert requests_of(object(), 7) == (BatchRequest(7),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixer": None}, "mixer=null has none; set mixer=linear"),
        (
            {"action_selector": "epsilon_greedy"},
            "action_selector=epsilon_greedy draws from none; set action_selector=soft",
        ),
        ({"standardise_returns": True}, "set standardise_returns=False"),
        ({"buffer_size": 100}, r"starts with 128 stored episodes .* buffer_size=100 cannot hold"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, message):
    with pytest.raises(SettingsError, match=message):
        make("sms", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"learner": "q_learner"},
            "learner=q_learner trains Q-values, but comm=sms with sms_form=actor_critic puts out a policy's logits",
        ),
        (
            {"sms_form": "qmix"},
            "learner=twin_critic_learner trains a policy's logits, but comm=sms with sms_form=qmix puts out Q-values",
        ),
    ],
)
def test_a_form_of_the_method_that_the_learner_cannot_train_is_refused(changes, message):
    values = {key: value for key, value in {**SMS_POLICY, **changes}.items() if key != "critic_hidden_dim"}
    torch.manual_seed(0)
    args = settings(**values)
    mac = mac_REGISTRY[args.mac](full_scheme(), GROUPS, args)
    with pytest.raises(SettingsError, match=message):
        REGISTRY[args.learner](mac, full_scheme(), Recorder(), args)


def test_a_method_that_needs_hidden_layers_is_refused_without_them():
    values = {**POLICY, "learner": "q_learner", "comm": "maic", "hidden_dim": 16}
    del values["critic_hidden_dim"]
    with pytest.raises(SettingsError, match="comm=maic needs agents with hidden layers, which agent=linear has not"):
        mac_REGISTRY["basic_mac"](full_scheme(), GROUPS, settings(**values))
