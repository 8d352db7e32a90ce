"""Google Research Football: views, rewards and ends by hand without the engine; every promise with it."""

import os
import signal
import sys
from functools import partial

import numpy as np
import pytest

from envs import gfootball_game
from envs.check_env import check_env, subject_of
from envs.gfootball_env import observations, state
from envs.making import make_one
from epymarl_lmac.errors import TaskError
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import ENTRIES, task_card, task_id, task_score
from epymarl_lmac.tasks.gfootball import ACTIONS, SCENARIOS, obs_columns, state_columns
from runners.worker_pool import EnvWorkerError, WorkerPool

pytest.importorskip("gymnasium")
from fake_football import START, package

PLAYERS = np.array([1, 2])
TWO = {"map_name": "two_vs_two"}
IDLE = [0, 0]


def settings(**changes):
    return {**merge("qmix", "gfootball")["env_args"], **changes}


def one(seed=1, **changes):
    return make_one("gfootball", ENTRIES["gfootball"], seed=seed, **settings(**changes))


@pytest.fixture
def engine(monkeypatch):
    """Puts a stand-in in the place of the package; called with a script and facts of the scenario."""

    def put(script=(), **scenario):
        monkeypatch.setattr(gfootball_game, "_import", package(script, **scenario))

    put()
    return put


# -- what agents see ---------------------------------------------------------------------------------------------


def test_observations_are_those_computed_by_hand():
    shared = [0, 0.001, -0.01, 0]  # the opponents' velocities
    expected = [
        [0.5, 0.1, 0.1, -0.3, 0.01, 0, 0, -0.02, 0.5, -0.1, 0.25, 0, *shared, 0.02, 0, 0.5, 0.03, 0.01, 0.2],
        [0.6, -0.2, -0.1, 0.3, 0, -0.02, 0.01, 0, 0.4, 0.2, 0.15, 0.3, *shared, -0.08, 0.3, 0.5, 0.03, 0.01, 0.2],
    ]
    seen_NO = observations(START, PLAYERS)
    assert seen_NO.dtype == np.float32 and seen_NO.shape == (2, 22)
    np.testing.assert_allclose(seen_NO, expected, atol=1e-7)


def test_the_state_is_the_one_computed_by_hand():
    expected = [
        *(0.5, 0.1, 0.6, -0.2), *(0.01, 0, 0, -0.02), *(1, 0, 0.75, 0.1), *(0, 0.001, -0.01, 0),
        *(0.52, 0.1, 0.5), *(0.03, 0.01, 0.2),
    ]  # fmt: skip
    seen_S = state(START, PLAYERS)
    assert seen_S.dtype == np.float32
    np.testing.assert_allclose(seen_S, expected, atol=1e-7)


def test_every_column_of_the_card_is_what_it_is_called():
    """Distinct numbers everywhere, so that no column can stand for another."""
    raw = {
        "left_team": np.arange(8.0).reshape(4, 2),
        "left_team_direction": 10 + np.arange(8.0).reshape(4, 2),
        "right_team": 100 + np.arange(4.0).reshape(2, 2),
        "right_team_direction": 200 + np.arange(4.0).reshape(2, 2),
        "ball": np.array([1000.0, 1001.0, 1002.0]),
        "ball_direction": np.array([2000.0, 2001.0, 2002.0]),
    }
    agents, opponents = [2, 1, 3], ("keeper", "defender")
    obs_NO = observations(raw, np.array(agents))
    places = {"keeper": raw["right_team"][0], "defender": raw["right_team"][1], "ball": raw["ball"]}
    moves = {"keeper": raw["right_team_direction"][0], "defender": raw["right_team_direction"][1]}
    for n, player in enumerate(agents):
        own = raw["left_team"][player]
        mates = [mate for mate in agents if mate != player]
        near = {**places, "mate0": raw["left_team"][mates[0]], "mate1": raw["left_team"][mates[1]]}
        fast = {"own": raw["left_team_direction"][player], "ball": raw["ball_direction"], **moves}
        fast |= {f"mate{m}": raw["left_team_direction"][mate] for m, mate in enumerate(mates)}
        _compare(obs_NO[n], obs_columns(3, opponents), {"own": own}, near, fast, own)
    at = {**places, **{f"agent{n}": raw["left_team"][player] for n, player in enumerate(agents)}}
    fast = {"ball": raw["ball_direction"], **moves}
    fast |= {f"agent{n}": raw["left_team_direction"][player] for n, player in enumerate(agents)}
    _compare(state(raw, np.array(agents)), state_columns(3, opponents), at, {}, fast, np.zeros(2))


