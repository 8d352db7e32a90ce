"""Where units stand when a battle starts, how the enemies set out, and who acts first in a game loop."""

from __future__ import annotations

import numpy as np
import pytest
from arena import ATTACK, battle, everyone, no_orders, place

from envs.battle.simulator import Simulator
from epymarl_lmac.tasks.sc2_map import Opponent
from epymarl_lmac.tasks.sc2_map_file import load_map

SETS_OUT = Opponent("attack_move", (8, 16))


def offsets(sim, slots, point):
    """Where units stand, seen from a point."""
    return {(float(sim.table.x[0, u]) - point[0], float(sim.table.y[0, u]) - point[1]) for u in slots}


def test_units_of_one_point_stand_on_a_grid_east_and_south_first():
    """3 Marines: recordings of 3m show two side by side and the third below the western one."""
    sim = battle([("Marine", 3)], [("Marine", 3)], at=(9, 16), enemies_at=(23, 16))
    assert offsets(sim, range(3), (9, 16)) == {(0, 0), (0.75, 0), (0, -0.75)}


def test_eleven_marines_stand_as_in_recordings_of_the_game():
    """A block of three by three, one more in the east and one in the south of it: the enemies of 10m_vs_11m."""
    sim = battle([("Marine", 1)], [("Marine", 11)])
    block = {(0.75 * i, 0.75 * j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert offsets(sim, range(1, 12), (24, 16)) == block | {(1.5, 0), (0, -1.5)}


def test_units_whose_point_is_deep_in_a_wall_stand_on_its_edge():
    walkable = np.ones((32, 32), bool)
    walkable[:20] = False
    sim = battle([("Marine", 3)], [("Marine", 1)], at=(2, 16), enemies_at=(28, 16), walkable=walkable)
    assert (sim.table.x[0, :3] >= 20).all() and (sim.table.x[0, :3] < 22).all()


def test_both_teams_of_mmm_have_the_same_cluster_with_the_marauders_in_the_west():
    sim = Simulator(load_map("MMM"), 1, 0)
    agents, enemies = offsets(sim, range(10), (9, 16)), offsets(sim, range(10, 20), (23, 16))
    assert agents == enemies
    assert offsets(sim, (0, 1), (9, 16)) == {(-0.875, -0.875), (-0.875, 0.875)}


def test_enemies_that_set_out_together_keep_their_formation():
    sim = battle([("Overlord", 1)], [("Marine", 9)], at=(2, 2), opponent=SETS_OUT)
    before = np.stack([sim.table.x[0, 1:], sim.table.y[0, 1:]])
    for _ in range(10):
        sim.step(no_orders(1, 1))
    moved = np.stack([sim.table.x[0, 1:], sim.table.y[0, 1:]]) - before
    assert moved[0] == pytest.approx(-10 * 1.125, abs=0.01) and moved[1] == pytest.approx(0, abs=0.01)


def test_a_medivac_sets_out_with_the_others():
    sim = battle([("Overlord", 1)], [("Marine", 2), ("Medivac", 1)], at=(2, 2), opponent=SETS_OUT)
    for _ in range(10):
        sim.step(no_orders(1, 1))
    assert sim.table.x[0, 3] < 24 - 5


def test_which_of_two_units_acts_first_in_a_loop_is_drawn():
    """Two Marines that need one more hit fire in the same loop: each wins in about half of the battles, never both."""
    n = 400
    sim = battle([("Marine", 1)], [("Marine", 1)], num_envs=n)
    for b in range(n):
        place(sim, [(14, 16), (18, 16)], b, health=1)
    for _ in range(3):
        sim.step(everyone(sim, ATTACK, target=1))
    alive = sim.table.alive
    assert (alive.sum(1) == 1).all()
    assert 0.4 < alive[:, 0].mean() < 0.6  # four standard deviations of a fair coin
