"""A battle depends on the seed and its number alone, continues to the bit, and goes on after its table is written."""

from __future__ import annotations

import numpy as np
import pytest
from arena import MOVE, Simulator, battle, everyone, no_orders, place

from envs.battle.maps import load_map
from epymarl_lmac.errors import TaskError


def random_orders(sim, rng):
    """Orders of every kind for every battle, drawn for 3 battles, so that battle b's do not depend on their number."""
    n, m = sim.table.n_allies, sim.table.n_enemies
    kind, target = rng.integers(5, size=(3, n)), n + rng.integers(m, size=(3, n))
    target[kind == 4] -= m
    point = rng.uniform(0, 32, (3, n, 2))
    return kind, target, point


def play(sim, steps, battles, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        orders = no_orders(sim.num_envs, sim.table.n_allies)
        for array, drawn in zip(orders, random_orders(sim, rng), strict=True):
            array[:] = drawn[battles]
        sim.step(orders)
    return {name: column.copy() for name, column in sim.table.columns().items()}


@pytest.mark.parametrize("name", ["bane_vs_hM", "MMM", "zerg_5_vs_5"])
def test_a_battle_plays_the_same_alone_and_among_others(name):
    many = play(Simulator(load_map(name), 3, seed=7), 25, [0, 1, 2])
    one = play(Simulator(load_map(name), 1, seed=7), 25, [0])
    assert many["health"].min() < many["health_max"].min()
    for column in many:
        assert np.array_equal(many[column][:1], one[column]), column


def test_two_runs_of_a_seed_are_equal_and_seeds_differ():
    runs = [play(Simulator(load_map("1o_10b_vs_1r"), 3, seed), 10, [0, 1, 2]) for seed in (1, 1, 2)]
    assert np.array_equal(runs[0]["x"], runs[1]["x"]) and not np.array_equal(runs[0]["x"], runs[2]["x"])


@pytest.mark.parametrize("lead", ["script", "mixed"])
def test_a_saved_battle_continues_to_the_bit(lead):
    battle_map = load_map("MMM")
    sim = Simulator(battle_map, 3, 5, opponent=lead)
    play(sim, 12, [0, 1, 2])
    saved = sim.state_dict()
    expected = play(sim, 15, [0, 1, 2], seed=9)
    sim.reset()
    expected_reset = sim.table.x.copy()
    other = Simulator(battle_map, 3, 99, opponent=lead)
    other.load_state_dict(saved)
    continued = play(other, 15, [0, 1, 2], seed=9)
    for column, value in expected.items():
        assert np.array_equal(value, continued[column]), column
    other.reset()
    assert np.array_equal(expected_reset, other.table.x)


def test_a_foreign_state_is_refused_and_changes_nothing():
    sim = battle([("Marine", 1)], [("Marine", 1)])
    state = sim.state_dict()
    with pytest.raises(ValueError, match="saved array"):
        battle([("Marine", 2)], [("Marine", 1)]).load_state_dict(state)
    with pytest.raises(ValueError, match="expected"):
        sim.load_state_dict({})


def test_reset_and_step_touch_only_the_battles_they_are_told():
    sim = Simulator(load_map("1o_10b_vs_1r"), 3, seed=1)
    start = sim.table.x.copy()
    sim.reset(np.array([False, True, False]))
    assert (sim.table.x[[0, 2]] == start[[0, 2]]).all() and (sim.table.x[1] != start[1]).any()
    start = sim.table.x.copy()
    sim.step(everyone(sim, MOVE, point=(16, 16)), active_B=np.array([True, False, True]))
    assert (sim.table.x[1] == start[1]).all() and (sim.table.x[0] != start[0]).any()


def test_allies_are_in_agent_order_and_start_where_the_map_says():
    sim = Simulator(load_map("1o_10b_vs_1r"), 50, seed=1)
    t = sim.table
    assert (np.diff(t.x[:, :10], axis=1) >= 0).all()  # ten Banelings by x, then the Overlord
    assert np.array_equal(np.unique(t.unit_type[:, :10]).size, 1) and (t.unit_type[:, 10] != t.unit_type[:, 0]).all()
    corners = {(3.5, 2.0), (3.5, 28.86), (28.5, 28.0), (28.5, 2.0)}
    at = {(round(float(x), 2), round(float(y), 2)) for x, y in zip(t.x[:, 10], t.y[:, 10], strict=True)}
    assert at == corners
    # The Roach waits at the nearest place where it can stand: the southern corners lie in the border.
    assert (np.hypot(t.x[:, 11] - t.x[:, 10], t.y[:, 11] - t.y[:, 10]) < 2.0).all()
    assert load_map("1o_10b_vs_1r").walkable[t.x[:, 11].astype(int), t.y[:, 11].astype(int)].all()


def test_generated_teams_mirror_each_other_in_types():
    sim = Simulator(load_map("protoss_5_vs_5"), 200, seed=3)
    kinds = sim.table.unit_type
    assert np.array_equal(np.sort(kinds[:, :5], 1), np.sort(kinds[:, 5:], 1))
    _names, counts = np.unique(kinds, return_counts=True)
    shares = counts / counts.sum()
    assert np.sort(shares) == pytest.approx([0.1, 0.45, 0.45], abs=0.05)
    is_surround = np.hypot(sim.table.x[:, :5] - 16, sim.table.y[:, :5] - 16).max(1) < 5
    assert is_surround.mean() == pytest.approx(0.5, abs=0.1)


def test_written_units_are_read_back_and_stand_idle():
    sim = battle([("Marine", 1)], [("Marine", 1)])
    sim.step(everyone(sim, MOVE, point=(20, 16)))
    rows = sim.table.get_battle(0)
    rows["x"][:] = [5, 28]
    rows["health"][:] = [7, 9]
    sim.table.set_battle(0, rows)
    assert sim.table.x[0].tolist() == [5, 28] and sim.table.health[0].tolist() == [7, 9]
    sim.step(no_orders(1, 1))
    assert sim.table.x[0].tolist() == [5, 28] and sim.table.health[0].tolist() == [7, 9]


def test_a_written_unit_type_brings_its_weapons_and_speed():
    sim = battle([("Marine", 1)], [("Overlord", 1)])
    baneling = sim.table.unit_type.copy()[0]
    baneling[0] = 8
    place(sim, [(5, 16), (28, 28)], unit_type=baneling)
    sim.step(everyone(sim, MOVE, point=(20, 16)))
    assert sim.table.x[0, 0] == pytest.approx(5 + 1.25, abs=1e-3)


@pytest.mark.parametrize(
    "rows, message",
    [
        ({"speed": np.zeros(2)}, "does not exist"),
        ({"x": np.zeros(3)}, "shape"),
        ({"x": np.array([np.nan, 0])}, "finite"),
        ({"owner": np.array([2, 2])}, "owner"),
        ({"unit_type": np.array([0, 99])}, "unit_type"),
    ],
)
def test_wrong_rows_are_refused_and_change_nothing(rows, message):
    sim = battle([("Marine", 1)], [("Marine", 1)])
    before = sim.state_dict()
    with pytest.raises(TaskError, match=message):
        sim.table.set_battle(0, rows)
    assert all(np.array_equal(value, before[name]) for name, value in sim.state_dict().items())


def test_wrong_battles_masks_orders_and_opponents_are_refused():
    sim = battle([("Marine", 1)], [("Marine", 1)], num_envs=2)
    with pytest.raises(TaskError, match="battle 2"):
        sim.table.get_battle(2)
    with pytest.raises(TaskError, match="mask"):
        sim.reset(np.array([True]))
    with pytest.raises(TaskError, match="kind_BN"):
        sim.step(no_orders(2, 3))
    with pytest.raises(TaskError, match="opponent='smart'"):
        battle([("Marine", 1)], [("Marine", 1)], lead="smart")
    with pytest.raises(TaskError, match="num_envs=0"):
        battle([("Marine", 1)], [("Marine", 1)], num_envs=0)
