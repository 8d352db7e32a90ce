"""Whom enemies attack by themselves, how they answer damage, what agents' units never do; kiting and surrounding."""

from __future__ import annotations

import numpy as np
import pytest
from arena import ATTACK, MOVE, battle, each, everyone, no_orders, place

from envs.battle.simulator import Simulator
from epymarl_lmac.tasks.sc2_map import Opponent
from epymarl_lmac.tasks.sc2_map_file import load_map


def test_agents_units_never_act_by_themselves():
    sim = battle([("Marine", 1)], [("Zealot", 1)], lead="outside")
    place(sim, [(16, 16), (18, 16)], cooldown=[0, 1e6])
    for _ in range(10):
        sim.step(no_orders(1, 1))
    assert sim.table.health[0, 1] + sim.table.shield[0, 1] == 150
    assert sim.table.x[0, 0] == 16


@pytest.mark.parametrize("edge, sees", [(4.9, True), (5.2, False)])
def test_an_idle_enemy_acquires_within_its_scan_range(edge, sees):
    sim = battle([("Overlord", 1), ("Zealot", 1)], [("Zealot", 1)])
    place(sim, [(30, 30), (10, 16), (11 + edge, 16)])
    sim.step(no_orders(1, 2))
    assert (sim.table.x[0, 2] < 11 + edge - 0.5) == sees


def test_a_map_can_shorten_the_scan_range():
    sim = battle([("Zealot", 1)], [("Roach", 1)], overrides=[("Roach", "scan", 3)])
    place(sim, [(10, 16), (14.2, 16)])  # edges 3.2 apart
    for _ in range(5):
        sim.step(no_orders(1, 1))
    assert sim.table.shield[0, 0] == 50 and sim.table.x[0, 1] == pytest.approx(14.2)


@pytest.mark.parametrize("name", ["1o_10b_vs_1r", "1o_10b_vs_1r_v2", "2o_20b_vs_2r"])
@pytest.mark.parametrize("edge, sees", [(4.9, True), (5.2, False)])
def test_the_roach_of_the_overlord_maps_scans_as_far_as_its_claws_do(name, edge, sees):
    """The maps shorten the scan of the acid to 3; that of the claws stays the game's 5 and counts for the unit."""
    sim = Simulator(load_map(name), 1, 0)
    n, roach = sim.table.n_allies, sim.table.n_allies
    spots = np.full((sim.table.n_slots, 2), 29.5)  # out of sight in the north-east
    spots[roach], spots[0] = (4.5, 4.5), (4.5 + 0.875 + edge, 4.5)
    place(sim, spots, alive=[True] + [False] * (n - 2) + [True] + [True] * (sim.table.n_slots - n))
    for _ in range(2):
        sim.step(no_orders(1, n))
    assert (sim.table.x[0, roach] > 4.6) == sees


def test_claws_that_are_slower_than_the_acid_hold_back_the_next_shot():
    sim = battle([("Overlord", 1), ("Zealot", 1)], [("Roach", 1)], overrides=[("Roach", "melee_period_s", 4)])
    place(sim, [(30, 30), (16.9, 16), (16, 16)], cooldown=[0, 1e6, 0])
    sim.step(no_orders(1, 2))
    assert 48 < sim.table.cooldown[0, 2] <= 66  # loops; 4 s are 64


def test_the_closest_target_is_chosen_and_threats_come_first():
    sim = battle([("Overlord", 1), ("Marine", 2)], [("Marine", 1)])
    place(sim, [(17.5, 16), (11.5, 16), (20.2, 16), (16, 16)])
    for _ in range(3):
        sim.step(no_orders(1, 3))
    overlord, far, near = sim.table.health[0, :3]
    assert overlord == 200 and far == 45 and near < 45


def test_a_hurt_unit_goes_for_an_attacker_outside_its_scan_range():
    sim = battle([("Stalker", 1)], [("Zealot", 1)])
    place(sim, [(10, 16), (17, 16)])  # edges 5.9 apart: the Stalker reaches 6, the Zealot sees 5
    sim.step(no_orders(1, 1))
    assert sim.table.x[0, 1] == 17
    for _ in range(4):
        sim.step(everyone(sim, ATTACK, 1))
    assert sim.table.x[0, 1] < 15


@pytest.mark.parametrize("edge, helps", [(3.9, True), (4.2, False)])
def test_idle_friends_within_four_cells_of_a_victim_help_it(edge, helps):
    sim = battle([("Stalker", 1)], [("Zealot", 2)])
    place(sim, [(10, 16), (17, 16), (18 + edge, 16)])
    for _ in range(3):
        sim.step(everyone(sim, ATTACK, 1))
    assert (sim.table.x[0, 2] < 18 + edge - 0.5) == helps


