"""A trained run as the opponent: what it sees, what its orders do, and that battles against it repeat and resume."""

from functools import partial

import numpy as np
import pytest
from rivals import STEP, env_args, play, record_run

from envs import REGISTRY
from envs.battle.observe import Observer
from envs.battle.other_side import OtherSide
from envs.battle.simulator import MOVE
from envs.sc2 import Sc2Env, Sc2V2Env
from epymarl_lmac.checkpoint import load_checkpoint, save_checkpoint
from epymarl_lmac.tasks import task_id
from epymarl_lmac.tasks.sc2_settings import Sc2Settings
from runners.worker_pool import WorkerPool

SIMPLE = ("qmix", "commnet", "tarmac", "maic", "ndq", "masia", "sms", "hammer")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Makes recorded runs, each once."""
    made = {}

    def run(alg="qmix", map_name="3m", env="sc2", seed=1, **updates):
        key = (alg, map_name, env, seed, *sorted(updates.items()))
        if key not in made:
            made[key] = record_run(tmp_path_factory.mktemp("run") / "run", alg, map_name, env, seed, **updates)
        return str(made[key])

    return run


def other_side(env):
    side = OtherSide(env.settings, env._table, 0)
    side.begin(np.ones(env.num_envs, bool))
    return side


def stand_alike(env):
    """Puts every enemy where an agent of its type stands once the map is turned by half a circle."""
    rows, n = env.read_battle(0), env.n_agents
    kind = rows["unit_type"].__getitem__
    agents, enemies = sorted(range(n), key=kind), sorted(range(n, len(rows["x"])), key=kind)
    rows["x"][enemies], rows["y"][enemies] = 32 - rows["x"][agents], 32 - rows["y"][agents]
    env.write_battle(0, {"x": rows["x"], "y": rows["y"]})


@pytest.mark.parametrize("map_name", ["3m", "8m", "2s3z", "3s5z", "MMM"])
def test_the_other_side_of_teams_that_stand_alike_sees_what_the_agents_see(map_name):
    env = Sc2Env(1, 3, **env_args(map_name))
    stand_alike(env)
    observer = other_side(env).observer
    assert np.allclose(observer.obs_BNO, env.obs_BNO, atol=1e-6) and env.obs_BNO.any()
    assert np.allclose(observer.state_BS, env.state_BS, atol=1e-6)
    assert np.array_equal(observer.avail_BNA, env.avail_BNA)


def test_the_other_side_is_the_agents_side_of_the_turned_units():
    env = Sc2Env(1, 3, **env_args("2s3z"))
    play(env, 15)
    rows, n = env.read_battle(0), env.n_agents
    side = other_side(env)
    turned = Observer(env.settings, env._table, 0)
    order = side._slot_BU[0]
    swapped = {name: column[order] for name, column in rows.items() if name != "owner"}
    swapped |= {"x": 32 - swapped["x"], "y": 32 - swapped["y"]}
    env.write_battle(0, swapped)
    turned.begin(np.ones(1, bool))
    assert sorted(order[:n]) == list(range(n, 2 * n))
    assert np.array_equal(side.observer.obs_BNO, turned.obs_BNO) and turned.obs_BNO.any()
    assert np.array_equal(side.observer.state_BS, turned.state_BS)


def test_north_of_the_other_side_is_the_agents_south_and_a_target_is_the_unit_it_saw():
    env = Sc2Env(2, 0, **env_args("MMM"))
    side = other_side(env)
    live, n = np.ones(2, bool), env.n_agents
    north = side.orders(np.full((2, n), 2), live)
    at = np.stack([env._table.x[:, n:], env._table.y[:, n:]], axis=-1)
    assert (north.kind_BN == MOVE).all()
    assert np.allclose(north.point_BN2 - at, [0, -2], atol=1e-5)
    attack = side.orders(np.full((2, n), 6), live)  # unit 0 of the other side's list
    medivac = int(np.flatnonzero(attack.target_BN[0] >= n)[0])  # which heals its own unit 0
    attackers = np.delete(attack.target_BN[0], medivac)
    assert len(set(attackers.tolist())) == 1 and attackers[0] < n
    wanted = env._table.unit_type[0, n:][0]  # its enemies have the order of creation, as ours have
    assert env._table.unit_type[0, attackers[0]] == wanted


@pytest.mark.parametrize("alg", SIMPLE)
def test_battles_against_a_run_repeat_and_resume_from_a_file_in_the_middle(runs, alg, tmp_path):
    args = env_args(opponent=runs(alg))
    whole = play(Sc2Env(3, 7, **args), 14)
    env = Sc2Env(3, 7, **args)
    trace = list(play(env, 6))
    other = Sc2Env(3, 8, **args)
    play(other, 3)
    save_checkpoint(tmp_path, {"env": env.state_dict()}, 6)
    other.load_state_dict(load_checkpoint(tmp_path)["env"])
    rng = np.random.default_rng(0)
    for _ in range(6):
        rng.random(env.avail_BNA.shape)
    for _ in range(8):
        other.step((rng.random(other.avail_BNA.shape) * other.avail_BNA).argmax(2))
        t = other._table
        trace.append(np.stack([t.x, t.y, t.health], axis=-1))
    assert np.array_equal(whole, np.stack(trace))


def test_other_networks_play_another_battle(runs):
    one, two = (play(Sc2Env(2, 7, **env_args(opponent=runs(seed=seed))), 10) for seed in (1, 2))
    assert not np.array_equal(one, two)


def test_a_battle_that_starts_anew_changes_nothing_in_the_others(runs):
    args = env_args(opponent=runs("commnet"))
    stops = np.ones((2, 3), np.int64)
    plain, mixed = Sc2Env(2, 7, **args), Sc2Env(2, 7, **args)
    for t in range(8):
        if t == 3:
            mixed.reset(np.array([False, True]))
        for env in (plain, mixed):
            env.step(np.where(env.alive_BN, stops, 0))
    first, second = (env.read_battle(0) for env in (plain, mixed))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_what_a_run_remembers_ends_with_the_episode(runs):
    args = env_args(opponent=runs("commnet"))
    env = Sc2Env(2, 7, **args)
    play(env, 5)
    env.reset()
    fresh = Sc2Env(2, 7, **args)
    fresh.load_state_dict(env.state_dict())
    assert np.array_equal(play(env, 8), play(fresh, 8))


def test_ended_battles_leave_nothing_to_save(runs):
    env = Sc2Env(1, 7, **env_args(opponent=runs()))
    for _ in range(60):
        over = env.step(np.where(env.alive_BN, 1, 0)).terminated_B
        if over.any():
            break
    assert over.all()
    assert not [name for name in env.state_dict() if name.startswith("rival.team.") and not name.endswith("n_begun")]


def test_units_of_a_run_do_nothing_by_themselves(runs):
    """Networks that always stop: neither advance nor answer fire, as the agents' units."""
    env = Sc2Env(1, 7, **env_args(opponent=runs()))
    env._rival.orders = lambda live_B: env._rival._side.orders(np.ones((1, 3), np.int64), live_B)
    before = env.read_battle(0)
    for _ in range(20):  # the agents pass through the enemies on their way east
        env.step(np.where(env.alive_BN, np.where(env.avail_BNA[:, :, 4] > 0, 4, 1), 0))
    after = env.read_battle(0)
    assert np.array_equal(before["health"], after["health"])
    assert (after["x"][:3] > after["x"][3:].max()).all()


