"""Unit data against the published sheet, changes by maps, and the cache of compiled functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.battle import kernels_move
from envs.battle.kernels_cache import source_stamp
from envs.battle.units import UNIT_TYPES, with_override
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks import sc2_constants

# health, shield, armour, speed, radius; damage, hits, bonus, period, range of the first weapon (Liberty data)
SHEET = {
    "Marine": (45, 0, 0, 2.25, 0.375, 6, 1, 0, 0.8608, 5),
    "Marauder": (125, 0, 1, 2.25, 0.5625, 10, 1, 10, 1.5, 6),
    "Reaper": (50, 0, 0, 2.9531, 0.375, 4, 2, 5, 1.1, 4.5),
    "Stalker": (80, 80, 1, 2.9531, 0.625, 10, 1, 4, 1.44, 6),
    "Zealot": (100, 50, 1, 2.25, 0.5, 8, 2, 0, 1.2, 0.1),
    "Colossus": (200, 150, 1, 2.25, 1.0, 20, 2, 0, 2.2, 6),
    "Zergling": (35, 0, 0, 2.9531, 0.375, 5, 1, 0, 0.696, 0.1),
    "Baneling": (30, 0, 0, 2.5, 0.375, 20, 1, 15, 0.833, 0.25),
    "Hydralisk": (80, 0, 0, 2.25, 0.625, 12, 1, 0, 0.83, 5),
    "Roach": (145, 0, 1, 2.25, 0.5, 16, 1, 0, 2, 3),
    "Ultralisk": (600, 0, 1, 2.25, 1.0, 18, 1, 0, 0.861, 1),
}


@pytest.mark.parametrize("name", SHEET)
def test_unit_data_are_those_of_the_sheet(name):
    u = UNIT_TYPES[name]
    w = u.weapons[0]
    assert (
        u.health, u.shield, u.armor, u.speed, u.radius, w.damage, w.hits, w.bonus, w.period, w.range,
    ) == SHEET[name]  # fmt: skip


def test_every_type_of_the_interface_can_fight_here_under_the_same_id():
    for name, facts in sc2_constants.UNITS.items():
        assert UNIT_TYPES[name].stock_id == facts.stock_id
        assert UNIT_TYPES[name].race == facts.race


def test_maps_change_single_numbers():
    hydralisk = UNIT_TYPES["Hydralisk"]
    changed = with_override(with_override(hydralisk, "damage", 30), "melee_damage", 31)
    assert [weapon.damage for weapon in changed.weapons] == [30, 31]
    assert with_override(hydralisk, "scan", 2).acquire_range == 2
    assert hydralisk.acquire_range == 5 and UNIT_TYPES["Marauder"].acquire_range == 6
    faster = with_override(UNIT_TYPES["Roach"], "period_s", 1)
    assert [weapon.period for weapon in faster.weapons] == [1, 1]
    assert [weapon.period for weapon in with_override(faster, "melee_period_s", 2).weapons] == [1, 2]


@pytest.mark.parametrize("name, number", [("Overlord", "damage"), ("Marine", "melee_damage"), ("Marine", "luck")])
def test_a_change_of_what_a_unit_does_not_have_is_refused(name, number):
    with pytest.raises(TaskError, match=number):
        with_override(UNIT_TYPES[name], number, 1)


def test_the_stamp_of_compiled_functions_covers_the_files_that_a_file_imports(tmp_path):
    first, second, other = (tmp_path / f"kernels_{name}.py" for name in "abc")
    first.write_text("from envs.battle.kernels_b import x\n")
    second.write_text("x = 1\n")
    other.write_text("x = 1\n")
    before = source_stamp(first)
    other.write_text("x = 2\n")
    assert source_stamp(first) == before
    second.write_text("x = 2\n")
    assert source_stamp(first) != before


def test_compiled_functions_carry_the_stamp():
    stamp = source_stamp(Path(kernels_move.__file__))
    assert kernels_move.separate._cache._cache_file._source_stamp == stamp