def _compare(values, columns, absolute, relative, velocities, own):
    assert len(columns) == len(values) == 26
    for d in columns:
        name, axis = d.name[:-3], "xyz".index(d.name[-2])
        if name.endswith("_velocity"):
            expected = velocities[name.removesuffix("_velocity")][axis]
        elif name in absolute:
            expected = absolute[name][axis]
        else:
            expected = relative[name][axis] - (own[axis] if axis < 2 else 0)
        assert values[d.index] == expected, d.name


def test_an_agent_is_where_the_player_is_that_it_controls(engine):
    engine(
        [({"left_agent_controlled_player": [2, 1]}, 0, False), ({"left_agent_controlled_player": [-1, 1]}, 0, False)]
    )
    env = one(**TWO)
    env.reset()
    places = [[own[:2].tolist() for own in env.get_obs()]]
    for _ in range(2):
        env.step(IDLE)
        places.append([own[:2].tolist() for own in env.get_obs()])
    first, second = [pytest.approx([0.5, 0.1]), pytest.approx([0.6, -0.2])]
    assert places == [[first, second], [second, first], [second, first]]


# -- rewards and ends --------------------------------------------------------------------------------------------

OWN_HALF = {"ball": np.array([-0.01, 0.1, 0.0])}
AGENT_BACK = {"left_team": np.array([[-1.0, 0.0], [-0.01, 0.1], [0.6, -0.2]])}
OURS, THEIRS = {"score": [1, 0]}, {"score": [0, 1]}


@pytest.mark.parametrize(
    ("played", "changes", "expected"),
    [
        ((OURS, 1, True), {}, (100.0, True, False)),
        ((OURS, 1, False), {}, (100.0, False, False)),
        (({**OURS, **OWN_HALF}, 1, True), {}, (100.0, True, False)),  # the players are back for the kick-off
        ((OURS, 1, True), {"reward_goal": 1}, (1.0, True, False)),
        (({}, 0, True), {}, (-1.0, True, False)),
        (({}, 0, True), {"reward_lost": 0}, (0.0, True, False)),
        ((THEIRS, -1, True), {}, (-1.0, True, False)),
        ((THEIRS, -1, False), {}, (-100.0, False, False)),
        ((OWN_HALF, 0, False), {}, (-1.0, True, False)),
        ((AGENT_BACK, 0, False), {}, (-1.0, True, False)),
        ((OWN_HALF, 0, False), {"ends_in_own_half": False}, (0.0, False, False)),
        (({"steps_left": 0}, 0, True), {}, (0.0, False, True)),  # the scenario's own time limit
        (({"steps_left": 0, **OURS}, 1, True), {}, (100.0, True, False)),
        (({}, 0, False), {"time_limit": 1}, (0.0, False, True)),
        (({}, 0, True), {"time_limit": 1}, (-1.0, True, False)),
        (({}, 0, False), {}, (0.0, False, False)),
    ],
)
def test_rewards_and_ends_are_the_papers(engine, played, changes, expected):
    engine([played])
    env = one(**TWO, **changes)
    env.reset()
    _, reward, terminated, truncated, info = env.step(IDLE)
    assert (reward, terminated, truncated) == expected
    assert info == {"success": float(played[1] > 0), "score_reward": float(played[1])}


