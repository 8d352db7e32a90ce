"""What the battle bundles tell, against the units of battles that are played: ways, places, what the dead say."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from shipped import SC2_MAPS, TASKS, load

from epymarl_lmac.paths import make_host_importable, protocols_root
from epymarl_lmac.settings.load import merge
from protocol_gen.answers import step_of_design

make_host_importable()
# Of each map: how many numbers tell of a teammate and an enemy, and which of them are the flag "known" and the way.
NEAREST_WAY = {"1o_10b_vs_1r": (6, 1, 2), "2o_20b_vs_2r": (4, 0, 1), "5z_vs_1ul": (8, 1, 2), "3m": (6, 1, 2)}


def battles(name, num_envs=4, seed=2):
    from envs.sc2 import Sc2Env

    env_args = merge("lmac_qmix", "sc2", [*TASKS[f"sc2/{name}"][1], "env_args.engine=embedded"])["env_args"]
    return Sc2Env(num_envs, seed, **env_args)


def history(env, steps, length, seed=0, actions=None):
    """Plays random (or the given) actions; returns the last ``length`` x (B, L, N, D), -1 before the start."""
    rng, n = np.random.default_rng(seed), env.n_agents
    numbers = np.broadcast_to(np.eye(n, dtype=np.float32), (env.num_envs, n, n))
    last = np.zeros((env.num_envs, n, env.n_actions), np.float32)
    rows = []
    for t in range(steps + 1):
        rows.append(np.concatenate([env.obs_BNO, last, numbers], axis=-1))
        if t < steps:
            chosen = (rng.random(env.avail_BNA.shape) * env.avail_BNA).argmax(2) if actions is None else actions
            last = np.eye(env.n_actions, dtype=np.float32)[chosen]
            env.step(chosen)
    before = np.full_like(rows[0], -1.0)
    before[..., -n:] = numbers
    return torch.from_numpy(np.stack(([before] * length + rows)[-length:], axis=1))


@functools.cache
def protocol(name, k):
    """Returns one step of a map's design: of its bundle, or the answer that was left out of it."""
    answers = protocols_root().parent / "docs" / "protocols" / "sc2" / name / "answers"
    return step_of_design(load(f"sc2/{name}")[0], k, answers)


def place_of(env):
    return np.stack([env._table.x, env._table.y], axis=-1)


@pytest.mark.parametrize("name", list(NEAREST_WAY))
def test_a_way_through_a_teammate_is_the_receivers_own_way_to_the_enemy(name):
    env = battles(name, 8)
    x = history(env, 6, 1)[:, 0]
    width, known, way = NEAREST_WAY[name]
    n, m = env.n_agents, env.settings.n_enemies
    said = protocol(name, 0).message(x).numpy()[..., : (n - 1) * m * width]
    told = said.reshape(8, n, n - 1, m, width)
    is_known = told[..., known] > 0.5
    to_enemy = place_of(env)[:, None, n:] - place_of(env)[:, :n, None]  # (B, N, M, 2)
    expected = np.broadcast_to(to_enemy[:, :, None], (*told.shape[:-1], 2))
    assert is_known.sum() > 5
    assert np.allclose((told[..., way : way + 2] * 18)[is_known], expected[is_known], atol=1e-3)
    assert (told[..., way : way + 2][~is_known] == 0).all()


def test_marines_that_hear_of_one_target_are_told_the_same_one():
    env = battles("3m", 1)
    rows = env.read_battle(0)
    rows["x"][:], rows["y"][:] = (10.0, 10.0, 10.0, 14.0, 14.0, 17.0), (15.0, 16.0, 17.0, 15.0, 17.0, 16.0)
    rows["health"][2], rows["health"][4] = 20.0, 10.0  # enemy 1 is weak, enemy 2 out of reach
    env.write_battle(0, {name: rows[name] for name in ("x", "y", "health")})
    said = protocol("3m", 0).message(history(env, 0, 1)[:, 0]).numpy()[0]
    assert (said[:, -3:] == (0, 1, 0)).all()
    assert np.allclose(said[:, -5:-3] * 45, [(45, 20), (20, 45), (45, 45)])  # of the next two, in a circle
    rows["x"][3:] = 30.0
    env.write_battle(0, {"x": rows["x"]})
    assert (protocol("3m", 0).message(history(env, 0, 1)[:, 0])[0, :, -3:] == 0).all()


