"""The learner core: the loss by hand, masking, targets, gradients, state."""

import copy

import pytest
import torch
from learner_fixtures import (
    GROUPS,
    N,
    Recorder,
    T,
    batch_of,
    full_scheme,
    losses_with_and_without_padding_scribbled_on,
    settings,
)

from controllers import REGISTRY as mac_REGISTRY
from epymarl_lmac.errors import SettingsError
from learners import REGISTRY

LMAC = {"comm": "lmac"}
KINDS = {
    "iql": {"mixer": None},
    "vdn": {"mixer": "vdn"},
    "qmix": {},
    "qmix_state": {"add_state": True},
    "lmac_qmix": LMAC,
    "lmac_defaults": {**LMAC, "cycle_form": "stop_latent", "recon_form": "variance", "comm_carry": "gru"},
}


def make(**changes):
    torch.manual_seed(0)
    args = settings(**changes)
    mac = mac_REGISTRY[args.mac](full_scheme(), GROUPS, args)
    return REGISTRY[args.learner](mac, full_scheme(), Recorder(), args)


def zero_grad(learner):
    for optimiser, _ in learner.optimisers.values():
        optimiser.zero_grad()


def test_vdn_loss_of_two_steps_by_hand():
    learner = make(mixer="vdn", double_q=False)
    batch = batch_of([2], steps=3)
    with torch.no_grad():
        q = learner.mac.unroll(batch).q_PNA
        q_target = learner.target_mac.unroll(batch).q_PNA
    actions, reward = batch["actions"][0, :, :, 0], batch["reward"][0, :, 0]
    errors = []
    for t in range(2):
        chosen = sum(q[t, i, actions[t, i]] for i in range(N))
        bootstrap = 0.0 if t == 1 else sum(q_target[t + 1, i].max() for i in range(N))
        errors.append(chosen - (reward[t] + 0.9 * bootstrap))
    expected = sum(e**2 for e in errors) / 2
    torch.testing.assert_close(learner.loss(batch)[0], expected)


