"""LbfEnv on its own: resets, streams, saving, time limit, finished copies, bad settings, pictures."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import yaml

from envs.lbf import LbfEnv
from epymarl_lmac.errors import TaskError
from epymarl_lmac.paths import config_root
from epymarl_lmac.tasks import lbf_settings
from epymarl_lmac.tasks.lbf_settings import ENV_ARGS, largest_food_count

YAML = yaml.safe_load((config_root() / "envs" / "lbf.yaml").read_text())
PUBLISHED = YAML["env_args"]
V3 = {**PUBLISHED, "rules": "v3"}


def make(num_envs=1, seed=0, base=PUBLISHED, **changes):
    return LbfEnv(num_envs, seed, **{**base, **changes})


def place(env, field_RC, positions, levels=None):
    """Sets every copy of an environment to one position."""
    state = env.state_dict()
    state["field_BRC"][:] = field_RC
    state["pos_BN2"][:] = positions
    state["level_BN"][:] = 1 if levels is None else levels
    state["foods_B2"][:] = np.count_nonzero(field_RC)
    state["total_B"][:] = np.sum(field_RC)
    state["clock_B"][:] = 0
    state["live_B"][:] = True
    env.load_state_dict(state)


def positions(env, copy=0):
    return env.state_dict()["pos_BN2"][copy].tolist()


def test_yaml_holds_exactly_the_settings_and_starts_the_published_game():
    assert set(PUBLISHED) == set(ENV_ARGS)
    env = make(3)
    assert (env.obs_dim, env.state_dim, env.n_agents, env.n_actions, env.episode_limit) == (27, 300, 2, 6, 25)
    assert env.obs_BNO.shape == (3, 2, 27) and env.obs_BNO.dtype == np.float32
    assert env.state_BS.shape == (3, 300) and env.state_BS.dtype == np.float32
    assert env.avail_BNA.shape == (3, 2, 6) and env.avail_BNA.dtype == np.uint8 and env.avail_BNA.all()
    assert env.rules == "lbf published" and "2.0.0" in make(base=V3).rules


def test_reset_spaces_foods_and_places_everything_on_its_own_cell():
    env = make(2000, players=6, field_size=9, max_food=4)
    state = env.state_dict()
    assert (state["foods_B2"] == 4).all()
    for b in range(env.num_envs):
        foods = np.argwhere(state["field_BRC"][b])
        assert foods.min() >= 1 and foods.max() <= 7
        gaps = np.abs(foods[:, None] - foods[None]).sum(-1)
        assert gaps[~np.eye(4, dtype=bool)].min() >= 3
        cells = {tuple(cell) for cell in np.concatenate([foods, state["pos_BN2"][b]]).tolist()}
        assert len(cells) == 10


def test_reset_draws_cells_uniformly():
    env = make(20_000, max_food=1, field_size=4)
    state = env.state_dict()
    count_RC = np.zeros((4, 4))
    np.add.at(count_RC, tuple(state["pos_BN2"][:, 0].T), 1)
    # 20,000 draws over 16 cells: 1,250 each, standard deviation 34; six of them never happen by chance.
    assert np.abs(count_RC - 1250).max() < 6 * 34
    food_RC = (state["field_BRC"] > 0).sum(0)
    assert food_RC.sum() == 20_000 and food_RC[1:3, 1:3].sum() == 20_000
    assert np.abs(food_RC[1:3, 1:3] - 5000).max() < 6 * 61


@pytest.mark.parametrize(
    "base, changes, player_levels, food_levels",
    [
        (PUBLISHED, {}, {1}, {2}),
        (PUBLISHED, {"players": 6, "field_size": 11}, {1}, {3}),
        (
            PUBLISHED,
            {"max_player_level": 4, "players": 1, "max_food": 1, "force_coop": False},
            {1, 2, 3},
            {1, 2},
        ),
        (PUBLISHED, {"players": 1, "force_coop": False}, {1}, {1}),
        (V3, {"max_player_level": 3, "min_player_level": 2}, {2, 3}, {4, 5, 6}),
        (V3, {"force_coop": False, "max_player_level": 2, "max_food_level": 3}, {1, 2}, {1, 2, 3}),
        (V3, {"force_coop": False, "max_player_level": 1}, {1}, {1, 2}),
        (V3, {"max_player_level": 1, "max_food_level": [1, 2]}, {1}, {1, 2}),
    ],
)
def test_levels_cover_exactly_the_range_of_the_rules(base, changes, player_levels, food_levels):
    state = make(500, base=base, **changes).state_dict()
    assert set(np.unique(state["level_BN"])) == player_levels
    assert set(np.unique(state["field_BRC"])) - {0} == food_levels


def test_v3_level_bounds_are_dealt_out_at_random():
    state = make(300, base=V3, min_player_level=[1, 3], max_player_level=[1, 3], max_food_level=4).state_dict()
    assert (np.sort(state["level_BN"], axis=1) == [1, 3]).all()
    assert 90 < (state["level_BN"][:, 0] == 1).sum() < 210


def test_cooperative_food_takes_the_three_lowest_levels():
    state = make(300, players=5, max_player_level=5, max_food=1).state_dict()
    lowest_B = np.sort(state["level_BN"], axis=1)[:, :3].sum(1)
    np.testing.assert_array_equal(state["field_BRC"].sum((1, 2)), lowest_B)


def test_fewer_foods_are_accepted_and_none_ends_the_episode_at_once():
    env = make(400, field_size=3, max_food=1, players=3)
    placed_B = env.state_dict()["foods_B2"][:, 0]
    assert set(placed_B.tolist()) == {0, 1}  # a player on the only inner cell leaves no room
    result = env.step(np.zeros((400, 3), int))
    np.testing.assert_array_equal(result.terminated_B, placed_B == 0)
    assert not result.reward_B.any() and not result.info["foods_eaten"].any()


def test_movement_conflicts():
    env = make(players=3, max_food=1)
    field_RC = np.zeros((8, 8), int)
    field_RC[6, 6] = 3
    cases = [
        ([[0, 0], [0, 2], [4, 4]], [4, 3, 0], [[0, 0], [0, 2], [4, 4]]),  # two want one cell: both stay
        ([[0, 0], [0, 1], [4, 4]], [4, 3, 0], [[0, 1], [0, 0], [4, 4]]),  # two swap
        ([[0, 0], [0, 1], [4, 4]], [4, 4, 0], [[0, 1], [0, 2], [4, 4]]),  # one follows the other
        ([[0, 0], [0, 1], [4, 4]], [4, 0, 0], [[0, 0], [0, 1], [4, 4]]),  # into a stayer: stays
        (
            [[0, 0], [0, 1], [0, 3]],
            [4, 4, 3],
            [[0, 1], [0, 1], [0, 3]],
        ),  # enters a cell whose owner is held up
        ([[6, 5], [5, 6], [0, 0]], [4, 2, 1], [[6, 5], [5, 6], [0, 0]]),  # food and the border are walls
        ([[7, 7], [0, 0], [4, 0]], [2, 3, 3], [[7, 7], [0, 0], [4, 0]]),
    ]
    for start, actions, end in cases:
        place(env, field_RC, start)
        env.step(np.array([actions]))
        assert positions(env) == end, (start, actions)


def test_cooperative_load_pays_the_share_of_the_food():
    env = make()
    field_RC = np.zeros((8, 8), int)
    field_RC[2, 2] = field_RC[5, 5] = 2
    place(env, field_RC, [[2, 1], [2, 3]])
    alone = env.step(np.array([[5, 0]]))
    assert alone.reward_B[0] == 0 and not alone.terminated_B[0]
    both = env.step(np.array([[5, 5]]))
    assert both.reward_B[0] == 0.5 and both.info["foods_eaten"][0] == 0.5
    place(env, field_RC * (np.arange(8) > 3), [[5, 4], [4, 5]])
    last = env.step(np.array([[5, 5]]))
    assert last.reward_B[0] == 1 and last.terminated_B[0] and not last.truncated_B[0]


def test_failed_load_costs_the_penalty_each():
    env = make(base=V3, players=3, max_food=1, max_player_level=1, penalty=0.25)
    field_RC = np.zeros((8, 8), int)
    field_RC[2, 2] = 3
    place(env, field_RC, [[2, 1], [2, 3], [7, 7]])
    assert env.step(np.array([[5, 5, 5]])).reward_B[0] == -0.5
    np.testing.assert_array_equal(env.player_reward_BN, [[-0.25, -0.25, 0]])


@pytest.mark.parametrize("terminates", [True, False])
def test_time_limit_is_reported_as_the_settings_say(terminates):
    env = make(4, max_episode_steps=3, time_limit_terminates=terminates)
    nothing = np.zeros((4, 2), int)
    for _ in range(2):
        result = env.step(nothing)
        assert not result.terminated_B.any() and not result.truncated_B.any()
    result = env.step(nothing)
    assert (result.terminated_B == terminates).all() and (result.truncated_B != terminates).all()


def test_emptying_the_field_at_the_limit_is_a_termination():
    env = make(max_episode_steps=1, time_limit_terminates=False, max_food=1)
    field_RC = np.zeros((8, 8), int)
    field_RC[2, 2] = 2
    place(env, field_RC, [[2, 1], [2, 3]])
    result = env.step(np.array([[5, 5]]))
    assert result.terminated_B[0] and not result.truncated_B[0]


def test_finished_copies_stay_as_they_are_while_others_go_on():
    env = make(2)
    field_RC = np.zeros((8, 8), int)
    field_RC[2, 2] = 2
    place(env, field_RC, [[2, 1], [2, 3]])
    assert env.step(np.array([[5, 5], [0, 0]])).terminated_B.tolist() == [True, False]
    before, obs_NO = env.state_dict(), env.obs_BNO[0].copy()
    result = env.step(np.array([[2, 2], [2, 2]]))
    assert result.reward_B[0] == 0 and not result.terminated_B[0] and not result.truncated_B[0]
    after = env.state_dict()
    for name in before:
        np.testing.assert_array_equal(before[name][0], after[name][0], err_msg=name)
    np.testing.assert_array_equal(env.obs_BNO[0], obs_NO)
    assert after["pos_BN2"][1].tolist() == [[3, 1], [3, 3]]


def play(env, steps, seed):
    """Plays random actions with resets of finished copies; returns everything seen."""
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(steps):
        result = env.step(rng.integers(0, 6, (env.num_envs, env.n_agents)))
        seen.append([*result[:3], env.obs_BNO.copy(), env.state_BS.copy()])
        env.reset(result.terminated_B | result.truncated_B)
    return seen


def assert_equal_play(first, second):
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("base", [PUBLISHED, {**V3, "grid_observation": False, "sight": 3}])
def test_same_seed_plays_the_same_and_another_does_not(base):
    first, second = play(make(8, 5, base), 80, 1), play(make(8, 5, base), 80, 1)
    assert_equal_play(first, second)
    assert not np.array_equal(make(8, 6, base).state_BS, make(8, 5, base).state_BS)


@pytest.mark.parametrize("base", [PUBLISHED, {**V3, "grid_observation": False, "sight": 3}])
def test_saved_state_continues_to_the_bit(base):
    env, other = make(8, 5, base), make(8, 77, base)
    play(env, 37, 1)
    other.load_state_dict(env.state_dict())
    np.testing.assert_array_equal(env.obs_BNO, other.obs_BNO)
    np.testing.assert_array_equal(env.state_BS, other.state_BS)
    assert_equal_play(play(env, 60, 2), play(other, 60, 2))


def test_saved_state_is_a_copy_and_other_sizes_are_refused():
    env = make(4)
    saved = env.state_dict()
    kept = {name: array.copy() for name, array in saved.items()}
    play(env, 30, 0)
    for name in saved:
        np.testing.assert_array_equal(saved[name], kept[name])
    with pytest.raises(ValueError, match=r"rng_B4.*\(5, 4\)"):
        make(5).load_state_dict(saved)
    with pytest.raises(ValueError, match="expected"):
        env.load_state_dict({"pos_BN2": saved["pos_BN2"]})


def test_copies_have_their_own_streams_whatever_their_number():
    many, few = make(64, 3), make(5, 3)
    np.testing.assert_array_equal(many.state_BS[:5], few.state_BS)
    assert len(np.unique(many.state_BS, axis=0)) == 64
    before = many.state_dict()
    which_B = np.arange(64) == 7
    many.reset(which_B)
    after = many.state_dict()
    for name in before:
        changed_B = (before[name] != after[name]).reshape(64, -1).any(1)
        assert not changed_B[~which_B].any(), name
    assert (before["rng_B4"][7] != after["rng_B4"][7]).any()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"field_size": 3, "max_food": 3}, ["max_food=3", "3x3", "at most 1"]),
        ({"max_food": 9}, ["max_food=9", "8x8", "at most 8"]),
        ({"field_size": 2}, ["field_size=2", "at least 3"]),
        ({"field_size": [8, 8, 8]}, ["field_size=[8, 8, 8]", "[rows, columns]"]),
        ({"field_size": "8"}, ["field_size='8'"]),
        ({"players": 0}, ["players=0", "at least 1"]),
        ({"players": 63}, ["players=63", "65 cells", "has 64"]),
        ({"players": 2.0}, ["players=2.0", "integer"]),
        ({"max_food": 0}, ["max_food=0", "at least 1"]),
        ({"sight": -1}, ["sight=-1", "at least 0"]),
        ({"sight": 9}, ["sight=9", "8x8"]),
        ({"max_episode_steps": -5}, ["max_episode_steps=-5", "at least 1"]),
        ({"max_player_level": 1}, ["max_player_level=1", "at least 2"]),
        ({"max_player_level": [2, 2]}, ["rules: v3"]),
        ({"rules": "v2"}, ["rules='v2'", "published", "v3"]),
        ({"penalty": 0.5}, ["penalty=0.5", "rules: v3"]),
        ({"force_coop": 1}, ["force_coop=1", "true or false"]),
        ({"rules": "v3", "penalty": -1.0}, ["penalty=-1.0", "at least 0"]),
        ({"rules": "v3", "penalty": float("nan")}, ["penalty=nan", "finite"]),
        ({"rules": "v3", "min_player_level": 3}, ["min_player_level=3", "max_player_level=2"]),
        ({"rules": "v3", "max_player_level": [1, 2, 3]}, ["3 levels", "players=2"]),
        ({"rules": "v3", "force_coop": False, "min_food_level": 3}, ["min_food_level=3", "sum to 2"]),
        (
            {"rules": "v3", "force_coop": False, "min_food_level": 2, "max_food_level": 1},
            ["min_food_level=2"],
        ),
        ({"rules": "v3", "max_food_level": 9}, ["level 9", "more than 4"]),
        ({"rules": "v3", "min_food_level": 0}, ["min_food_level=0", "at least 1"]),
    ],
)
def test_impossible_settings_are_refused_with_their_numbers(changes, words):
    with pytest.raises(TaskError) as error:
        make(**changes)
    for word in words:
        assert word in str(error.value)


def test_no_copies_and_bad_actions_are_refused_before_anything_changes():
    with pytest.raises(TaskError, match="num_envs=0"):
        make(0)
    env = make(2)
    before = env.state_dict()
    with pytest.raises(ValueError, match=r"0\.\.6; expected 0\.\.5"):
        env.step(np.array([[0, 1], [6, 0]]))
    with pytest.raises(ValueError, match="shape"):
        env.step(np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="one bool for each of 2 copies"):
        env.reset(np.array([0, 1]))
    for name, array in env.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_largest_food_count_equals_exhaustive_search():
    def search(free, count=0):
        best = count
        for k, cell in enumerate(free):
            rest = [o for o in free[k + 1 :] if abs(o[0] - cell[0]) + abs(o[1] - cell[1]) > 2]
            best = max(best, search(rest, count + 1))
        return best

    for rows in range(3, 8):
        for cols in range(3, 8):
            cells = [(r, c) for r in range(1, rows - 1) for c in range(1, cols - 1)]
            assert largest_food_count(rows, cols) == search(cells), (rows, cols)


def test_examples_in_the_settings_hold():
    assert doctest.testmod(lbf_settings).attempted and not doctest.testmod(lbf_settings).failed


def test_renders_show_levels_and_share_the_frame_out():
    env = make()
    field_RC = np.zeros((8, 8), int)
    field_RC[2, 2] = 2
    place(env, field_RC, [[2, 1], [0, 7]])
    text = env.render()
    lines = text.splitlines()
    assert lines[0] == "step 0/25" and lines[2].split()[8] == "b1" and lines[4].split()[2:4] == ["a1", "2"]
    frame = env.render(mode="rgb")
    assert frame.dtype == np.uint8 and frame.shape == (8 * 48 + 2, 8 * 48 + 2, 3)
    tiles = frame[: 8 * 48, : 8 * 48].reshape(8, 48, 8, 48, 3).transpose(0, 2, 1, 3, 4)
    shown_RC = [[len(np.unique(tile.reshape(-1, 3), axis=0)) > 2 for tile in row] for row in tiles]
    assert np.argwhere(shown_RC).tolist() == [[0, 7], [2, 1], [2, 2]]
    assert not np.array_equal(tiles[2, 1], tiles[2, 2]) and not np.array_equal(tiles[2, 1], tiles[0, 7])
    place(env, field_RC, [[4, 4], [4, 4]])
    assert "*2" in env.render() and "shared by ab" in env.render()
    with pytest.raises(ValueError, match="'ascii'"):
        env.render(mode="ascii")
    with pytest.raises(ValueError, match="copy 1"):
        env.render(copy=1)
