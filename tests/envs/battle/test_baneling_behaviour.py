"""Banelings: how many bursts kill, what a burst reaches, and that a killed Baneling bursts too."""

from __future__ import annotations

import numpy as np
import pytest
from arena import ATTACK, MOVE, Simulator, battle, each, everyone, no_orders, place

from envs.battle.maps import load_map

ROACH_AT, RING = (16.0, 16.0), 2.0


def ring(count, radius):
    angle = 2 * np.pi * np.arange(count) / count
    return [(ROACH_AT[0] + radius * np.cos(a), ROACH_AT[1] + radius * np.sin(a)) for a in angle]


@pytest.mark.parametrize("count, dies", [(7, False), (8, True)])
def test_eight_banelings_kill_the_roach_and_seven_do_not(count, dies):
    sim = battle([("Baneling", count)], [("Roach", 1)])
    place(sim, [*ring(count, RING), ROACH_AT])
    for _ in range(6):
        sim.step(everyone(sim, ATTACK, count))
    assert not sim.table.alive[0, :count].any()
    assert sim.table.alive[0, count] != dies
    if not dies:  # 145 - 7 * (20 - 1), and what regenerates in three seconds
        assert 12 <= sim.table.health[0, count] <= 13


def bursts_on_the_hydralisk(gap_steps, steps=40):
    """Lets three Banelings of bane_vs_hM attack one after the other. Returns the Hydralisk's health."""
    sim = Simulator(load_map("bane_vs_hM"), 1, seed=3)
    place(sim, [(10, 30), (22, 30), (16, 20), (16, 30.8), (16, 31.3)])
    go = [0, gap_steps, 2 * gap_steps]
    hydralisk = 3
    for step in range(steps):
        sim.step(each(sim, [(ATTACK, hydralisk) if step >= start else None for start in go]))
    return float(sim.table.health[0, hydralisk]), sim.table.alive[0].tolist()


def test_three_bursts_close_together_kill_the_hydralisk():
    health, alive = bursts_on_the_hydralisk(gap_steps=0)
    assert health == 0 and not alive[3]


def test_spread_bursts_are_healed_away():
    health, alive = bursts_on_the_hydralisk(gap_steps=13)
    assert alive[3] and health > 25
    assert not any(alive[:3])


def test_a_baneling_killed_beside_the_hydralisk_still_deals_its_damage():
    sim = battle([("Baneling", 1)], [("Hydralisk", 1)], overrides=[("Hydralisk", "damage", 30)])
    place(sim, [(16, 16), (18.0, 16)])
    for _ in range(4):
        sim.step(no_orders(1, 1))  # it stands still and is shot
        if not sim.table.alive[0, 0]:
            break
    assert not sim.table.alive[0, 0]
    assert sim.table.health[0, 1] == pytest.approx(80 - 35, abs=0.5)


def test_a_burst_spares_the_own_side_and_units_in_the_air():
    sim = battle([("Baneling", 2), ("Overlord", 1)], [("Roach", 1), ("Overlord", 1)])
    spots = [(15.2, 16), (15.2, 17.4), (15, 15), (16.4, 16), (16, 16)]
    place(sim, spots, cooldown=[0, 99, 0, 99, 0])  # so that the Roach does not shoot
    sim.step(each(sim, [(ATTACK, 3), None, None]))
    health = sim.table.health[0]
    assert sim.table.alive[0].tolist() == [False, True, True, True, True]
    assert health[1] == 30 and health[2] == 200 and health[4] == 200 and health[3] < 127


def test_a_baneling_cannot_attack_what_flies():
    sim = battle([("Baneling", 1)], [("Medivac", 1)])
    place(sim, [(16, 16), (16.5, 16)])
    for _ in range(4):
        sim.step(everyone(sim, ATTACK, 1))
    assert sim.table.alive.all()
    assert sim.table.x[0, 0] == 16


def test_a_move_order_calls_an_attack_off():
    sim = battle([("Baneling", 1)], [("Roach", 1)], overrides=[("Roach", "scan", 0)])
    place(sim, [(10, 16), (14, 16)])
    sim.step(everyone(sim, ATTACK, 1))
    for _ in range(6):
        sim.step(everyone(sim, MOVE, point=(4, 16)))
    assert sim.table.alive.all()
    assert sim.table.x[0, 0] == pytest.approx(4, abs=0.1)