def test_the_own_half_is_out_of_bounds_where_nobody_starts_there(engine, monkeypatch):
    env = one(**TWO)
    assert env.ends_in_own_half and env.rules.endswith("time limit 150, ends in the own half")
    monkeypatch.setitem(START, "ball", np.array([0.0, 0.0, 0.1]))
    assert one(**TWO).ends_in_own_half
    monkeypatch.setitem(START, "left_team", START["left_team"] - [[0.55, 0]])
    env = one(**TWO)
    assert not env.ends_in_own_half and env.rules.endswith("state: engine, time limit 150")
    assert one(**TWO, ends_in_own_half=True).ends_in_own_half


# -- the engine --------------------------------------------------------------------------------------------------


def test_every_episode_has_a_seed_of_its_own_and_the_runs_seed_decides_them(engine):
    seeds = []
    for seed in (1, 1, 2):
        env = one(seed=seed, **TWO)
        for _ in range(3):
            env.reset()
        seeds.append(env.env._core.seeds[1:])
    assert seeds[0] == seeds[1] and not set(seeds[0]) & set(seeds[2]) and len(set(seeds[0])) == 3
    assert all(reverse == bool(seed % 2) for seed, reverse in seeds[0])


@pytest.mark.parametrize(
    ("scenario", "n_agents", "size", "free"),
    [
        ({}, None, 2, 2),
        ({}, 1, 1, 2),
        ({}, 3, 3, 3),
        ({"roles": ("GK",)}, None, 1, 1),
        ({"control_all_players": True}, None, 3, 3),
    ],
)
def test_all_players_but_the_keeper_are_agents_unless_told_otherwise(engine, scenario, n_agents, size, free):
    engine(**scenario)
    match = gfootball_game.Match("two_vs_two", n_agents)
    match.reset(0)
    assert match.n_agents == size and match._config.ScenarioConfig().controllable_left_players == free


def test_actions_go_to_the_engine_and_closing_gives_it_back(engine):
    env = one(**TWO)
    env.reset()
    env.step([5, 12])
    core = env.env._core
    env.close()
    assert core.actions == [5, 12] and core.is_closed and env.get_avail_actions() == [[1] * 19] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"map_name": None}, r"env 'gfootball' needs env_args.map_name, e.g. academy_3_vs_1_with_keeper; got None"),
        ({"map_name": "3v1"}, r"map_name='3v1' is no scenario .*; choose one of academy_corner, two_vs_two\."),
        ({"n_agents": 4}, r"n_agents=4 does not fit two_vs_two, where 1 to 3 players can be controlled; null means 2"),
        ({"n_agents": 0}, r"n_agents=0 does not fit"),
        ({"time_limit": 0}, r"time_limit=0 must be a whole number"),
        ({"reward_goal": "many"}, r"env_args.reward_goal='many' must be a number"),
        ({"reward_lost": None}, r"env_args.reward_lost=None must be a number"),
        ({"ends_in_own_half": "no"}, r"env_args.ends_in_own_half='no' must be True, False or null"),
    ],
)
def test_what_does_not_fit_is_one_clear_message(engine, changes, message):
    with pytest.raises(TaskError, match=message):
        one(**{**TWO, **changes})


def test_part_of_a_team_is_refused_where_all_must_be_controlled(engine):
    engine(control_all_players=True)
    with pytest.raises(TaskError, match="where 3 to 3 players can be controlled"):
        one(**TWO, n_agents=2)


def test_a_missing_package_names_the_command_that_builds_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gfootball", None)
    with pytest.raises(TaskError, match=r"needs the package 'gfootball', which is not installed: `make gfootball`"):
        one()


# -- cards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("map_name", "obs", "x"), [
    ("academy_3_vs_1_with_keeper", 26, 48), ("academy_run_pass_and_shoot_with_keeper", 22, 43),
])  # fmt: skip
def test_the_papers_tasks_have_cards_without_the_engine(monkeypatch, map_name, obs, x):
    monkeypatch.setitem(sys.modules, "gfootball", None)
    card = task_card("gfootball", settings(map_name=map_name))
    assert (len(card.obs), len(card.state), len(card.x_dims()), card.actions) == (obs, obs, x, ACTIONS)
    assert card.task == f"{map_name}-150t" == task_id("gfootball", card.settings)
    assert SCENARIOS[map_name].start in card.goal and "own half" in card.goal
    assert all(np.isfinite([d.low, d.high]).all() and d.low < d.high for d in (*card.obs, *card.state))


