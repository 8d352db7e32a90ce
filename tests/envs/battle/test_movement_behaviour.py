"""Movement: speeds, walls, paths around them, bodies that do not overlap, idle units that give way."""

from __future__ import annotations

import numpy as np
import pytest
from arena import MOVE, STOP, Simulator, arena, battle, each, everyone, no_orders, place

from envs.battle.maps import load_map
from envs.battle.units import UNIT_NAMES, UNIT_TYPES

TOLERANCE = 0.75  # share of the separation that two bodies keep at least; crowds are pushed apart over a few loops


def distances(sim, b=0):
    t = sim.table
    return np.hypot(t.x[b][:, None] - t.x[b], t.y[b][:, None] - t.y[b])


@pytest.mark.parametrize("name", [n for n, u in UNIT_TYPES.items() if not u.is_air and not u.turns_first])
def test_ground_units_walk_at_full_speed_at_once(name):
    sim = battle([(name, 1)], [("Marine", 1)])
    place(sim, [(4, 16), (30, 30)])
    for step in range(1, 5):
        sim.step(everyone(sim, MOVE, point=(sim.table.x[0, 0] + 2, 16)))
        assert sim.table.x[0, 0] == pytest.approx(4 + step * UNIT_TYPES[name].speed / 2, abs=1e-3)


@pytest.mark.parametrize("loops", [1, 4, 16])
def test_a_step_has_as_many_loops_as_asked_for(loops):
    sim = Simulator(arena([("Marine", 1)], [("Overlord", 1)]), 1, 0, step_mul=loops)
    place(sim, [(4, 16), (30, 30)])
    sim.step(everyone(sim, MOVE, point=(20, 16)))
    assert sim.table.x[0, 0] == pytest.approx(4 + UNIT_TYPES["Marine"].speed * loops / 16, abs=1e-3)


def test_the_ultralisk_turns_before_it_walks():
    sim = battle([("Ultralisk", 1)], [("Overlord", 1)])
    place(sim, [(16, 16), (30, 16)])  # it faces east
    sim.step(everyone(sim, MOVE, point=(10, 16)))
    assert sim.table.x[0, 0] > 15.8  # 180 degrees at 22.5 a loop
    sim.step(everyone(sim, MOVE, point=(10, 16)))
    assert sim.table.x[0, 0] == pytest.approx(16 - 1.125, abs=0.15)


def test_air_units_speed_up_and_fly_over_walls():
    walkable = np.ones((32, 32), bool)
    walkable[10:20] = False
    sim = Simulator(arena([("Medivac", 1)], [("Marine", 1)], walkable=walkable), 1, 0)
    place(sim, [(8, 16), (30, 30)])
    x = [8.0]
    for _ in range(12):
        sim.step(everyone(sim, MOVE, point=(26, 16)))
        x.append(float(sim.table.x[0, 0]))
    gains = np.diff(x)
    assert gains[0] < 0.4 and gains[1] > gains[0]  # 2.31 cells a second squared
    assert gains[4:].max() == pytest.approx(1.375, abs=0.01)


def test_the_overlord_covers_a_quarter_cell_a_step():
    sim = battle([("Overlord", 1)], [("Marine", 1)])
    place(sim, [(8, 16), (30, 30)])
    for _ in range(10):
        sim.step(everyone(sim, MOVE, point=(20, 16)))
    assert sim.table.x[0, 0] - 8 == pytest.approx(10 * 0.234, abs=0.15)


def test_stop_ends_a_move():
    sim = battle([("Marine", 1)], [("Overlord", 1)])
    place(sim, [(8, 16), (30, 30)])
    sim.step(everyone(sim, MOVE, point=(20, 16)))
    sim.step(everyone(sim, STOP))
    before = sim.table.x[0, 0]
    sim.step(no_orders(1, 1))
    assert sim.table.x[0, 0] == before