def test_teams_of_smacv2_play_against_a_run(runs):
    env = Sc2V2Env(3, 5, **env_args("terran_5_vs_5", "sc2v2", opponent=runs(map_name="terran_5_vs_5", env="sc2v2")))
    start = env.read_battle(0)
    play(env, 12)
    assert not np.array_equal(start["x"][5:], env.read_battle(0)["x"][5:])


def test_record_and_task_tell_run_and_step(runs):
    args = env_args(opponent=runs(seed=2))
    rules = Sc2Env(1, 1, **args).rules
    assert "opponent run" in rules and "id 000000000002" in rules and f"step {STEP}" in rules
    assert task_id("sc2", args) == f"3m-opponent_qmix-000000000002-{STEP}"
    one_file = env_args(opponent=f"{runs(seed=2)}/networks-{STEP}.pt")
    assert Sc2Env(1, 1, **one_file).rules == rules
    assert Sc2Env(1, 1, **env_args(opponent=runs(seed=1))).rules != rules


def test_a_mirrored_run_can_lead_the_other_team_of_an_uneven_map(runs, tmp_path):
    """A run of five against six leads the five of six against five."""
    five = (
        "map_type: marines\nlimit: 60\nallies: [{type: Marine, count: %d, at: [9, 16]}]\n"
        "enemies: [{type: Marine, count: %d, at: [23, 16]}]\nterrain: flat\nopponent: idle\n"
    )
    there, here = tmp_path / "5m.yaml", tmp_path / "6m.yaml"
    there.write_text(five % (5, 6))
    here.write_text(five % (6, 5))
    env = Sc2Env(1, 0, **env_args(here, opponent=record_run(tmp_path / "run", map_name=there)))
    assert env._rival._side.observer.obs_BNO.shape[1] == 5
    play(env, 5)


def test_a_process_of_its_own_plays_the_same_battle_against_a_run(runs):
    args = env_args(opponent=runs("commnet"))
    pool = WorkerPool("sc2", [partial(REGISTRY["sc2"], **args, seed=7)], [7])
    try:
        env = Sc2Env(1, 7, **args)
        pool.reset()
        env.reset()
        for _ in range(5):
            actions = env.avail_BNA.argmax(2)
            pool.step(actions)
            env.step(actions)
        assert pool.rules == env.rules
        assert np.array_equal(pool.state_BS, env.state_BS)
    finally:
        pool.close()


def test_settings_of_the_reward_may_differ(runs):
    assert Sc2Env(1, 0, **env_args(opponent=runs(reward_sparse=True)))


def test_settings_know_whether_a_run_plays(runs):
    assert Sc2Settings.from_env_args("sc2", env_args(opponent=runs())).plays_a_run
    assert not Sc2Settings.from_env_args("sc2", env_args(opponent="kite")).plays_a_run
