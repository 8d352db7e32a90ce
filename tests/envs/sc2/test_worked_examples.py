"""The worked examples of SMAC's interface: values that the original code produced on these units."""

from __future__ import annotations

import numpy as np
import pytest
from sc2_states import env_args

from envs.battle.units import UNIT_INDEX
from envs.sc2 import Sc2Env

pytestmark = pytest.mark.usefixtures("still_battles")


def _rows(names: list[str], xy: list[tuple[float, float]], health: list[float], **columns: list[float]) -> dict:
    most = {"Marine": 45, "Baneling": 30, "Hydralisk": 80, "Medivac": 150}
    zeros = np.zeros(len(names), np.float32)
    return {
        "unit_type": np.array([UNIT_INDEX[name] for name in names], np.int16),
        "x": np.array([x for x, _ in xy], np.float32),
        "y": np.array([y for _, y in xy], np.float32),
        "health": np.array(health, np.float32),
        "health_max": np.array([most[name] for name in names], np.float32),
        **{key: zeros for key in ("shield", "shield_max", "energy", "cooldown")},
        "alive": np.ones(len(names), bool),
        **{key: np.array(value, np.float32) for key, value in columns.items()},
    }


def test_3m_in_the_flavour_smac():
    env = Sc2Env(1, 0, **env_args("sc2", map_name="3m", flavour="smac"))
    xy = [(8, 16), (9, 15), (9, 16.5), (14, 16), (17, 16), (23, 16)]
    rows = _rows(["Marine"] * 6, xy, [45, 45, 45, 30, 45, 45], cooldown=[6, 0, 0, 0, 0, 0])
    env.write_battle(0, rows)
    seen = [1, 1, 1, 1, 1, 0.666667, 0.666667, 0, 0.666667, *[0] * 10]
    seen += [1, 0.157135, 0.111111, -0.111111, 1, 1, 0.124226, 0.111111, 0.055556, 1, 1]
    np.testing.assert_allclose(env.obs_BNO[0, 0], seen, atol=1e-6)
    assert env.avail_BNA[0, 0].tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert env.obs_BNO[0, 1, 10] > 0 and env.avail_BNA[0, 1, 7] == 0  # enemy 1: visible, not attackable
    state = [1, 0.4, -0.25, 0, 1, 0, -0.21875, -0.03125, 1, 0, -0.21875, 0.015625]
    state += [0.666667, -0.0625, 0, 1, 0.03125, 0, 1, 0.21875, 0]
    np.testing.assert_allclose(env.state_BS[0, :21], state, atol=1e-6)
    assert env.state_BS.shape == (1, 48) and not env.state_BS[0, 21:].any()


def test_bane_vs_hm_as_lmac_plays_it():
    env = Sc2Env(1, 0, **env_args("sc2", map_name="bane_vs_hM"))
    xy = [(10, 31), (16, 29), (20, 31), (16, 30.5), (16, 31)]
    names = ["Baneling"] * 3 + ["Hydralisk", "Medivac"]
    env.write_battle(0, _rows(names, xy, [30, 30, 30, 45, 150], cooldown=[0, 5, 0, 0, 0]))
    np.testing.assert_array_equal(env.obs_BNO[0, 1], [1, 1, 1, 1, 1, 0.75, 0, 0.75, 1, 0, *[0] * 18, 1, 1, 0])
    assert env.avail_BNA[0, 1].tolist() == [0, 1, 1, 1, 1, 1, 1, 1]  # the Medivac: attackable at 2.0, not visible
    np.testing.assert_array_equal(env.obs_BNO[0, 0], [0, 1, 1, 1, *[0] * 24, 1, 1, 0])
    assert env.avail_BNA[0, 0].tolist() == [0, 1, 0, 1, 1, 1, 0, 0]
    state = [1, 0, -0.1875, 0.46875, 1, 0, 1, 5, 0, 0.40625, 1, 0, 1, 0, 0.125, 0.46875, 1, 0]
    np.testing.assert_array_equal(env.state_BS[0], [*state, 0.5625, 0, 0.453125, 1, 0, 1, 0, 0.46875, 0, 1])


def test_zealots_of_5z_vs_1ul_are_normalised_as_stalkers():
    env = Sc2Env(1, 0, **env_args("sc2", map_name="5z_vs_1ul"))
    rows = env.read_battle(0)
    rows["shield"][:5], rows["cooldown"][:5] = 50, 7
    env.write_battle(0, rows)
    np.testing.assert_array_equal(env.obs_BNO[0, :, -1], np.float32(0.625))
    np.testing.assert_array_equal(env.state_BS[0, 1:25:5], np.float32(0.2))


SIZES = [  # map, agents, enemies, actions, limit, v1 obs, v1 state, LMAC obs, LMAC state
    ("3m", 3, 3, 9, 60, 30, 48, 33, 21),
    ("8m", 8, 8, 14, 120, 80, 168, 88, 56),
    ("2s3z", 5, 5, 11, 120, 80, 120, 90, 65),
    ("3s5z", 8, 8, 14, 150, 128, 216, 144, 104),
    ("3s_vs_5z", 3, 5, 11, 250, 48, 68, 58, 35),
    ("MMM", 10, 10, 16, 150, 160, 290, 170, 130),
    ("bane_vs_hM", 3, 2, 8, 30, None, 52, 31, 28),
    ("1o_10b_vs_1r", 11, 1, 7, 50, None, 148, 85, 71),
    ("1o_10b_vs_1r_v2", 11, 1, 7, 50, None, 148, 85, 71),
    ("2o_20b_vs_2r", 22, 2, 8, 50, None, 318, 170, 142),
    ("5z_vs_1ul", 5, 1, 7, 150, None, 63, 36, 28),
    ("1o_2r_vs_4r", 3, 4, 10, 50, None, 68, 53, 38),
]


@pytest.mark.parametrize(("name", "n", "m", "actions", "limit", "obs1", "state1", "obs2", "state2"), SIZES)
def test_sizes_are_those_of_the_published_environments(name, n, m, actions, limit, obs1, state1, obs2, state2):
    for flavour, obs_dim, state_dim in (("smac", obs1, state1), ("smac_comm", obs2, state2)):
        env = Sc2Env(2, 0, **env_args("sc2", map_name=name, flavour=flavour))
        assert (env.n_agents, env.settings.n_enemies, env.n_actions, env.episode_limit) == (n, m, actions, limit)
        assert env.obs_BNO.shape == (2, n, obs_dim or env.obs_dim) and env.state_BS.shape == (2, state_dim)


MOST = {"3m": 365, "8m": 640, "2s3z": 1020, "3s5z": 1510, "3s_vs_5z": 1000, "MMM": 1015, "bane_vs_hM": 450,
        "1o_10b_vs_1r": 355, "2o_20b_vs_2r": 510, "5z_vs_1ul": 810, "1o_2r_vs_4r": 440}  # fmt: skip


@pytest.mark.parametrize("name", MOST)
def test_largest_rewards_are_the_published_ones(name):
    env = Sc2Env(1, 0, **env_args("sc2", map_name=name))
    assert env.max_reward_B.tolist() == [MOST[name]]