def test_bane_vs_hm_follows_the_teammates_through_the_t():
    env = battles("bane_vs_hM", 32)
    said = protocol("bane_vs_hM", 2).message(history(env, 12, 32)).numpy()
    place = said[:, 0, 6:8] * 32 + 16, said[:, 0, 15:17] * 32 + 16  # of agents 1 and 2, as agent 0 hears them
    half = said[:, 0, 8:10] * 16, said[:, 0, 17:19] * 16
    both_live = env.alive_BN[:, :1] & env.alive_BN
    for mate in (1, 2):
        error = np.abs(place[mate - 1] - place_of(env)[:, mate])[both_live[:, mate]]
        assert len(error) > 16
        assert (error <= half[mate - 1][both_live[:, mate]] + 1.5).mean() > 0.9  # a move and what walls take from it
    assert np.abs(place[0][:, 0] - place_of(env)[:, 1, 0])[both_live[:, 1]].mean() < 0.6  # x of the stem
    assert np.abs(place[1][:, 1] - place_of(env)[:, 2, 1])[both_live[:, 2]].mean() < 0.6  # y of an arm


def test_bane_vs_hm_knows_its_place_once_it_saw_the_hydralisk():
    env = battles("bane_vs_hM", 1)
    rows = env.read_battle(0)
    rows["x"][:3], rows["y"][:3] = (13.4, 16.0, 30.0), (31.0, 10.0, 31.0)
    rows["cooldown"][3] = 99  # the Hydralisk lets it live
    env.write_battle(0, {name: rows[name] for name in ("x", "y", "cooldown")})
    past = history(env, 1, 32, actions=np.array([[4, 1, 1]]))  # 0 goes east
    said = protocol("bane_vs_hM", 2).message(past).numpy()[0, 1]
    first_mate, second_mate = said[6:15], said[15:24]  # agents 2 and 0
    assert np.allclose(second_mate[:2] * 32 + 16, place_of(env)[0, 0], atol=0.05) and (second_mate[2:4] == 0).all()
    assert second_mate[7] == 1 and second_mate[5] == 0  # within reach, seen in this step
    assert first_mate[5] == 1 and first_mate[2] > 0.1  # never seen, x uncertain
    assert second_mate[8] == pytest.approx((1.4 - 21) / 32, abs=0.25)  # a much shorter way than the receiver's


def test_zealots_beside_a_border_know_it():
    env = battles("5z_vs_1ul", 1)
    rows = env.read_battle(0)
    rows["x"][:5], rows["y"][:5] = (9.0, 3.0, 16.0, 20.0, 31.6), (16.0, 24.6, 7.4, 16.0, 16.0)  # none sees another
    env.write_battle(0, {"x": rows["x"], "y": rows["y"]})
    said = protocol("5z_vs_1ul", 2).message(history(env, 0, 16)).numpy()[0, 3].reshape(5, 9)  # itself, then 4, 0, 1, 2
    places, half = said[:, :2] * 32 + 16, said[:, 2:4] * 16
    assert places[1, 0] >= 31 and half[1, 0] < 0.5
    assert places[3, 1] >= 24 and half[3, 1] < 0.5
    assert places[4, 1] <= 8 and half[4, 1] < 0.5
    assert (half[2] > 7).all()  # anywhere inside


