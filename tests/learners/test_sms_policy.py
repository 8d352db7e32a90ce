"""SMS as it was released, a policy under two critics: what its update hears, its labels by hand, its settings, runs."""

import copy
import itertools

import pytest
import torch
from learner_fixtures import GROUPS, SMS_POLICY, A, N, Recorder, T, batch_of, full_scheme, settings

from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac.settings import load_settings
from learners import REGISTRY
from modules.comm.steps import ACT, LEARN, TEST
from run import Experiment
from utils.logging import Logger, get_logger

M = 8  # numbers of a message
GRU = {"agent": "rnn", "use_rnn": True}


def make(**changes):
    torch.manual_seed(0)
    args = settings(**{**SMS_POLICY, **changes})
    mac = mac_REGISTRY[args.mac](full_scheme(), GROUPS, args)
    return REGISTRY[args.learner](mac, full_scheme(), Recorder(), args)


@torch.no_grad()
def logits(mac, batch, mode):
    return mac.unroll(batch, mac.steps(batch, mode)).q_PNA


def alone(mac, batch):
    """Returns logits without messages and what each message adds, (T, N, A) and (T, N, N, A), from the layers."""
    steps = mac.steps(batch)
    message = mac.comm.messages(steps)
    own = mac.agent.fc2(mac._run_agents(steps.x_RND, steps))
    part = torch.zeros(steps.n_rows, N, N, A)
    for i, j in itertools.product(range(N), range(N)):
        if i != j:
            part[:, i, j] = message[:, i, j] @ mac.comm.head.weight[:, j * M : (j + 1) * M].t()
    return own.detach(), part.detach()


# -- what is heard -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, GRU], ids=["feed-forward", "GRU"])
def test_logits_are_the_heads_of_own_features_and_all_messages(changes):
    mac, batch = make(**changes).mac, batch_of([T - 1])
    own, part = alone(mac, batch)
    torch.testing.assert_close(logits(mac, batch, TEST), own + part.sum(2))


def test_the_policys_update_hears_everyone_without_noise_but_with_dropout():
    learner, batch = make(sms_noise=5.0, sms_dropout=0.5), batch_of([T - 1] * 2)
    learner.mac.comm.is_selecting.fill_(True)
    with torch.no_grad():
        learner.mac.comm.acting_selector[2].bias.fill_(-1e6)  # agents ask nobody
    own, part = alone(learner.mac, batch)
    learner.mac.train(True)
    heard = logits(learner.mac, batch, LEARN) - own
    subsets = torch.tensor(list(itertools.product([0.0, 1.0], repeat=N - 1)))
    n_full = 0
    for row, i in itertools.product(range(len(own)), range(N)):
        sums = subsets @ part[row, i, [j for j in range(N) if j != i]]
        distance = (sums - heard[row, i]).abs().amax(-1)
        assert distance.min() < 1e-5
        n_full += int(distance.argmin() == len(subsets) - 1)
    assert 0 < n_full < len(own) * N  # each teammate is left out by half


def test_the_critics_targets_hear_what_agents_would():
    learner, batch = make(), batch_of([T - 1])
    target = learner.target_mac
    own, _ = alone(target, batch)
    target.comm.is_selecting.fill_(True)
    with torch.no_grad():
        target.comm.acting_selector[2].bias.fill_(-1e6)
    assert torch.equal(logits(target, batch, LEARN), own)


@pytest.mark.parametrize(("mode", "noisy"), [(ACT, True), (LEARN, True), (TEST, False)])
def test_noise_is_heard_in_rollouts_and_by_the_targets_and_never_in_tests(mode, noisy):
    learner, batch = make(sms_noise=1.0), batch_of([T - 1])
    same = torch.equal(logits(learner.target_mac, batch, mode), logits(learner.target_mac, batch, mode))
    assert same != noisy


# -- labels ------------------------------------------------------------------------------------------------