def test_a_unit_finds_its_way_around_a_wall():
    walkable = np.ones((32, 32), bool)
    walkable[16, 4:28] = False
    sim = Simulator(arena([("Marine", 1)], [("Overlord", 1)], walkable=walkable), 1, 0)
    place(sim, [(12.5, 14.5), (30, 30)])
    for _ in range(40):
        sim.step(everyone(sim, MOVE, point=(20.5, 14.5)))
    assert np.hypot(sim.table.x[0, 0] - 20.5, sim.table.y[0, 0] - 14.5) < 0.1


def test_a_point_inside_a_wall_stands_for_the_nearest_place_outside():
    walkable = np.ones((32, 32), bool)
    walkable[14:20, 10:22] = False
    sim = Simulator(arena([("Marine", 1)], [("Overlord", 1)], walkable=walkable), 1, 0)
    place(sim, [(8.5, 16.5), (30, 30)])
    for _ in range(12):
        sim.step(everyone(sim, MOVE, point=(15, 16.5)))
    assert 13 < sim.table.x[0, 0] <= 14 - 0.375 + 0.01


def test_idle_friends_give_way_and_enemies_do_not():
    sim = battle([("Marine", 2)], [("Overlord", 1), ("Zergling", 1)])
    place(sim, [(8, 16), (12, 16), (30, 30), (8, 20)])
    for _ in range(8):
        sim.step(each(sim, [(MOVE, (16, 16)), None]))
    assert sim.table.x[0, 0] == pytest.approx(16, abs=0.1)
    assert np.hypot(sim.table.x[0, 1] - 12, sim.table.y[0, 1] - 16) > 0.3


@pytest.mark.parametrize("name", ["CLIFFS", "RING", "TEE", "BAND", "flat"])
def test_no_unit_stands_in_a_wall_or_in_another(name):
    maps = {
        "CLIFFS": "1o_10b_vs_1r", "RING": "1o_2r_vs_4r", "TEE": "bane_vs_hM", "BAND": "2s3z", "flat": "zerg_10_vs_10",
    }  # fmt: skip
    battle_map = load_map(maps[name])
    sim = Simulator(battle_map, 4, seed=2)
    rng = np.random.default_rng(0)
    planes = np.array([UNIT_TYPES[n].is_air for n in UNIT_NAMES])
    separation = np.array([UNIT_TYPES[n].separation for n in UNIT_NAMES])
    for _ in range(25):
        orders = no_orders(4, battle_map.n_allies)
        orders.kind_BN[:] = MOVE
        position = np.stack([sim.table.x, sim.table.y], -1)[:, : battle_map.n_allies]
        step = np.array([(0, 2), (0, -2), (2, 0), (-2, 0)])[rng.integers(4, size=orders.kind_BN.shape)]
        orders.point_BN2[:] = position + step
        sim.step(orders)
        for b in range(4):
            t = sim.table
            kind, alive = t.unit_type[b], t.alive[b]
            ground = alive & ~planes[kind]
            cells = t.x[b].astype(int), t.y[b].astype(int)
            assert battle_map.walkable[cells][ground].all()
            assert (t.x[b] >= 0).all() and (t.x[b] < 32).all() and (t.y[b] >= 0).all() and (t.y[b] < 32).all()
            reach = separation[kind][:, None] + separation[kind]
            pairs = ground[:, None] & ground & ~np.eye(t.n_slots, dtype=bool)
            assert (distances(sim, b) >= TOLERANCE * reach)[pairs].all()


def test_a_unit_written_into_a_wall_comes_out_of_it():
    walkable = np.ones((32, 32), bool)
    walkable[14:20, 10:22] = False
    sim = Simulator(arena([("Marine", 1)], [("Overlord", 1)], walkable=walkable), 1, 0)
    place(sim, [(14.6, 16.5), (30, 30)])
    sim.step(everyone(sim, MOVE, point=(10, 16.5)))
    assert sim.table.x[0, 0] < 14
