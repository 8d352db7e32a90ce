"""SMAC's scripted team (``heuristic_ai``): whom it attacks and heals, how it moves, and what agents see of it."""

from __future__ import annotations

import numpy as np
import pytest
from sc2_states import env_args

from envs.battle.simulator import ATTACK, HEAL, KEEP, MOVE
from envs.battle.units import UNIT_INDEX
from envs.sc2 import Sc2Env, Sc2V2Env
from epymarl_lmac.errors import ActionError
from epymarl_lmac.record.identity import run_id, settings_hash
from epymarl_lmac.settings import merge
from epymarl_lmac.tasks import task_card, task_id

FAR = 30  # cells to the east, out of everybody's range


def make(map_name: str = "3m", num_envs: int = 1, **changes: object) -> Sc2Env:
    """Battles that the script plays, agents at (9, 16), enemies far away."""
    v2 = map_name.startswith(("terran", "zerg"))
    args = env_args("sc2v2" if v2 else "sc2", map_name=map_name, heuristic_ai=True, **changes)
    env = (Sc2V2Env if v2 else Sc2Env)(num_envs, 0, **args)
    for b in range(num_envs):
        n = env.n_agents
        write(env, b, x=[9] * n + [FAR] * (len(env.read_battle(b)["x"]) - n), y=16)
    return env


def write(env: Sc2Env, battle: int, **columns: object) -> None:
    """Writes whole columns of a battle; this is an episode's first state, so the script's targets are forgotten."""
    n_slots = len(env.read_battle(battle)["x"])
    env.write_battle(battle, {name: np.broadcast_to(value, n_slots) for name, value in columns.items()})


def change(env: Sc2Env, slot: int, battle: int = 0, **values: float) -> None:
    """Changes a unit within the episode."""
    for name, value in values.items():
        getattr(env._table, name)[battle, slot] = value


def step(env: Sc2Env) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plays a step of stops; returns kind, target and point of the agents' orders."""
    env.step(np.ones((env.num_envs, env.n_agents), np.int64))
    return tuple(env._simulator.orders[-1])


# -- targets -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("still_battles")
def test_everybody_attacks_the_nearest_enemy_wherever_it_is():
    env = make(num_envs=2)
    change(env, 5, battle=0, y=17)
    write(env, 1, x=[9, 9, 9, 20, 15, 9], y=[8, 16, 24, 8, 16, 24])
    kind, target, _ = step(env)
    assert (kind == ATTACK).all()
    assert target.tolist() == [[3, 3, 3], [4, 4, 5]]  # slots; of several equally near the first
    assert env.scripted_team.target_BN.tolist() == [[0, 0, 0], [1, 1, 2]]
    assert env.scripted_team.actions_BN.tolist() == [[6, 6, 6], [7, 7, 8]]


@pytest.mark.usefixtures("still_battles")
def test_a_target_is_kept_until_it_is_dead():
    env = make()
    step(env)
    change(env, 4, x=10)
    assert step(env)[1].tolist() == [[3, 3, 3]]
    change(env, 3, alive=False, health=0)
    assert step(env)[1].tolist() == [[4, 4, 4]]


@pytest.mark.usefixtures("still_battles")
def test_a_new_battle_has_new_targets():
    env = make(num_envs=2)
    for b in range(2):
        change(env, 5, battle=b, x=10)
    step(env)
    env.reset(np.array([False, True]))
    assert env.scripted_team.target_BN.tolist() == [[2, 2, 2], [-1, -1, -1]]
    write(env, 0, y=16)
    assert (env.scripted_team.target_BN == -1).all()


@pytest.mark.usefixtures("still_battles")
def test_the_dead_and_ended_battles_get_no_orders():
    env = make(num_envs=2)
    change(env, 1, battle=0, alive=False, health=0)
    rows = env.read_battle(1)
    rows["alive"][3:] = False
    env.step_to(1, np.ones(3, np.int64), rows)
    assert step(env)[0].tolist() == [[ATTACK, KEEP, ATTACK], [KEEP, KEEP, KEEP]]
    assert env.scripted_team.actions_BN.tolist() == [[6, 0, 6], [0, 0, 0]]