def selector_loss(learner, batch):
    steps = learner.mac.steps(batch)
    transitions = learner._transitions(batch, steps.packing)
    return learner.actor_loss(batch, steps, transitions, True)[1]["selector_loss"]


def labels_by_hand(learner, batch, order_of):
    """Returns k_i(s) times the critics' gain from each message in one ordering of the senders, (T, N, N)."""
    own, part = alone(learner.target_mac, batch)
    twin, labels = learner.critic, torch.zeros(len(own), N, N)
    for t, i in itertools.product(range(len(own)), range(N)):
        state = batch["state"][0, t]
        z = torch.cat([batch["obs"][0, t, i], state, torch.eye(N)[i]]).view(1, 1, -1)
        k = learner.mixer.weights(state)[i]

        def value(logit, z=z):
            return min(q.item() for q in twin(z, logit.softmax(-1).view(1, 1, 1, A)))

        known = own[t, i]
        for j in order_of(i):
            labels[t, i, j] = k * (value(known + part[t, i, j]) - value(known))
            known = known + part[t, i, j]
    return labels.detach()


@pytest.mark.parametrize("changes", [{}, GRU], ids=["feed-forward", "GRU"])
@pytest.mark.parametrize("rising", [True, False])
def test_the_selector_loss_of_two_steps_by_hand(changes, rising, monkeypatch):
    learner, batch = make(sms_orderings=1, **changes), batch_of([2])
    with torch.no_grad():
        for p in learner.mac.parameters():
            p.mul_(1.5)  # labels come from the target network, which is another one
    draws = torch.arange(1.0, N + 1) / (N + 1)
    draws = draws if rising else draws.flip(0)
    monkeypatch.setattr(
        torch, "rand", lambda *shape, **_: draws.expand(*shape) if shape[-1] == N else torch.ones(shape)
    )
    found = selector_loss(learner, batch)
    monkeypatch.undo()
    order = range(N) if rising else reversed(range(N))
    order = list(order)
    labels = labels_by_hand(learner, batch, lambda i: [j for j in order if j != i])[:2]
    steps = learner.mac.steps(batch)
    predicted = learner.mac.comm.selector(torch.cat([steps.obs_RNO, steps.id_RNN], dim=-1))[:2]
    others = ~torch.eye(N, dtype=torch.bool)
    expected = (predicted - labels).square()[:, others].mean()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-7)


def test_a_label_belongs_to_its_own_step_in_a_batch_of_several_episodes(monkeypatch):
    learner, lengths = make(sms_orderings=1), [T - 1, 2, 3]
    batch = batch_of(lengths)
    draws = torch.arange(1.0, N + 1) / (N + 1)
    monkeypatch.setattr(
        torch, "rand", lambda *shape, **_: draws.expand(*shape) if shape[-1] == N else torch.ones(shape)
    )
    together = selector_loss(learner, batch) * sum(lengths)
    apart = sum(selector_loss(learner, batch[b]) * lengths[b] for b in range(3))
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-7)


def test_labels_are_free_of_noise_unless_asked():
    batch = batch_of([T - 1])
    for noisy in (False, True):
        learner = make(sms_noise=5.0, sms_noisy_labels=noisy, sms_orderings=1)
        found = []
        for _ in range(2):
            steps = learner.mac.steps(batch)
            part = learner.mac.comm.parts(steps, learner.mac.comm.messages(steps))
            found.append(part)
        assert torch.equal(*found) != noisy


def test_acting_asks_the_selector_as_it_was_when_the_target_was_copied():
    learner, batch = make(sms_select_from=0, target_update_interval_or_tau=2), batch_of([T - 1] * 2)
    for update in (1, 2):
        learner.train(batch, update, update)
        comm = learner.mac.comm
        same = all(map(torch.equal, comm.acting_selector.parameters(), comm.selector.parameters()))
        assert same == (update == 2)


