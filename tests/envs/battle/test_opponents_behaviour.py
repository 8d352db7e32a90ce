"""Opponents other than the map's script: whom they attack, how they kite, what their healers do."""

from __future__ import annotations

import numpy as np
import pytest
from arena import ATTACK, Simulator, arena, battle, everyone, no_orders, place

from envs.battle.maps import load_map


def test_attack_nearest_walks_to_the_nearest_unit_wherever_it_is():
    sim = battle([("Marine", 2)], [("Marine", 1)], lead="attack_nearest")
    place(sim, [(4, 4), (8, 28), (28, 16)])
    for _ in range(60):
        sim.step(no_orders(1, 2))
    assert sim.table.alive[0].tolist() == [False, False, True]


def test_focus_fire_attacks_the_weakest_unit_in_sight():
    sim = battle([("Marine", 3)], [("Marine", 2)], lead="focus_fire")
    place(sim, [(20, 14), (19, 16), (20, 18), (24, 15), (24, 17)], health=[45, 30, 45, 45, 45])
    for _ in range(2):
        sim.step(no_orders(1, 3))
    health = sim.table.health[0]
    assert health[1] < 30 and health[0] == health[2] == 45


def test_a_kiting_stalker_outlives_a_zealot_attack_that_kills_a_standing_one():
    def left(lead):
        sim = battle([("Zealot", 1)], [("Stalker", 1)], lead=lead)
        place(sim, [(4, 16), (11, 16)])
        for _ in range(40):
            sim.step(everyone(sim, ATTACK, 1))
        return float((sim.table.health + sim.table.shield)[0, 1])

    assert left("attack_nearest") == 0
    assert left("kite") > 0


def test_healers_of_played_opponents_heal_the_most_hurt():
    sim = battle([("Marine", 1)], [("Marine", 2), ("Medivac", 1)], lead="attack_nearest")
    place(sim, [(2, 2), (28, 16), (28, 18), (27, 17)], health=[45, 10, 30, 150])
    sim.step(no_orders(1, 1))
    assert sim.table.health[0, 1] == pytest.approx(14.5, abs=0.01) and sim.table.health[0, 2] == 30


def test_mixed_draws_each_opponent_and_keeps_it_for_a_battle():
    sim = Simulator(arena([("Marine", 1)], [("Marine", 1)]), 60, seed=0, opponent="mixed")
    leaders = sim.state_dict()["leader_B"]
    sim.step(no_orders(60, 1))
    assert np.array_equal(leaders, sim.state_dict()["leader_B"])
    assert np.unique(leaders).size == 3 and np.bincount(leaders).max() < 35


def test_orders_from_outside_lead_the_enemies():
    sim = battle([("Marine", 1)], [("Zealot", 1)], lead="outside")
    for _ in range(60):
        sim.step(no_orders(1, 1), enemy_orders=everyone(sim, ATTACK, 0, side="enemies"))
    assert sim.table.alive[0].tolist() == [False, True]


@pytest.mark.parametrize("lead", ["attack_nearest", "focus_fire", "kite", "mixed"])
def test_every_opponent_ends_a_battle_against_passive_agents(lead):
    battle_map = load_map("2s3z")
    sim = Simulator(battle_map, 3, seed=0, opponent=lead)
    for _ in range(120):
        sim.step(no_orders(3, 5))
    assert not sim.table.alive[:, :5].any()
