"""A wrong action is refused with battle, agent, action and reason, and right ones become the orders that SMAC gives."""

from __future__ import annotations

import numpy as np
import pytest
from sc2_states import env_args

from envs.battle.simulator import ATTACK, HEAL, KEEP, MOVE, STOP
from envs.sc2 import Sc2Env, Sc2V2Env
from epymarl_lmac.errors import ActionError

pytestmark = pytest.mark.usefixtures("still_battles")


def _env(map_name: str = "3m", **changes: object) -> Sc2Env:
    """Two battles in which agents stand at (9, 16) and enemies 5 cells east of them."""
    v2 = map_name.startswith("terran")
    env = (Sc2V2Env if v2 else Sc2Env)(2, 0, **env_args("sc2v2" if v2 else "sc2", map_name=map_name, **changes))
    for b in range(2):
        rows = env.read_battle(b)
        rows["x"][:], rows["y"][:] = 9, 16
        rows["x"][env.n_agents :] = 14
        env.write_battle(b, rows)
    return env


def _change(env: Sc2Env, battle: int, slot: int, **values: float) -> None:
    rows = env.read_battle(battle)
    for key, value in values.items():
        rows[key][slot] = value
    env.write_battle(battle, rows)


def _stop(env: Sc2Env) -> np.ndarray:
    return np.where(env.avail_BNA[:, :, 1] > 0, 1, 0)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.ones((2, 4), int), r"shape \(2, 4\); expected \(2, 3\)"),
        (np.ones((2, 3)), "of type float64; expected integers"),
        (np.array([[1, 1, 1], [1, 9, 1]]), r"battle 1, agent 1: action 9 does not exist; expected 0\.\.8"),
        (np.array([[1, -1, 1], [1, 1, 1]]), "battle 0, agent 1: action -1 does not exist"),
        (np.array([[1, 1, 0], [1, 1, 1]]), "battle 0, agent 2: action 0 .*only dead agents may choose no-op"),
    ],
)
def test_actions_that_do_not_fit_are_refused_and_change_nothing(actions, message):
    env = _env()
    before = {name: array.copy() for name, array in env.state_dict().items()}
    with pytest.raises(ActionError, match=message):
        env.step(actions)
    for name, array in env.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize(
    ("slot", "values", "action", "message"),
    [
        (4, {"alive": False}, 7, r"action 7 \(attack enemy 1\) is not available: enemy 1 is dead"),
        (4, {"x": 15.5}, 7, r"enemy 1 is 6\.500 away; it must be at most 6"),
        (0, {"alive": False}, 1, r"the agent is dead and can only choose 0 \(no-op\)"),
        (0, {"y": 7.5}, 3, r"the cell of \(9\.00, 6\.50\) is outside the map or cannot be walked on"),
    ],
)
def test_an_unavailable_action_is_refused_with_its_reason(slot, values, action, message):
    env = _env()
    _change(env, 1, slot, **values)
    actions = _stop(env)
    actions[1, 0] = action
    with pytest.raises(ActionError, match="battle 1, agent 0: " + ".*" + message) as caught:
        env.step(actions)
    assert (caught.value.battle, caught.value.agent) == (1, 0)


def test_without_strict_actions_an_unavailable_action_is_stop_and_no_op_for_the_dead():
    env = _env(strict_actions=False)
    _change(env, 0, 0, alive=False)
    env.step(np.full((2, 3), 0))
    kind, _, _ = env._simulator.orders[-1]
    assert kind.tolist() == [[KEEP, STOP, STOP], [STOP, STOP, STOP]]
    env.step(np.array([[5, 1, 1], [1, 1, 1]]))
    assert env._observer.last_BN[0].tolist() == [0, 1, 1]


def test_actions_become_orders():
    env = _env()
    env.step(np.array([[2, 3, 4], [5, 6, 8]]))
    kind, target, point = env._simulator.orders[-1]
    assert kind.tolist() == [[MOVE, MOVE, MOVE], [MOVE, ATTACK, ATTACK]]
    assert point[0].tolist() == [[9, 18], [9, 14], [11, 16]] and point[1, 0].tolist() == [7, 16]
    assert target[1, 1:].tolist() == [3, 5]  # slots: enemies come after the three agents


def test_a_move_goes_as_far_as_it_is_set_to_and_looks_half_as_far():
    env = _env(move_amount=5)
    env.step(np.array([[2, 3, 4], [5, 1, 1]]))
    assert env._simulator.orders[-1][2][:, 0].tolist() == [[9, 21], [4, 16]]
    _change(env, 1, 0, y=9.4)  # row 6 is wall, row 7 is not
    assert not env.avail_BNA[1, 0, 3] and _env().avail_BNA[1, 0, 3]
    actions = _stop(env)
    actions[1, 0] = 3
    with pytest.raises(ActionError, match=r"the cell of \(9\.00, 6\.90\) is outside the map or cannot be walked on"):
        env.step(actions)


def test_a_medivac_heals_agents_where_others_attack_enemies():
    env = _env("MMM")
    assert env.avail_BNA[0, 9, 6:].tolist() == [1] * 9 + [0]  # every agent but the Medivac itself
    actions = _stop(env)
    actions[:, 9], actions[:, 8] = 8, 8
    env.step(actions)
    kind, target, _ = env._simulator.orders[-1]
    assert (kind[0, 9], target[0, 9]) == (HEAL, 2) and (kind[0, 8], target[0, 8]) == (ATTACK, 12)
    actions[0, 9] = 15
    with pytest.raises(ActionError, match=r"agent 9: action 15 .* Medivacs cannot be healed"):
        env.step(actions)


def test_ended_battles_ignore_their_actions():
    env = _env()
    rows = env.read_battle(0)
    rows["alive"][3:] = False
    result = env.step_to(0, np.array([1, 1, 1]), rows)
    assert result.terminated_B.tolist() == [True, False] and result.info["battle_won"].tolist() == [1, 0]
    later = env.step(np.array([[99, -5, 0], [1, 1, 1]]))
    assert later.reward_B[0] == 0 and not later.terminated_B[0]


def test_look_actions_turn_the_view_and_give_no_order():
    env = _env("terran_5_vs_5", conic_fov=True)
    actions = _stop(env)
    actions[0, 0] = 6 + 3  # a quarter turn: north
    env.step(actions)
    assert env._simulator.orders[-1][0][0, 0] == KEEP
    np.testing.assert_allclose(env._observer.look_BN2[0, 0], [0, 1], atol=1e-12)
    assert not env.avail_BNA[0, 0, env.settings.first_attack :].any()  # the enemies are in the east


def test_without_action_mask_orders_out_of_range_are_dropped():
    env = _env("terran_5_vs_5", action_mask=False)
    marine = int(np.flatnonzero(env.avail_BNA[0, :, 6])[0])
    _change(env, 0, 5, x=31)
    actions = _stop(env)
    actions[0, marine] = 6
    env.step(actions)
    assert env._simulator.orders[-1][0][0, marine] == KEEP