def test_a_baneling_that_saw_a_roach_remembers_the_way():
    bundle, _ = load("sc2/1o_10b_vs_1r")
    env = battles("1o_10b_vs_1r", 1)
    rows = env.read_battle(0)
    rows["x"][:], rows["y"][:] = 30.0, np.linspace(1, 31, 12)
    rows["x"][0], rows["y"][0] = 3.0, 22.0  # the only one near
    rows["x"][11], rows["y"][11] = 3.5, 28.86
    env.write_battle(0, {"x": rows["x"], "y": rows["y"]})
    now = history(env, 0, bundle.history)
    past = now.clone()
    past[:, -2] = now[:, -1]  # the same a step before, then the Roach is out of sight
    past[:, -1, 0, 4:12] = 0
    said = protocol("1o_10b_vs_1r", 2).message(past).numpy()[0, 10, -8 * 10 : -8 * 9]  # the Overlord hears of agent 0
    assert np.allclose(said[3:5] * 18, (0.5, 6.86), atol=1e-3)
    assert said[5] == pytest.approx(1 / bundle.history)  # one step ago
    assert np.allclose(said[:2] * 32 + 16, (3.0, 22.0), atol=0.3)  # other corners hardly fit number 0
    assert np.allclose(said[6:8] * 32 + 16, (3.5, 28.86), atol=0.3)


@pytest.mark.parametrize(("name", "width"), [("1o_10b_vs_1r", 8), ("2o_20b_vs_2r", 9)])
def test_a_chain_of_banelings_that_see_each_other_knows_its_places_and_the_way(name, width):
    bundle, _ = load(f"sc2/{name}")
    env = battles(name, 1)
    n, m = env.n_agents, env.settings.n_enemies
    rows = env.read_battle(0)
    rows["x"][:], rows["y"][:] = 30.0, np.linspace(1, 31, n + m)
    rows["x"][:3], rows["y"][:3] = 3.0, (8.0, 16.0, 24.0)  # each sees the next
    rows["x"][n], rows["y"][n] = 3.5, 2.0  # the first Roach, which only agent 0 sees
    env.write_battle(0, {"x": rows["x"], "y": rows["y"]})
    said = protocol(name, 2).message(history(env, 0, bundle.history)).numpy()[0]
    of_itself = said[2, :width]  # agent 2
    assert np.allclose(of_itself[:2] * 32 + 16, (3.0, 24.0), atol=0.1)
    assert np.allclose(of_itself[3:5] * 18, (0.5, -22.0), atol=1e-3)
    assert of_itself[2] > 0.99  # sure of the corner: the others would put someone outside or far from its number
    far = said[n - 1, :width]  # in no group that saw the first Roach
    assert far[2] == 0 and (far[3:5] == 0).all()


def test_a_zealot_that_sees_one_in_a_corner_knows_its_place():
    env = battles("5z_vs_1ul", 1)
    rows = env.read_battle(0)
    rows["x"][:5], rows["y"][:5] = (9.0, 8.0, 8.0, 26.0, 31.6), (16.0, 16.0, 12.0, 20.0, 24.6)
    env.write_battle(0, {"x": rows["x"], "y": rows["y"]})
    said = protocol("5z_vs_1ul", 2).message(history(env, 0, 16)).numpy()[0, 3, :9]
    assert np.allclose(said[:2] * 32 + 16, (26.0, 20.0), atol=1.5)
    assert (said[2:4] * 16 <= 1.5).all()


@pytest.mark.parametrize("name", SC2_MAPS)
def test_the_dead_tell_nothing_in_the_last_protocol(name):
    bundle, _ = load(f"sc2/{name}")
    env = battles(name, 1)
    alive = env.read_battle(0)["alive"]
    alive[0] = False
    env.write_battle(0, {"alive": alive, "health": env.read_battle(0)["health"] * alive})
    length = bundle.manifest["history"]
    said = protocol(name, 2).message(history(env, 0, length)).numpy()[0]
    width = {"bane_vs_hM": 9, "1o_10b_vs_1r": 8}.get(name, 9)
    of_agent_0 = said[env.n_agents - 1, -width * (env.n_agents - 1) :][:width]
    assert (of_agent_0 == 0).all()
    of_agent_2 = said[1, -width * (env.n_agents - 1) :][:width]
    assert of_agent_2.any()