@pytest.mark.parametrize(
    ("changes", "suffix"),
    [
        ({}, ""),
        ({"n_agents": 4}, "-4a"),
        ({"reward_goal": 1, "reward_lost": 0}, "-r1_0"),
        ({"ends_in_own_half": False}, "-whole"),
        ({"ends_in_own_half": True}, "-half"),
    ],
)
def test_what_differs_from_the_papers_form_is_in_the_tasks_name(changes, suffix):
    assert task_id("gfootball", settings(map_name="academy_corner", **changes)) == f"academy_corner-150t{suffix}"


def test_the_card_of_any_other_scenario_comes_from_the_engine(engine):
    card = task_card("gfootball", settings(map_name="two_vs_two"))
    assert card.n_agents == 2 and [d.name for d in card.obs[8:10]] == ["opponent0[x]", "opponent0[y]"]


def test_the_score_is_the_share_of_episodes_won():
    score = task_score("gfootball", settings())
    assert (score.key, score.low, score.high) == ("success_mean", 0, 1)


# -- with the engine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("map_name", [*SCENARIOS, "academy_counterattack_easy"])
def test_scenarios_keep_every_promise(map_name):
    pytest.importorskip("gfootball")
    env_args = settings(map_name=map_name, time_limit=40)
    assert check_env(subject_of("gfootball", ENTRIES["gfootball"], env_args, n_episodes=2)) == []


def test_the_actions_are_those_of_the_package():
    pytest.importorskip("gfootball")
    from gfootball.env import football_action_set as package_actions

    assert tuple(str(action) for action in package_actions.action_set_dict["default"]) == ACTIONS


def test_the_start_is_the_one_that_the_card_tells():
    pytest.importorskip("gfootball")
    for map_name, with_ball in (("academy_3_vs_1_with_keeper", 0), ("academy_run_pass_and_shoot_with_keeper", 1)):
        env = one(map_name=map_name)
        env.reset()
        card = task_card("gfootball", settings(map_name=map_name))
        at = {d.name: d.index for d in card.state}
        places = {
            name: env.get_state()[[at[f"{name}[x]"], at[f"{name}[y]"]]] for name in ("keeper", "defender", "ball")
        }
        assert places["keeper"][0] > 0.9 and places["defender"] == pytest.approx([0.75, -0.1 * with_ball], abs=0.02)
        near = [np.linalg.norm(own[:2] - places["ball"]) for own in env.get_obs()]
        assert np.argmin(near) == with_ball and near[with_ball] < 0.05
        env.close()


def test_every_agent_keeps_its_player():
    pytest.importorskip("gfootball")
    match = gfootball_game.Match("academy_3_vs_1_with_keeper", None)
    rng = np.random.default_rng(0)
    for seed in range(4):
        raw, is_done = match.reset(seed), False
        while not is_done:
            assert raw["left_agent_controlled_player"] == [1, 2, 3]
            raw, _, is_done = match.step(rng.integers(0, 19, 3).tolist())
    match.close()


def test_an_unknown_scenario_names_those_of_the_package():
    pytest.importorskip("gfootball")
    with pytest.raises(TaskError, match="academy_3_vs_1_with_keeper, academy_corner"):
        one(map_name="academy_4_vs_0")


def test_a_match_that_dies_in_mid_episode_is_told():
    pytest.importorskip("gfootball")
    make = partial(make_one, "gfootball", ENTRIES["gfootball"], seed=5, **settings())
    pool = WorkerPool("gfootball", [make], [5])
    pool.reset()
    pool.step(np.zeros((1, 3), np.int64))
    os.kill(pool.pids[0], signal.SIGABRT)
    with pytest.raises(EnvWorkerError, match=r"Env worker 0 \(gfootball, seed 5\) at step 1 was killed by SIGABRT"):
        pool.step(np.zeros((1, 3), np.int64))
