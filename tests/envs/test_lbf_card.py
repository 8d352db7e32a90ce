"""The task card of level-based foraging against the arrays of the environment."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import yaml

from envs.lbf import LbfEnv
from epymarl_lmac.errors import TaskError
from epymarl_lmac.paths import config_root
from epymarl_lmac.tasks.lbf import card, task_id

PUBLISHED = yaml.safe_load((config_root() / "envs" / "lbf.yaml").read_text())["env_args"]
V3 = {**PUBLISHED, "rules": "v3"}
SETTINGS = {
    "8x8-2p-2f-s1-coop": PUBLISHED,
    "11x11-6p-4f-s1-coop": {**PUBLISHED, "players": 6, "field_size": 11, "max_food": 4},
    "5x6-3p-1f-s2-l1to3-trunc": {
        **PUBLISHED,
        "field_size": [5, 6],
        "players": 3,
        "max_food": 1,
        "sight": 2,
        "force_coop": False,
        "max_player_level": 4,
        "time_limit_terminates": False,
    },
    "4x5-2p-1f-s0-coop-raw": {
        **PUBLISHED,
        "field_size": [4, 5],
        "max_food": 1,
        "sight": 0,
        "normalize_reward": False,
    },
    "6x6-4p-2f-s2-v3-l1to2-vector": {
        **V3,
        "field_size": 6,
        "players": 4,
        "sight": 2,
        "force_coop": False,
        "grid_observation": False,
    },
    "5x5-3p-1f-s5-coop-v3-fmax2-vector-pen0.1-nolevels": {
        **V3,
        "field_size": 5,
        "players": 3,
        "max_food": 1,
        "sight": 5,
        "max_player_level": 1,
        "max_food_level": 2,
        "grid_observation": False,
        "penalty": 0.1,
        "observe_agent_levels": False,
    },
    "5x5-3p-1f-s1-coop-v3-nolevels": {
        **V3,
        "field_size": 5,
        "players": 3,
        "max_food": 1,
        "max_player_level": 1,
        "observe_agent_levels": False,
    },
}


def collect(env_args, steps=400, copies=16):
    """Plays at random; yields the environment before every step."""
    env = LbfEnv(copies, 3, **env_args)
    rng = np.random.default_rng(4)
    for _ in range(steps):
        yield env
        result = env.step(rng.integers(0, 6, (copies, env.n_agents)))
        env.reset(result.terminated_B | result.truncated_B)


@pytest.mark.parametrize("name", SETTINGS)
def test_ranges_hold_and_are_reached(name):
    game = card(SETTINGS[name])
    obs_XO, state_XS = [], []
    for env in collect(SETTINGS[name]):
        obs_XO.append(env.obs_BNO.reshape(-1, env.obs_dim).copy())
        state_XS.append(env.state_BS.copy())
    for rows, dims, what in ((obs_XO, game.obs, "obs"), (state_XS, game.state, "state")):
        values = np.concatenate(rows)
        assert values.shape[1] == len(dims)
        lows, highs = values.min(0), values.max(0)
        for dim in dims:
            assert dim.low <= lows[dim.index], (what, dim)
            assert highs[dim.index] <= dim.high, (what, dim)
            if dim.low == dim.high:
                assert lows[dim.index] == highs[dim.index] == dim.low
        # The ranges are not merely wide: some dimension of each kind reaches its ends.
        assert any(highs[d.index] == d.high > 0 for d in dims) and any(lows[d.index] == d.low for d in dims)


@pytest.mark.parametrize("name", SETTINGS)
def test_names_are_unique_and_indices_in_order(name):
    game = card(SETTINGS[name])
    for dims in (game.state, game.obs, game.x_dims()):
        assert [d.index for d in dims] == list(range(len(dims)))
        assert len({d.name for d in dims}) == len(dims)
        assert all(d.meaning and d.unit for d in dims)
    assert len(game.x_dims()) == len(game.obs) + 6 + game.n_agents


@pytest.mark.parametrize("name", SETTINGS)
def test_card_has_the_environments_sizes(name):
    env, game = LbfEnv(1, 0, **SETTINGS[name]), card(SETTINGS[name])
    assert (game.env, game.task, task_id(SETTINGS[name])) == ("lbf", name, name)
    assert (len(game.obs), len(game.state)) == (env.obs_dim, env.state_dim)
    assert (game.n_agents, len(game.actions)) == (env.n_agents, env.n_actions)
    assert game.episode_limit == env.episode_limit and game.settings == SETTINGS[name]


def cell_values(env, name, copy):
    """Looks a state dimension up by its name in the raw positions, not in the layers."""
    layer, cell = name.rstrip("]").split("[")
    row, col = (int(x) for x in cell.split(","))
    raw = env.state_dict()
    field_RC = raw["field_BRC"][copy]
    is_inside = 0 <= row < field_RC.shape[0] and 0 <= col < field_RC.shape[1]
    food = field_RC[row, col] if is_inside else 0
    here = [int(raw["level_BN"][copy, i]) for i, p in enumerate(raw["pos_BN2"][copy]) if (row, col) == tuple(p)]
    seen = here[-1] if here else 0
    agent = seen if env.settings.observe_agent_levels else int(seen > 0)
    return {"agent": agent, "food": food, "access": int(is_inside and not food and not here)}[layer]


@pytest.mark.parametrize("name", [n for n in SETTINGS if not n.startswith("11x11")])
def test_every_state_dimension_is_what_its_name_says(name):
    dims = card(SETTINGS[name]).state
    for step, env in enumerate(collect(SETTINGS[name], steps=8, copies=2)):
        copy = step % 2
        raw = env.state_dict()
        env.state_dict = lambda raw=raw: raw  # the lookups below read one snapshot
        assert [cell_values(env, d.name, copy) for d in dims] == env.state_BS[copy].tolist()
        del env.state_dict


@pytest.mark.parametrize("name", [n for n in SETTINGS if "vector" not in n])
def test_every_grid_dimension_is_the_state_at_that_offset(name):
    game = card(SETTINGS[name])
    column = {d.name: d.index for d in game.state}
    for env in collect(SETTINGS[name], steps=10, copies=4):
        pos_BN2 = env.state_dict()["pos_BN2"]
        for d in game.obs:
            layer, cell = d.name.rstrip("]").split("[")
            dr, dc = (int(x) for x in cell.split(","))
            for b in range(env.num_envs):
                for i, (row, col) in enumerate(pos_BN2[b].tolist()):
                    expected = env.state_BS[b, column[f"{layer}[{row + dr},{col + dc}]"]]
                    assert env.obs_BNO[b, i, d.index] == expected, d.name


@pytest.mark.parametrize("name", [n for n in SETTINGS if "vector" in n])
def test_every_vector_dimension_is_what_its_name_says(name):
    game = card(SETTINGS[name])
    n_seen = 0
    for env in collect(SETTINGS[name], steps=60, copies=4):
        raw, sight = env.state_dict(), env.settings.sight
        for b in range(env.num_envs):
            foods = [(r, c, raw["field_BRC"][b, r, c]) for r, c in np.argwhere(raw["field_BRC"][b]).tolist()]
            for i in range(env.n_agents):
                row, col = raw["pos_BN2"][b, i].tolist()
                top, left = max(row - sight, 0), max(col - sight, 0)
                things = {"self": (row - top, col - left, raw["level_BN"][b, i])}
                near = [f for f in foods if max(abs(f[0] - row), abs(f[1] - col)) <= sight]
                things.update({f"food{k}": (r - top, c - left, v) for k, (r, c, v) in enumerate(near)})
                others = [
                    (*raw["pos_BN2"][b, j] - (top, left), raw["level_BN"][b, j]) for j in range(env.n_agents) if j != i
                ]
                shown = [o for o in others if min(o[:2]) >= 0 and max(o[:2]) <= 2 * sight]
                things.update({f"other{k}": o for k, o in enumerate(shown)})
                n_seen += len(near) + len(shown)
                for d in game.obs:
                    thing, part = d.name.split("_")
                    expected = things.get(thing, (-1, -1, 0))[("row", "col", "level").index(part)]
                    assert env.obs_BNO[b, i, d.index] == expected, d.name
    assert n_seen > 100


def test_task_id_changes_with_every_setting():
    base = {**V3, "max_player_level": [1, 2], "min_food_level": 1, "field_size": 9}
    changes: list[dict[str, Any]] = [
        {"players": 3, "max_player_level": [1, 2, 2]},
        {"max_player_level": [2, 2]},
        {"min_player_level": [1, 2]},
        {"field_size": [9, 8]},
        {"field_size": [8, 9]},
        {"max_food": 3},
        {"sight": 2},
        {"max_episode_steps": 50},
        {"force_coop": False},
        {"normalize_reward": False},
        {"grid_observation": False},
        {"time_limit_terminates": False},
        {"min_food_level": 2},
        {"max_food_level": 2},
        {"max_food_level": [2, 1]},
        {"penalty": 0.1},
        {"penalty": 0.25},
        {"observe_agent_levels": False},
    ]
    ids = [task_id(base)] + [task_id({**base, **change}) for change in changes] + [task_id(PUBLISHED)]
    assert len(set(ids)) == len(ids)
    assert all(set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.") for i in ids)
    assert task_id({**base, "field_size": [9, 9]}) == task_id(base)


def test_goal_states_the_numbers_of_the_game():
    goal = card(SETTINGS["11x11-6p-4f-s1-coop"]).goal
    for words in (
        "6 players",
        "all of level 1",
        "11 rows",
        "up to 4 foods",
        "25 steps",
        "3 lowest",
        "needs 3 players",
        "sees 1 cell in",
    ):
        assert words in goal, words
    assert "costs 0.1" in card(SETTINGS["5x5-3p-1f-s5-coop-v3-fmax2-vector-pen0.1-nolevels"]).goal


def test_observable_marks_what_sight_zero_hides():
    blind = card(SETTINGS["4x5-2p-1f-s0-coop-raw"]).state
    assert {d.name.split("[")[0] for d in blind if d.observable} == {"agent"}
    assert all(d.observable for d in card(PUBLISHED).state)


def test_bad_settings_have_no_card():
    with pytest.raises(TaskError, match=r"missing keys \['sight'\]"):
        card({key: value for key, value in PUBLISHED.items() if key != "sight"})
    with pytest.raises(TaskError, match=r"unknown keys \['sights'\]"):
        task_id({**PUBLISHED, "sights": 1})


def test_card_needs_neither_the_environment_nor_heavy_packages():
    script = (
        "import sys, epymarl_lmac.tasks.lbf\n"
        "sys.exit(','.join(m for m in ('numba', 'torch', 'envs') if m in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=config_root().parent)
    assert done.returncode == 0, done.stderr
