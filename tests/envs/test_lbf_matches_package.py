"""LbfEnv against the lbforaging package: same state, same actions, same next state, reward, end and views."""

from __future__ import annotations

import numpy as np
import pytest
from lbf_package_game import PUBLISHED, V3, PackageGame, mixed_actions, padded_layers_BS

from envs.lbf import LbfEnv

TRANSITIONS = 10_000
COPIES = 16
SETTINGS = {
    "published-8x8-2p-2f-s1-coop": PUBLISHED,
    "published-11x11-6p-4f-s1-coop": {**PUBLISHED, "players": 6, "field_size": 11, "max_food": 4},
    "published-5x5-3p-1f-s2-levels": {
        **PUBLISHED,
        "players": 3,
        "field_size": 5,
        "max_food": 1,
        "sight": 2,
        "force_coop": False,
        "max_player_level": 4,
    },
    "published-5x6-6p-2f-raw-rewards": {
        **PUBLISHED,
        "players": 6,
        "field_size": [5, 6],
        "normalize_reward": False,
        "max_player_level": 3,
        "force_coop": False,
    },
    "published-4x4-5p-1f-vector-coop": {
        **PUBLISHED,
        "players": 5,
        "field_size": 4,
        "max_food": 1,
        "grid_observation": False,
        "time_limit_terminates": False,
    },
    "v3-8x8-2p-2f-s2-levels": {**V3, "sight": 2},
    "v3-6x5-4p-2f-lists-penalty-hidden-levels": {
        **V3,
        "players": 4,
        "field_size": [6, 5],
        "min_player_level": [1, 1, 2, 2],
        "max_player_level": [1, 2, 3, 4],
        "max_food_level": [2, 5],
        "penalty": 0.1,
        "observe_agent_levels": False,
    },
    "v3-5x5-5p-2f-grid-penalty": {
        **V3,
        "players": 5,
        "field_size": 5,
        "grid_observation": True,
        "max_food_level": 3,
        "penalty": 0.25,
    },
    "v3-10x10-3p-3f-s10-coop": {
        **V3,
        "players": 3,
        "field_size": 10,
        "max_food": 3,
        "sight": 10,
        "force_coop": True,
    },
    "v3-7x4-2p-1f-grid-hidden-levels": {
        **V3,
        "field_size": [7, 4],
        "max_food": 1,
        "grid_observation": True,
        "observe_agent_levels": False,
        "max_player_level": 3,
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_ten_thousand_transitions_equal_the_package(name):
    ours = LbfEnv(COPIES, 7, **SETTINGS[name])
    games = [PackageGame(ours) for _ in range(COPIES)]
    rng = np.random.default_rng(11)
    see_levels = ours.settings.observe_agent_levels
    starting_B = np.ones(COPIES, bool)
    eaten = blocked = shared = 0
    for _ in range(TRANSITIONS // COPIES):
        ours.reset(starting_B)
        before = ours.state_dict()
        for b in np.flatnonzero(starting_B):
            games[b].set_to(before, b)
            np.testing.assert_array_equal(ours.obs_BNO[b], games[b].obs_NO())
        actions_BN = mixed_actions(before, rng)
        result = ours.step(actions_BN)
        after = ours.state_dict()
        theirs = [game.step(actions) for game, actions in zip(games, actions_BN.tolist(), strict=True)]
        assert after["pos_BN2"].tolist() == [game.positions() for game in games]
        assert after["field_BRC"].tolist() == [game.field.tolist() for game in games]
        reward_BN = np.array([rewards for _, rewards, _, _, _ in theirs])
        np.testing.assert_allclose(ours.player_reward_BN, reward_BN, rtol=1e-12, atol=0)
        np.testing.assert_allclose(result.reward_B, reward_BN.sum(1), rtol=1e-6, atol=1e-7)
        starting_B = result.terminated_B | result.truncated_B
        assert starting_B.tolist() == [bool(is_over) for _, _, is_over, _, _ in theirs]
        obs_BNO = np.array([[np.ravel(o) for o in obs] for obs, *_ in theirs])
        np.testing.assert_array_equal(ours.obs_BNO, obs_BNO)
        np.testing.assert_array_equal(ours.state_BS, padded_layers_BS(after, ours.settings.sight, see_levels))
        eaten += int((before["foods_B2"][:, 1] - after["foods_B2"][:, 1]).sum())
        wanted_BN = (actions_BN >= 1) & (actions_BN <= 4)
        blocked += int((wanted_BN & (before["pos_BN2"] == after["pos_BN2"]).all(-1)).sum())
        pairs_BNN = (after["pos_BN2"][:, :, None] == after["pos_BN2"][:, None]).all(-1)
        shared += int((pairs_BNN.sum((1, 2)) > ours.n_agents).sum())
    assert eaten > 100, "too few foods were eaten for the comparison to mean anything"
    assert blocked > 500, "too few moves failed for the comparison to mean anything"
    assert ours.n_agents < 4 or shared > 5, "players never shared a cell, the rarest of the rules"
