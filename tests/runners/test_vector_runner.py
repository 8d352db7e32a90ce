"""What a run of the vector runner stores, counts, logs and saves."""

import fake_envs as fake
import numpy as np
import pytest
import torch
from fake_envs import LIMIT, A, N
from fake_run import make_args, make_runner, register, same

from epymarl_lmac.errors import CheckpointError, SettingsError, TaskError


@pytest.fixture(autouse=True)
def _fakes(monkeypatch):
    register(monkeypatch)


def played(batch, b, t):
    """Actions of one step, as an array (N,)."""
    return batch["actions"][b, t, :, 0].numpy()


def test_every_step_is_stored_at_its_place():
    runner, _ = make_runner("vector", make_args())
    runner.run()
    batch = runner.run()  # games 3, 4, 5
    for b, (game, length) in enumerate([(3, 1), (4, 2), (5, 5)]):
        for t in range(length + 1):
            np.testing.assert_array_equal(batch["obs"][b, t], fake.obs_of(game, t))
            np.testing.assert_array_equal(batch["state"][b, t], fake.state_of(game, t))
            np.testing.assert_array_equal(batch["avail_actions"][b, t], fake.avail_of(game, t))
            if t < length:
                assert batch["reward"][b, t].item() == fake.reward_of(game, t, played(batch, b, t))


def test_steps_after_an_episode_are_empty_and_not_filled():
    batch = make_runner("vector", make_args())[0].run()
    lengths = [2, 5, 3]
    assert batch["filled"].sum(1).squeeze(1).tolist() == [length + 1 for length in lengths]
    for b, length in enumerate(lengths):
        assert batch["filled"][b, : length + 1].all()
        for key in batch.scheme:
            assert not batch[key][b, length + 1 :].any(), key
        assert not batch["reward"][b, length:].any()


def test_terminated_is_set_where_the_task_ended_and_not_where_it_was_cut():
    batch = make_runner("vector", make_args())[0].run()
    expected = torch.zeros(3, LIMIT + 1, 1, dtype=torch.uint8)
    expected[0, 1] = expected[2, 2] = 1  # game 1 lasts the whole limit: cut
    assert torch.equal(batch["terminated"], expected)


def test_actions_of_the_last_step_are_stored_and_onehot_follows_actions():
    batch = make_runner("vector", make_args())[0].run()
    filled = batch["filled"][..., 0] == 1
    onehot = torch.nn.functional.one_hot(batch["actions"][..., 0], A).float()
    assert torch.equal(batch["actions_onehot"][filled], onehot[filled])
    assert (batch["actions_onehot"][filled].sum(-1) == 1).all()
    # the greedy choice at the last step is the scripted one, computed here from the observation alone
    q = torch.sin(torch.from_numpy(fake.obs_of(0, 2)).sum(-1, keepdim=True) * torch.arange(1, A + 1))
    q[torch.from_numpy(fake.avail_of(0, 2)) == 0] = -2
    assert batch["actions"][0, 2, :, 0].tolist() == q.argmax(-1).tolist()


def test_statistics_are_means_over_episodes():
    runner, log = make_runner("vector", make_args())
    batch = runner.run()
    returns = batch["reward"].sum((1, 2)).double()
    logged = log.last()
    assert runner.t_env == 2 + 5 + 3
    assert all(t == 10 for _, _, t in log.rows)
    assert logged["return_mean"] == pytest.approx(returns.mean().item(), rel=1e-6)
    assert logged["return_std"] == pytest.approx(returns.std(correction=0).item(), rel=1e-6)
    assert logged["ep_length_mean"] == pytest.approx(10 / 3)
    assert logged["won_mean"] == pytest.approx(1 / 3)
    assert logged["episode_limit_mean"] == pytest.approx(1 / 3)
    assert logged["epsilon"] == 0.0


def test_statistics_are_kept_until_the_log_interval_has_passed():
    runner, log = make_runner("vector", make_args(runner_log_interval=20))
    runner.run()
    log.rows.clear()
    runner.run()  # 18 steps: games 3, 4, 5 last 1 + 2 + 5
    assert runner.t_env == 18
    assert not log.rows
    runner.run()  # 24 steps: games 6, 7, 8 last 3 + 1 + 2; the last line was at step 10
    assert runner.t_env == 24
    assert not log.rows
    runner.run()  # 33 steps: games 9, 10, 11 last 5 + 3 + 1
    assert log.last()["ep_length_mean"] == pytest.approx((8 + 6 + 9) / 9)


def test_a_test_run_plays_exactly_the_episodes_asked_for_and_counts_no_steps():
    runner, log = make_runner("vector", make_args(test_nepisode=4))
    batch = runner.run(test_mode=True)
    assert batch.batch_size == 4
    assert runner.t_env == 0
    assert log.last()["test_ep_length_mean"] == pytest.approx((2 + 5 + 3 + 1) / 4)
    assert all(key.startswith("test_") for key, _, _ in log.rows)


def test_many_test_episodes_are_played_in_rounds(monkeypatch):
    args = make_args(test_nepisode=5)
    runner, log = make_runner("vector", args)
    monkeypatch.setattr(runner, "max_test_copies", 2)
    batch = runner.run(test_mode=True)  # games 0 1, 2 3, and 4 of the round 4 5
    assert batch.batch_size == 1
    assert batch["obs"][0, 0, 0, 0] == fake.obs_of(4, 0)[0, 0]
    assert log.last()["test_ep_length_mean"] == pytest.approx((2 + 5 + 3 + 1 + 2) / 5)


