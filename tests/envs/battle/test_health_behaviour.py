"""Health rises by healing, shields and regeneration only, at their rates; damage meets shields first, then armour."""

from __future__ import annotations

import numpy as np
import pytest
from arena import ATTACK, HEAL, Simulator, arena, battle, each, everyone, no_orders, place

from envs.battle.maps import load_map
from envs.battle.units import UNIT_NAMES, UNIT_TYPES


def test_shields_come_back_after_ten_seconds_without_damage():
    sim = battle([("Zealot", 1)], [("Overlord", 1)])
    place(sim, [(8, 16), (30, 30)], shield=[10, 0])
    shields = []
    for _ in range(30):
        sim.step(no_orders(1, 1))
        shields.append(float(sim.table.shield[0, 0]))
    assert shields[18] == 10
    assert np.diff(shields[20:]) == pytest.approx(1.0)  # 2 a second


def test_zerg_regenerate_always_and_others_do_not():
    sim = battle([("Zergling", 1), ("Marine", 1)], [("Overlord", 1)])
    place(sim, [(8, 16), (10, 16), (30, 30)], health=[20, 20, 100])
    for _ in range(10):
        sim.step(no_orders(1, 2))
    zergling, marine, overlord = sim.table.health[0]
    assert zergling == pytest.approx(20 + 5 * 0.2734, abs=0.01) and overlord == pytest.approx(
        100 + 5 * 0.2734, abs=0.01
    )
    assert marine == 20


def test_a_medivac_heals_nine_a_second_for_a_third_of_the_energy():
    sim = battle([("Marine", 1), ("Medivac", 1)], [("Overlord", 1)])
    place(sim, [(8, 16), (9, 16), (30, 30)], health=[10, 150, 200], energy=[0, 50, 0])
    for _ in range(4):
        sim.step(each(sim, [None, (HEAL, 0)]))
    assert sim.table.health[0, 0] == pytest.approx(10 + 4 * 4.5, abs=0.01)
    assert sim.table.energy[0, 1] == pytest.approx(50 - 18 * 0.33 + 4 * 0.5 * 0.5625, abs=0.01)


def test_two_medivacs_do_not_heal_one_unit_at_once():
    sim = battle([("Marine", 1), ("Medivac", 2)], [("Overlord", 1)])
    place(sim, [(8, 16), (9, 16), (7, 16), (30, 30)], health=[10, 150, 150, 200], energy=[0, 50, 50, 0])
    for _ in range(4):
        sim.step(each(sim, [None, (HEAL, 0), (HEAL, 0)]))
    assert sim.table.health[0, 0] == pytest.approx(10 + 4 * 4.5, abs=0.01)


@pytest.mark.parametrize("patient", ["Stalker", "Medivac"])
def test_machines_cannot_be_healed(patient):
    sim = battle([(patient, 1), ("Medivac", 1)], [("Overlord", 1)])
    place(sim, [(8, 16), (10, 16), (30, 30)], health=[10, 150, 200])
    for _ in range(4):
        sim.step(each(sim, [None, (HEAL, 0)]))
    assert sim.table.health[0, 0] == 10


def test_an_agents_medivac_does_nothing_by_itself_and_an_enemy_one_heals():
    sim = battle([("Marine", 1), ("Medivac", 1)], [("Marine", 1), ("Medivac", 1)])
    place(sim, [(4, 16), (5, 16), (28, 16), (27, 16)], health=[10, 150, 10, 150])
    for _ in range(4):
        sim.step(no_orders(1, 2))
    assert sim.table.health[0, 0] == 10
    assert sim.table.health[0, 2] == pytest.approx(10 + 4 * 4.5, abs=0.01)


def test_a_hit_meets_the_shield_without_armour_and_the_body_with_it():
    sim = battle([("Stalker", 1)], [("Zealot", 1)], lead="outside")
    place(sim, [(16, 16), (20, 16)], shield=[80, 4], cooldown=[0, 99])
    sim.step(each(sim, [(ATTACK, 1)]))
    sim.step(each(sim, [(ATTACK, 1)]))
    assert sim.table.shield[0, 1] == 0
    assert sim.table.health[0, 1] == 100 - (10 - 4 - 1)


@pytest.mark.parametrize("name", ["bane_vs_hM", "MMM", "3s5z", "1o_10b_vs_1r"])
def test_health_rises_only_by_healing_and_regeneration_and_shields_by_their_rate(name):
    battle_map = load_map(name)
    sim = Simulator(battle_map, 2, seed=4)
    rng = np.random.default_rng(1)
    n, m = battle_map.n_allies, battle_map.n_enemies
    regen = np.array([UNIT_TYPES[kind].health_regen / 2 for kind in UNIT_NAMES])
    for _ in range(40):
        before, shield, alive = sim.table.health.copy(), sim.table.shield.copy(), sim.table.alive.copy()
        orders = everyone(sim, ATTACK)
        orders.target_BN[:] = n + rng.integers(m, size=orders.target_BN.shape)
        sim.step(orders)
        has_medivac = np.zeros((2, n + m))
        medivac = (sim.table.unit_type == UNIT_NAMES.index("Medivac")) & alive
        for side in (slice(0, n), slice(n, None)):
            has_medivac[:, side] = medivac[:, side].sum(1, keepdims=True)
        most = regen[sim.table.unit_type] + 4.5 * has_medivac + 1e-3
        assert (sim.table.health - before <= most).all()
        assert (sim.table.shield - shield <= 1 + 1e-3).all()
        assert not (sim.table.alive & ~alive).any()
        assert (sim.table.health <= sim.table.health_max).all() and (sim.table.health >= 0).all()


def test_the_cleave_hits_the_front_half_circle_and_spares_the_back():
    sim = Simulator(arena([("Marine", 3)], [("Ultralisk", 1)]), 1, 0, opponent="outside")
    place(sim, [(18, 16), (17, 17.5), (14, 16), (16, 16)])  # target, beside it, behind
    for _ in range(2):
        sim.step(no_orders(1, 3), enemy_orders=everyone(sim, ATTACK, 0, side="enemies"))
    assert sim.table.health[0, :3].tolist() == [45 - 18, 45 - 18, 45]


def test_the_beam_hits_what_stands_across_the_shot():
    sim = Simulator(arena([("Marine", 3)], [("Colossus", 1)]), 1, 0, opponent="outside")
    place(sim, [(10, 16), (10, 17.3), (8.5, 16), (15, 16)])  # target, across, behind the target
    for _ in range(2):
        sim.step(no_orders(1, 3), enemy_orders=everyone(sim, ATTACK, 0, side="enemies"))
    assert sim.table.health[0, :3].tolist() == [45 - 40, 45 - 40, 45]