def test_double_q_takes_the_online_networks_action():
    learner = make(mixer="vdn")
    batch = batch_of([2], steps=3)
    with torch.no_grad():
        for p in learner.target_mac.parameters():
            p.mul_(-1.0)  # the target network prefers other actions
        q = learner.mac.unroll(batch).q_PNA
        q_target = learner.target_mac.unroll(batch).q_PNA
    actions, reward = batch["actions"][0, :, :, 0], batch["reward"][0, :, 0]
    bootstrap = sum(q_target[1, i, q[1, i].argmax()] for i in range(N))
    errors = [
        sum(q[0, i, actions[0, i]] for i in range(N)) - (reward[0] + 0.9 * bootstrap),
        sum(q[1, i, actions[1, i]] for i in range(N)) - reward[1],
    ]
    torch.testing.assert_close(learner.loss(batch)[0], sum(e**2 for e in errors) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_padded_steps_do_not_change_the_loss(kind):
    torch.testing.assert_close(*losses_with_and_without_padding_scribbled_on(make(**KINDS[kind])))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_every_parameter_and_no_target(kind):
    learner = make(**KINDS[kind])
    zero_grad(learner)
    learner.loss(batch_of([T - 1] * 8))[0].backward()
    assert all(p.grad.abs().sum() > 0 for p in learner.params)
    targets = list(learner.target_mac.parameters())
    if learner.target_mixer is not None:
        targets += list(learner.target_mixer.parameters())
    assert all(p.grad is None for p in targets)


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_updates_fit_a_batch(kind):
    learner = make(**KINDS[kind], target_update_interval_or_tau=10_000)
    batch = batch_of([T - 1] * 4)
    for step in range(400):
        learner.train(batch, step, step)
    losses = [value for _, value in learner.logger.stats["loss"]]
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_restored_learner_continues_to_the_bit(kind):
    changes = {**KINDS[kind], "standardise_rewards": True, "target_update_interval_or_tau": 3}
    first, second = make(**changes), make(**changes)
    batches = [batch_of([T - 1, 3], seed=i) for i in range(8)]
    for batch in batches[:4]:
        first.train(batch, 0, 0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for batch in batches[4:]:
        for learner in (first, second):
            torch.manual_seed(9)  # dropout
            learner.train(batch, 0, 0)
    for a, b in zip(first.params, second.params, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(first.target_mac.parameters(), second.target_mac.parameters(), strict=True):
        assert torch.equal(a, b)


def test_targets_are_copied_every_so_many_updates():
    learner = make(target_update_interval_or_tau=3)
    batch = batch_of([T - 1] * 2)
    before = [p.clone() for p in learner.target_mac.parameters()]
    for update in range(1, 4):
        learner.train(batch, 0, 0)
        same = all(torch.equal(a, b) for a, b in zip(before, learner.target_mac.parameters(), strict=True))
        assert same == (update < 3)
    for a, b in zip(learner.mac.parameters(), learner.target_mac.parameters(), strict=True):
        assert torch.equal(a, b)


def test_soft_targets_move_by_tau():
    learner = make(target_update_interval_or_tau=0.25)
    before = [p.clone() for p in learner.target_mixer.parameters()]
    learner.train(batch_of([T - 1] * 2), 0, 0)
    for old, online, target in zip(before, learner.mixer.parameters(), learner.target_mixer.parameters(), strict=True):
        torch.testing.assert_close(target, old + 0.25 * (online - old))


def test_rewards_are_standardised_over_valid_steps_only():
    learner = make(standardise_rewards=True)
    batch = batch_of([2, T - 1])
    valid = torch.cat([batch["reward"][0, :2, 0], batch["reward"][1, : T - 1, 0]])
    batch.data.transition_data["reward"][0, 2:] = 1e6  # padding
    learner.loss(batch)
    torch.testing.assert_close(learner.rew_ms.mean.float(), valid.mean().view(1), rtol=1e-3, atol=1e-3)


def test_the_first_reward_after_many_zeros_is_worth_no_more_than_the_floor_allows():
    n_zeros, losses = 300, {}
    for floor in (0.0, 0.5):
        learner = make(mixer="vdn", standardise_rewards=True, reward_std_floor=floor)
        batch = batch_of([T - 1] * 2)
        batch.data.transition_data["reward"].zero_()
        for _ in range(n_zeros):
            learner.loss(batch)
        batch.data.transition_data["reward"][0, 0] = 1.0
        losses[floor] = learner.loss(batch)[0].item()
    # One of n values in n_zeros + 1 batches is 1. Without a floor that is sqrt(n (n_zeros + 1)) deviations.
    assert losses[0.0] == pytest.approx(n_zeros + 1, rel=0.2)
    assert losses[0.5] < (1 / 0.5) ** 2


def test_lmac_weights_scale_their_losses():
    off = {"recon_lambda": 0.0, "meta_lambda": 0.0, "consistency_lambda": 0.0}
    batch = batch_of([T - 1] * 2)
    td = make(**LMAC, **off).loss(batch)[0]
    for key, name in [
        ("recon_lambda", "recon_loss"),
        ("meta_lambda", "awareness_loss"),
        ("consistency_lambda", "cycle_loss"),
    ]:
        total, stats = make(**LMAC, **{**off, key: 2.0}).loss(batch)
        torch.testing.assert_close(total - td, 2.0 * stats[name])


@pytest.mark.parametrize(("form", "pulls"), [("published", True), ("stop_latent", False)])
def test_cycle_target_passes_gradient_only_in_the_published_form(form, pulls):
    learner = make(**{**LMAC, "cycle_form": form, "recon_lambda": 0.0, "meta_lambda": 0.0})
    with torch.no_grad():  # the cycle encoder answers a constant, so only the target's side can pull on z
        learner.mac.comm.cycle[-1].weight.zero_()
        learner.mac.comm.cycle[-1].bias.fill_(3.0)
    zero_grad(learner)
    learner.loss(batch_of([T - 1] * 2))[0].backward()
    assert (learner.mac.comm.value.weight.grad.abs().sum() > 0) == pulls


def test_variance_form_is_the_squared_error_in_units_of_the_states_variance():
    batch = batch_of([T - 1] * 4)
    published = make(**LMAC).loss(batch)[1]
    weighted = make(**LMAC, recon_form="variance").loss(batch)[1]
    torch.testing.assert_close(weighted["recon_loss"], 1 - weighted["recon_r2"])
    assert weighted["recon_r2"] == published["recon_r2"]


@pytest.mark.parametrize("key", ["recon_form", "cycle_form"])
def test_an_unknown_form_is_named(key):
    with pytest.raises(SettingsError, match=f"{key}=other must be one of"):
        make(**LMAC, **{key: "other"})


def test_lmac_reports_the_r2_of_its_reconstruction():
    learner = make(**LMAC)
    _, stats = learner.loss(batch_of([T - 1] * 2))
    assert stats["recon_r2"] < 0.5  # untrained
    assert 0 <= stats["recovery_rate"] <= 1


def test_lmacs_encoder_learns_with_its_own_rate_where_one_is_set():
    shared, apart = make(**LMAC, lr=0.01), make(**LMAC, lr=0.01, encoder_lr=0.03)
    assert "encoder" not in shared.optimisers
    optimiser, clip = apart.optimisers["encoder"]
    assert optimiser.choice.lr == 0.03 and clip == apart.args.grad_norm_clip
    n_parameters = sum(p.numel() for p in apart.mac.comm.parameters())
    assert optimiser.flat.numel() == n_parameters
    both = apart.optimisers["main"][0].flat.numel() + n_parameters
    assert shared.optimisers["main"][0].flat.numel() == both