def test_an_idle_enemy_returns_to_its_post():
    sim = battle([("Stalker", 1)], [("Zealot", 1)])
    place(sim, [(16, 16), (20, 16)], health=[4, 100], shield=[0, 50])
    for _ in range(4):
        sim.step(no_orders(1, 1))
    assert not sim.table.alive[0, 0] and sim.table.x[0, 1] < 19
    for _ in range(12):
        sim.step(no_orders(1, 1))
    assert sim.table.x[0, 1] == pytest.approx(20, abs=0.1)


def test_attack_moving_enemies_fight_on_their_way_and_then_go_on():
    sim = battle([("Marine", 1)], [("Marine", 2)], opponent=Opponent("attack_move", (4.0, 16.0)))
    assert sim.table.x[0, 1] > 20
    for _ in range(60):
        sim.step(no_orders(1, 1))
    assert not sim.table.alive[0, 0]
    assert (sim.table.x[0, 1:] < 6).all()


def test_idle_enemies_of_version_two_are_sent_to_the_closest_agent():
    sim = battle([("Marine", 1)], [("Marine", 1)], opponent=Opponent("attack_closest", None))
    for _ in range(6):
        sim.step(no_orders(1, 1))
    assert sim.table.x[0, 1] < 20


def test_kiting_beats_standing():
    """One Stalker against one Zealot: shooting and stepping back keeps it out of reach; standing does not."""

    def play(kites):
        sim = battle([("Stalker", 1)], [("Zealot", 1)])
        place(sim, [(12, 16), (18, 16)])
        for _ in range(200):
            away = kites and sim.table.cooldown[0, 0] > 4
            x, y = sim.table.x[0], sim.table.y[0]
            retreat = None
            if away:  # away from the Zealot, to the left of it, and not into a corner
                out = np.array([x[0] - x[1], y[0] - y[1]])
                centre = np.array([16 - x[0], 16 - y[0]])
                out = out / np.hypot(*out) + 0.12 * centre + 0.5 * np.array([-out[1], out[0]]) / np.hypot(*out)
                retreat = (x[0] + 2 * out[0], y[0] + 2 * out[1])
            sim.step(each(sim, [(MOVE, retreat) if away else (ATTACK, 1)]))
            if not sim.table.alive[0].all():
                break
        return sim.table.alive[0].tolist()

    assert play(kites=True) == [True, False]
    assert play(kites=False) == [False, True]


def test_five_zealots_around_the_ultralisk_win_and_three_do_not():
    def play(count):
        sim = battle([("Zealot", count)], [("Ultralisk", 1)])
        angle = 2 * np.pi * np.arange(count) / count
        place(sim, [*zip(16 + 1.6 * np.cos(angle), 16 + 1.6 * np.sin(angle), strict=True), (16, 16)])
        for _ in range(150):
            sim.step(everyone(sim, ATTACK, count))
        return bool(sim.table.alive[0, count])

    assert not play(5)
    assert play(3)


def test_zealots_from_one_side_get_around_each_other_to_the_target():
    sim = battle([("Zealot", 5)], [("Ultralisk", 1)], lead="outside")
    place(sim, [(10 - 0.9 * k, 16) for k in range(5)] + [(14, 16)], health=[100] * 5 + [1e6], cooldown=[0] * 5 + [1e6])
    for _ in range(12):
        sim.step(everyone(sim, ATTACK, 5))
    x, y = sim.table.x[0], sim.table.y[0]
    assert (np.hypot(x[:5] - x[5], y[:5] - y[5]) < 1.75).all()  # all five in reach


def test_orders_that_the_game_refuses_change_nothing():
    sim = battle([("Overlord", 1), ("Marauder", 1)], [("Medivac", 1), ("Overlord", 1)])
    place(sim, [(10, 16), (10, 20), (20, 16), (20, 20)])
    sim.step(each(sim, [None, (MOVE, (10, 30))]))
    before = sim.table.y[0, 1]
    for _ in range(2):
        sim.step(each(sim, [(ATTACK, 3), (ATTACK, 2)]))  # no weapon; a weapon that does not reach the air
    assert sim.table.y[0, 1] == pytest.approx(before + 2 * 1.125, abs=1e-3)
    assert sim.table.health[0].tolist() == [200, 125, 150, 200]