@pytest.mark.usefixtures("still_battles")
def test_a_medivac_heals_the_nearest_hurt_agent_until_it_is_whole():
    env, medivac = make("MMM"), 9
    assert step(env)[0][0, medivac] == KEEP and env.scripted_team.actions_BN[0, medivac] == 0  # nobody is hurt
    change(env, 3, x=12, health=1)
    change(env, 5, x=14, health=1)
    kind, target, _ = step(env)
    assert (kind[0, medivac], target[0, medivac], env.scripted_team.actions_BN[0, medivac]) == (HEAL, 3, 6 + 3)
    change(env, 4, health=1)  # nearer now, but it keeps to the one before
    change(env, medivac, health=1)  # and never heals itself
    assert step(env)[1][0, medivac] == 3
    change(env, 3, health=45)
    assert step(env)[1][0, medivac] == 4
    change(env, 4, alive=False, health=0)
    assert step(env)[1][0, medivac] == 5


@pytest.mark.usefixtures("still_battles")
@pytest.mark.parametrize("map_name", ["MMM", "terran_5_vs_5"])
def test_a_marauder_keeps_to_a_medivac_as_smacs_code_lets_it(map_name):
    env = make(map_name)
    rows, n = env.read_battle(0), env.n_agents
    marauder = int(np.flatnonzero(rows["unit_type"][:n] == UNIT_INDEX["Marauder"])[0])
    change(env, n, unit_type=UNIT_INDEX["Medivac"], x=20)
    kind, target, _ = step(env)
    assert (kind[0, marauder], target[0, marauder]) == (ATTACK, n)


# -- heuristic_rest ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("still_battles")
@pytest.mark.parametrize(
    ("dx", "dy", "action"),
    [(8, 7, 4), (-8, 7, 5), (7, 8, 2), (7, -8, 3), (7, 7, 2), (7, -7, 3), (6, 0, None), (6.01, 0, 4)],
)
def test_a_restricted_team_walks_along_the_longer_axis_to_targets_out_of_range(dx, dy, action):
    env = make(heuristic_rest=True)
    write(env, 0, x=[16] * 3 + [16 + dx] * 3, y=[16] * 3 + [16 + dy] * 3)
    kind, target, point = step(env)
    if action is None:
        assert (kind[0, 0], target[0, 0]) == (ATTACK, 3)
        return
    way = {2: (0, 2), 3: (0, -2), 4: (2, 0), 5: (-2, 0)}[action]
    assert kind[0, 0] == MOVE and point[0, 0].tolist() == [16 + way[0], 16 + way[1]]
    assert env.scripted_team.actions_BN[0, 0] == action and env.scripted_team.target_BN[0, 0] == 0


@pytest.mark.usefixtures("still_battles")
def test_a_restricted_team_walks_against_walls():
    env = make(heuristic_rest=True)
    write(env, 0, x=9, y=[24.5] * 3 + [31] * 3)  # rows from 25 on are walls
    assert not env.avail_BNA[0, 0, 2]
    kind, _, point = step(env)
    assert kind[0, 0] == MOVE and point[0, 0].tolist() == [9, 26.5]


@pytest.mark.usefixtures("still_battles")
def test_a_restricted_medivac_walks_to_the_hurt():
    env = make("MMM", heuristic_rest=True)
    rows = env.read_battle(0)
    rows["y"][3], rows["health"][3] = 8, 1
    env.write_battle(0, rows)
    kind, _, point = step(env)
    assert kind[0, 9] == MOVE and point[0, 9].tolist() == [9, 14]


