"""Traffic junction: hand-worked steps, arrivals, routes, curriculum, observations, impossible settings."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest
from grid_cases import HARD, MEDIUM, make, settings

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks import task_id
from epymarl_lmac.tasks.traffic_routes import road_blocks, routes

GAS, BRAKE = 0, 1
OUT = [0, -1, 0, 0, 0]  # a car that is not in the system: alive, route, place, wait, last


def put(env, *cars):
    """Puts cars on the road of every copy: rows of (alive, route, place, wait, last)."""
    state = env.state_dict()
    state["cars_BN5"][:] = OUT
    state["cars_BN5"][:, : len(cars)] = cars
    env.load_state_dict(state)


def cars(env, copy=0):
    return env.state_dict()["cars_BN5"][copy].tolist()


def test_waiting_costs_more_with_every_step_and_brakes_are_remembered():
    env = make("traffic_junction", players=2, add_rate=0.0)
    put(env, [1, 0, 1, 4, 0])
    result = env.step(np.array([[GAS, GAS]]))
    assert result.reward_B[0] == pytest.approx(-0.05) and cars(env)[0] == [1, 0, 2, 5, 0]
    result = env.step(np.array([[BRAKE, GAS]]))
    assert result.reward_B[0] == pytest.approx(-0.06) and cars(env)[0] == [1, 0, 2, 6, 1]
    assert env.obs_BNO[0, 0, 0] == 1 and not env.obs_BNO[0, 1].any()


def test_cars_in_one_cell_cost_ten_each_until_they_part():
    env = make("traffic_junction", players=3, add_rate=0.0)
    put(env, [1, 0, 2, 2, 0], [1, 1, 2, 2, 0])  # one step before the crossing, from the top and from the left
    result = env.step(np.array([[GAS, GAS, GAS]]))
    assert result.reward_B[0] == pytest.approx(-20.06) and result.info["success"][0] == 0
    np.testing.assert_allclose(env.player_reward_BN[0], [-10.03, -10.03, 0])
    assert "*2" in env.render(0)
    result = env.step(np.array([[GAS, BRAKE, GAS]]))
    assert result.reward_B[0] == pytest.approx(-0.08)
    assert result.info["success"][0] == 0  # the episode has failed for good


def test_a_car_that_waits_lets_the_other_pass():
    env = make("traffic_junction", players=2, add_rate=0.0)
    put(env, [1, 0, 2, 2, 0], [1, 1, 2, 2, 0])
    assert env.step(np.array([[GAS, BRAKE]])).info["success"][0] == 1
    assert env.step(np.array([[GAS, GAS]])).info["success"][0] == 1


def test_a_car_leaves_at_the_end_of_its_route_and_its_agent_can_only_choose_gas():
    env = make("traffic_junction", players=2, add_rate=0.0)
    put(env, [1, 0, 6, 9, 1])
    assert env.avail_BNA[0].tolist() == [[1, 1], [1, 0]] and env.alive_BN[0].tolist() == [1, 0]
    result = env.step(np.array([[GAS, GAS]]))
    assert result.reward_B[0] == 0 and not env.obs_BNO.any()
    assert env.avail_BNA[0].tolist() == [[1, 0], [1, 0]] and not env.alive_BN.any()
    assert cars(env)[0] == [0, -1, 0, 0, 1]  # its last action is shown again when it comes back


def test_cars_arrive_at_every_arrival_point_as_long_as_cars_are_left():
    env = make("traffic_junction", players=3, add_rate=1.0)
    assert not env.alive_BN.any()
    env.step(np.zeros((1, 3), int))
    assert env.alive_BN.sum() == 2 and sorted(car[1] for car in cars(env) if car[0]) == [0, 1]
    env.step(np.zeros((1, 3), int))
    assert env.alive_BN.sum() == 3
    env.step(np.zeros((1, 3), int))
    assert env.alive_BN.sum() == 3


def test_arrivals_are_as_frequent_as_the_rate_says_and_choose_cars_and_routes_evenly():
    env = make("traffic_junction", 8000, **{**MEDIUM, "players": 4, "add_rate": 0.25})
    env.step(np.zeros((8000, 4), int))
    state = env.state_dict()["cars_BN5"]
    route = state[..., 1][state[..., 0] == 1]
    n = np.bincount(route, minlength=12)
    # 8,000 copies, 4 arrival points, rate 1/4, 3 routes each: 667 cars a route, standard deviation 25
    assert n.size == 12 and np.abs(n - 8000 / 12).max() < 6 * 25
    by_car = (state[..., 0] == 1).sum(0)
    assert np.abs(by_car - 2000).max() < 6 * 39


def test_roads_and_routes_of_the_easy_form():
    down, right = routes("easy", 6)
    assert down == [[(i, 3) for i in range(7)]] and right == [[(3, i) for i in range(7)]]


def test_turns_of_the_medium_form():
    straight, right, left = routes("medium", 6)[0]  # from the top, on the right-hand lane
    assert straight == [(0, 2), (1, 2), (2, 2), (3, 2), (4, 2), (5, 2)]
    assert right == [(0, 2), (1, 2), (2, 2), (2, 1), (2, 0)]
    assert left == [(0, 2), (1, 2), (2, 2), (3, 2), (3, 3), (3, 4), (3, 5)]


@pytest.mark.parametrize(("difficulty", "size", "per_arrival"), [("medium", 14, 3), ("hard", 18, 7)])
def test_routes_stay_on_roads_and_end_at_the_border(difficulty, size, per_arrival):
    roads = {cell for block in road_blocks(difficulty, size) for cell in block}
    for arrival in routes(difficulty, size):
        assert len({tuple(route) for route in arrival}) == len(arrival) == per_arrival
        for route in arrival:
            assert set(route) <= roads and len(set(route)) == len(route)
            assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in itertools.pairwise(route))
            assert route[-1][0] in (0, size - 1) or route[-1][1] in (0, size - 1)


def test_observation_of_cells_is_one_hot_with_a_count_of_cars():
    env = make("traffic_junction", players=2, add_rate=0.0, vision=1)
    put(env, [1, 0, 2, 2, 0], [1, 1, 2, 2, 1])
    V = env.settings.n_classes
    assert V == 15 and env.obs_dim == 2 + 9 * V
    window = env.obs_BNO[0, 0, 2:].reshape(3, 3, V)
    assert env.obs_BNO[0, 0, :2].tolist() == [0, 0] and env.obs_BNO[0, 1, :2].tolist() == [1, 1]
    kinds = window[..., :13].argmax(-1)
    # rows 1 to 3, columns 2 to 4; road cells: the row 3 is numbered 0 to 6, then the column 3 from 7; 12 is outside
    assert kinds.tolist() == [[12, 8, 12], [12, 9, 12], [2, 10, 4]]
    assert window[1, 1, 14] == 1 and window[2, 0, 14] == 1 and window[..., 14].sum() == 2


def test_observation_of_coordinates():
    env = make("traffic_junction", players=2, add_rate=0.0, vision=0, vocabulary="coordinates")
    put(env, [1, 1, 3, 3, 0], [1, 0, 3, 3, 1])
    np.testing.assert_allclose(env.obs_BNO[0], [[0, 1, 0.5, 0.5, 1, 2], [1, 0, 0.5, 0.5, 1, 2]])


def test_the_curriculum_raises_the_rate_from_episode_to_episode():
    env = make("traffic_junction", 2, add_rate=0.3, curriculum=[0.1, 1, 4])
    rates = []
    for _ in range(6):
        rates.append(float(env.add_rate_B()[0]))
        env.reset(np.array([True, False]))
    # 0.1 up to episode 1, 0.3 from episode 4; in between 0.1667 and 0.2333, rounded down to hundredths
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.16, 0.23, 0.3, 0.3])
    assert env.add_rate_B()[1] == pytest.approx(0.1)
    result = env.step(np.zeros((2, 5), int))
    np.testing.assert_allclose(result.info["add_rate"], [0.3, 0.1])


def test_task_ids():
    assert task_id("traffic_junction", settings("traffic_junction")) == "easy-v0"
    assert task_id("traffic_junction", settings("traffic_junction", **MEDIUM, vision=1)) == "medium-v1"
    changed = settings("traffic_junction", **HARD, vocabulary="coordinates", curriculum=[0.02, 0, 100])
    assert task_id("traffic_junction", changed) == "hard-v0-from0.02e0to100-xy"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"difficulty": "expert"}, "difficulty='expert' is not known"),
        ({"size": 7}, "size=7 is not possible for easy"),
        ({"size": 4, "vision": 1}, "an even number of at least 5"),
        ({**HARD, "size": 20}, "size=20 is not possible for hard"),
        ({**HARD, "size": 6}, "multiple of 3 of at least 9"),
        ({"vision": 2}, "vision=2 is not possible; it must be an integer from 0 to 1"),
        ({"vision": -1}, "vision=-1 is not possible"),
        ({"add_rate": 1.5}, "add_rate=1.5 is not possible"),
        ({"add_rate": float("nan")}, "add_rate=nan is not possible"),
        ({"players": 1}, "players=1 is not possible"),
        ({"max_episode_steps": 0}, "max_episode_steps=0 is not possible"),
        ({"vocabulary": "scalar"}, "vocabulary='scalar' is not known"),
        ({"curriculum": [0.1, 5]}, r"curriculum=\[0.1, 5\] must be null or"),
        ({"curriculum": [0.4, 0, 5]}, r"curriculum\[0\]=0.4 is not possible; it must be a finite number from 0 to 0.3"),
        ({"curriculum": [0.1, 5, 5]}, r"curriculum\[2\]=5 is not possible"),
    ],
)
def test_impossible_settings_are_named(changes, message):
    with pytest.raises(TaskError, match=message):
        make("traffic_junction", **changes)


def test_the_exact_success_of_always_driving_is_what_is_played():
    optimum = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "results" / "grid_tasks" / "optimum.py"))
    best, gas = optimum["easy_success"](size=4, players=3, rate=0.4, steps=8)
    env = make("traffic_junction", 4000, size=4, players=3, add_rate=0.4, max_episode_steps=8)
    for _ in range(8):
        played = env.step(np.zeros((4000, 3), int)).info["success"].mean()
    assert abs(played - gas) < 5 * np.sqrt(gas * (1 - gas) / 4000)
    assert gas < best <= 1