def test_testing_does_not_change_training():
    args = make_args(env_args={"lengths": [2, 5, 3, 1], "noise": True}, epsilon_start=0.6, epsilon_finish=0.2)
    plain, _ = make_runner("vector", args)
    tested, _ = make_runner("vector", args)
    for _ in range(3):
        tested.run(test_mode=True)
        assert same(plain.run(), tested.run())


def test_a_test_run_does_not_explore():
    args = make_args(epsilon_start=1.0, epsilon_finish=1.0)
    one, other = (make_runner("vector", a)[0] for a in (args, make_args(seed=8, epsilon_start=1.0)))
    assert torch.equal(one.run(test_mode=True)["actions"], other.run(test_mode=True)["actions"])
    assert not torch.equal(one.run()["actions"], other.run()["actions"])


@pytest.mark.parametrize("name", ["vector", "episode"])
def test_resumed_run_equals_uninterrupted_run(name):
    args = make_args(
        env_args={"lengths": [2, 5, 3, 1], "noise": True},
        batch_size_run=3 if name == "vector" else 1,
        epsilon_start=0.6,
        epsilon_finish=0.2,
        runner_log_interval=20,
    )
    runner, log = make_runner(name, args)
    for _ in range(3):
        runner.run()
    runner.run(test_mode=True)
    state = runner.state_dict()
    log.rows.clear()
    expected = [runner.run(test_mode=mode) for mode in (False, False, True, False, False, False)]

    resumed, resumed_log = make_runner(name, args)
    resumed.load_state_dict(state)
    for mode, batch in zip((False, False, True, False, False, False), expected, strict=True):
        assert same(resumed.run(test_mode=mode), batch)
    assert resumed_log.rows == log.rows
    assert log.rows


def test_same_seed_same_episodes_and_another_seed_others():
    env_args = {"lengths": [2, 5, 3, 1], "noise": True}
    first, again, other = (
        make_runner("vector", make_args(env_args=env_args, seed=seed))[0].run() for seed in (7, 7, 8)
    )
    assert same(first, again)
    assert not torch.equal(first["state"], other["state"])


def test_timers_count_environment_and_controller():
    runner, _ = make_runner("vector", make_args())
    runner.run()
    assert runner.timers["env"] > 0
    assert runner.timers["inference"] > 0
    assert runner.timers["test"] == 0
    before = dict(runner.timers)
    runner.run(test_mode=True)
    assert runner.timers["test"] > 0
    assert runner.timers["env"] == before["env"]


def test_rules_and_sizes_come_from_the_environment():
    runner, _ = make_runner("vector", make_args())
    assert runner.rules == "fake 1"
    assert runner.get_env_info() == {
        "state_shape": fake.S,
        "obs_shape": fake.O,
        "n_actions": A,
        "n_agents": N,
        "episode_limit": LIMIT,
    }


def test_an_episode_beyond_the_limit_is_an_error():
    runner, _ = make_runner("vector", make_args(env_args={"lengths": [2, 9, 3]}))
    with pytest.raises(TaskError, match="1 of 3 copies of FakeBatched did not end within its episode_limit=5"):
        runner.run()


def test_actions_of_a_wrong_shape_are_an_error():
    runner, _ = make_runner("vector", make_args())
    runner.mac.select_actions = lambda *a, **k: torch.zeros(3, N + 1, dtype=torch.long)
    with pytest.raises(ValueError, match=r"actions of shape \(3, 4\); expected \(3, 3\)"):
        runner.run()


@pytest.mark.parametrize("key", ["batch_size_run", "test_nepisode"])
def test_impossible_numbers_of_episodes_are_refused(key):
    with pytest.raises(SettingsError, match=f"{key}=0") as error:
        make_runner("vector", make_args(**{key: 0}))
    assert error.value.key == key


def test_an_environment_not_written_for_batches_is_refused():
    with pytest.raises(SettingsError, match=r"runner=vector needs.*'engine'.*runner=parallel"):
        make_runner("vector", make_args(env="engine", env_args={}))


def test_individual_rewards_are_refused():
    with pytest.raises(SettingsError, match="common_reward=False") as error:
        make_runner("vector", make_args(common_reward=False))
    assert error.value.key == "common_reward"


def test_a_run_is_not_resumed_under_other_rules(monkeypatch):
    runner, _ = make_runner("vector", make_args())
    state = runner.state_dict()
    monkeypatch.setattr(fake.FakeBatched, "rules", "fake 2")
    with pytest.raises(CheckpointError, match=r"played by 'fake 1'; here env 'fake' is 'fake 2'"):
        make_runner("vector", make_args())[0].load_state_dict(state)


def test_rendering_shows_test_steps_only():
    args = make_args(render=True, test_nepisode=1)
    runner, log = make_runner("vector", args)
    runner.run()
    assert not log.shown
    runner._test_env = runner._make_env("test", 1)
    runner._test_env.render = lambda copy, mode: f"t={runner._test_env.t_B[copy]}"
    runner.run(test_mode=True)
    assert [text for _, text in log.shown] == ["t=1", "t=2"]