# -- given actions -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("still_battles")
def test_given_actions_do_nothing_but_are_seen_as_the_last_ones():
    env = make(obs_last_action=True)
    given = np.array([[8, 3, 0]])  # out of range; fine; not for the living
    before = given.copy()
    env.step(given)
    assert (env._simulator.orders[-1][0] == ATTACK).all()
    np.testing.assert_array_equal(given, before)
    names = [d.name for d in task_card("sc2", env_args("sc2", map_name="3m", obs_last_action=True)).state]
    shown = {name for name, value in zip(names, env.state_BS[0], strict=True) if "last_action" in name and value}
    last = enumerate(("attack enemy 2", "move south", "no-op"))
    assert shown == {f"agent{i}_last_action[{name}]" for i, name in last}


@pytest.mark.usefixtures("still_battles")
@pytest.mark.parametrize("strict", [True, False])
def test_given_actions_must_exist(strict):
    env = make(strict_actions=strict)
    with pytest.raises(ActionError, match=r"action 9 does not exist; expected 0\.\.8"):
        env.step(np.array([[1, 9, 1]]))


@pytest.mark.usefixtures("still_battles")
def test_looks_do_not_turn():
    env = make("terran_5_vs_5", conic_fov=True)
    env.step(np.full((1, 5), 6 + 3))
    assert (env._observer.look_BN2 == [1, 0]).all()


# -- battles, records, cards -------------------------------------------------------------------------------------


def test_the_team_crosses_the_map_and_fights():
    env = Sc2Env(4, 0, **env_args("sc2", map_name="2s3z", heuristic_ai=True))
    won_B = np.zeros(4, np.bool_)
    for _ in range(env.episode_limit):
        won_B |= env.step(np.zeros((4, 5), np.int64)).info["battle_won"] > 0
    assert won_B.all()


def test_a_restricted_team_plays_another_battle():
    ends = []
    for rest in (False, True):
        env = Sc2Env(1, 0, **env_args("sc2", map_name="2s3z", heuristic_ai=True, heuristic_rest=rest))
        for _ in range(8):
            env.step(np.zeros((1, 5), np.int64))
        ends.append(env.read_battle(0)["y"])
    assert not np.array_equal(*ends)


def test_a_restored_team_keeps_its_targets_and_plays_on_equally():
    args = env_args("sc2", map_name="2s3z", heuristic_ai=True)
    first, second = Sc2Env(3, 0, **args), Sc2Env(3, 1, **args)
    actions = np.zeros((3, 5), np.int64)
    for _ in range(6):
        first.step(actions)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(second.scripted_team.target_BN, first.scripted_team.target_BN)
    for _ in range(12):
        assert np.array_equal(first.step(actions).reward_B, second.step(actions).reward_B)
        np.testing.assert_array_equal(first.obs_BNO, second.obs_BNO)


def test_a_saved_state_of_a_team_without_a_script_is_refused():
    plain, scripted = Sc2Env(1, 0, **env_args("sc2")), Sc2Env(1, 0, **env_args("sc2", heuristic_ai=True))
    assert not any(name.startswith("scripted_team.") for name in plain.state_dict())
    with pytest.raises(ValueError, match=r"scripted_team\.target_BN"):
        scripted.load_state_dict(plain.state_dict())


@pytest.mark.parametrize("env", ["sc2", "sc2v2"])
def test_runs_that_differ_in_the_options_are_told_apart(env):
    runs = [[], ["env_args.heuristic_ai=True"], ["env_args.heuristic_ai=True", "env_args.heuristic_rest=True"]]
    settings = [merge("qmix", env, [*updates, "seed=1"]) for updates in runs]
    names = [task_id(env, one["env_args"]) for one in settings]
    for told in ([settings_hash(one) for one in settings], [run_id(one) for one in settings], names):
        assert len(set(told)) == 3
    assert names[2].endswith("-heuristic_ai_true-heuristic_rest_true")


def test_the_goal_tells_who_leads_the_agents():
    goals = [
        task_card("sc2", env_args("sc2", map_name="MMM", heuristic_ai=ai, heuristic_rest=rest)).goal
        for ai, rest in ((False, False), (True, False), (True, True))
    ]
    assert ["script" in goal for goal in goals] == [False, True, True]
    assert ["approached by moves" in goal for goal in goals] == [False, False, True]
    assert "a Medivac heals the nearest hurt agent" in goals[1]
