"""Time to kill of every unit pair against the closed form: wind-up, flight, and one jittered period a shot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from arena import ATTACK, Simulator, arena, everyone, no_orders, place

from envs.battle.units import UNIT_TYPES

ARMED = [name for name, unit_type in UNIT_TYPES.items() if unit_type.weapons and name != "Baneling"]
LOOPS = 8
LINE_DELAY = 4.8  # loops from a Colossus's shot to its hits


def hits_needed(weapon, target, regen_a_shot):
    """Shots until the target is dead, with shields, armour, bonus and what it regenerates between two shots."""
    damage = weapon.damage + (weapon.bonus if weapon.bonus_to in target.attributes else 0)
    health, shield, shots = target.health, target.shield, 0
    while health > 0:
        if shots:
            health = min(health + regen_a_shot, target.health)
        for _ in range(weapon.hits):
            taken = min(shield, damage)
            shield -= taken
            health -= max(damage - taken - target.armor, 0.5) if damage > taken else 0
        shots += 1
        if shots > 5000:
            return math.inf
    return shots


def bounds(attacker, target, distance):
    """Fewest and most loops until the target is dead."""
    weapon = attacker.weapons[0]
    period = weapon.period * 16
    flight = distance / (weapon.missile_speed / 16) if weapon.missile_speed else 0
    last_hit = weapon.hit_gap * 16 if weapon.splash != "line" else LINE_DELAY
    start = math.ceil(weapon.damage_point * 16) + 1
    low, high = math.ceil(period - 1), math.ceil(period + 2)
    regen = target.health_regen / 16
    fewest = start + (hits_needed(weapon, target, regen * low) - 1) * low
    most = start + (hits_needed(weapon, target, regen * high) - 1) * high + math.ceil(flight) + math.ceil(last_hit)
    return fewest, most


def loops_to_kill(attacker, target, distance):
    """Loops until an enemy of type ``attacker`` kills a passive ally, to the step; the attacker faces it."""
    sim = Simulator(arena([(target.name, 1)], [(attacker.name, 1)]), 1, seed=5)
    place(sim, [(16, 16), (16 + distance, 16)])
    steps = 0
    while sim.table.alive[0, 0]:
        sim.step(no_orders(1, 1), enemy_orders=everyone(sim, ATTACK, 0, side="enemies"))
        steps += 1
        assert steps < 20000
    return steps * LOOPS


@pytest.mark.parametrize("target", UNIT_TYPES)
@pytest.mark.parametrize("attacker", ARMED)
def test_time_to_kill_is_the_closed_form(attacker, target):
    attacker, target = UNIT_TYPES[attacker], UNIT_TYPES[target]
    weapon = attacker.weapons[0]
    if target.is_air and not weapon.hits_air:
        return
    distance = attacker.radius + target.radius + max(weapon.range - 0.05, 0.05)
    fewest, most = bounds(attacker, target, distance)
    loops = loops_to_kill(attacker, target, distance)
    assert fewest <= loops < most + LOOPS, f"{loops} loops; closed form {fewest} to {most}"


def test_shots_are_one_period_and_up_to_two_loops_apart_on_average():
    """Marine on Medivac (armour 1): the mean gap is the period plus the mean jitter, rounded up to whole loops."""
    sim = Simulator(arena([("Medivac", 1)], [("Marine", 1)]), 32, seed=1)
    for b in range(32):
        place(sim, [(16, 16), (21, 16)], b, health=[1e6, 45], health_max=[1e6, 45])
    for _ in range(100):
        sim.step(no_orders(32, 1), enemy_orders=everyone(sim, ATTACK, 0, side="enemies"))
    shots = (1e6 - sim.table.health[:, 0]) / 5
    gap = 800 / shots.mean()
    assert gap == pytest.approx(0.8608 * 16 + 0.5 + 0.5, abs=0.15)
    assert np.unique(shots).size > 1  # the battles differ