# -- settings and whole runs -------------------------------------------------------------------------------


def test_the_official_preset_has_the_released_settings():
    s = load_settings("sms", "hallway", ["preset=official"])
    assert (s.sms_form, s.learner, s.mixer, s.agent) == ("actor_critic", "twin_critic_learner", "linear", "linear")
    assert (s.batch_size, s.on_policy_batch_size, s.learn_from_episodes, s.buffer_size) == (64, 32, 128, 5000)
    assert (s.batch_size_run, s.updates_per_episode, s.target_update_interval_or_tau) == (8, 0.125, 25)
    assert (s.lr, s.critic_lr, s.adam_eps, s.sms_selector_lr) == (0.001, 0.001, 1e-7, 0.0001)
    assert (s.gamma, s.td_lambda, s.entropy_coef, s.grad_norm_clip) == (0.99, 0.6, 0.03, 10)
    assert (s.critic_hidden_dim, s.mixing_embed_dim, s.sms_message_dim, s.sms_orderings) == (128, 32, 8, 2)
    assert (s.sms_dropout, s.sms_noise, s.sms_noisy_labels, s.sms_select_from) == (0.5, 1.0, True, 300000)
    assert (s.action_selector, s.obs_last_action, s.use_rnn, s.standardise_rewards) == ("softmax", False, False, False)


SMALL_RUN = ["preset=official", "seed=3", "use_cuda=False", "save_model=False", "learner_log_interval=0"]
SMALL_RUN += ["critic_hidden_dim=8", "sms_select_from=60", "target_update_interval_or_tau=3"]
SMALL_RUN += ["batch_size=8", "on_policy_batch_size=6", "learn_from_episodes=16", "buffer_size=20"]


def experiment(*updates):
    return Experiment(load_settings("sms", "hallway", [*SMALL_RUN, *updates]), Logger(get_logger()))


@pytest.mark.parametrize("updates", [(), ("agent=rnn", "use_rnn=True", "hidden_dim=8")], ids=["feed-forward", "GRU"])
def test_a_stopped_run_goes_on_to_the_bit_after_the_ring_is_full(updates):
    first, second = experiment(*updates), experiment(*updates)
    for _ in range(4):
        first.advance()
    state = copy.deepcopy(first.state_dict(0))
    assert first.buffer.episodes_in_buffer == 20 and first.buffer.buffer_index == 12 and first.learner.n_updates == 3
    for _ in range(3):
        first.advance()
    expected = copy.deepcopy(first.state_dict(0))
    second.load_state_dict(state)
    for _ in range(3):
        second.advance()
    found = second.state_dict(0)
    for key in ("learner", "buffer", "episodes", "updates_owed", "random"):
        assert same(expected[key], found[key]), key
    logged = [each.logger.stats for each in (first, second)]
    for key in ("critic_loss", "off_policy_critic_loss", "actor_loss", "selector_loss"):
        assert logged[0][key][-3:] == logged[1][key], key


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return bool((a == b).all()) if hasattr(a, "all") else a == b


def test_an_update_is_one_step_on_any_episodes_and_one_on_the_latest_for_every_collection():
    made, taken = experiment(), []
    for name in ("train_off_policy", "train"):
        setattr(made.learner, name, lambda batch, t, n, name=name: taken.append((name, batch.batch_size, n)))
    for _ in range(3):
        made.advance()
    assert taken == [("train_off_policy", 8, 16), ("train", 6, 16), ("train_off_policy", 8, 24), ("train", 6, 24)]


def test_the_on_policy_step_sees_the_episodes_that_were_just_played():
    made, seen = experiment(), []
    made.learner.train_off_policy = lambda *_: None
    made.learner.train = lambda batch, *_: seen.append(batch["obs"].clone())
    for _ in range(3):
        played = made.advance()
    latest = played["obs"][-6:, : seen[-1].shape[1]]
    assert torch.equal(seen[-1], latest)
