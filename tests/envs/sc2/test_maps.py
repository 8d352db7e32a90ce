"""Maps: every file that comes with the project makes a battle, and one that cannot be played is refused by its key."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from sc2_oracle import MAPS, walkable
from typer.testing import CliRunner

from envs.battle.units import UNIT_NAMES
from epymarl_lmac.cli import app
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.sc2_constants import UNITS
from epymarl_lmac.tasks.sc2_map_file import load_map, map_folder, map_names, read_map

CELLS = {"band": 576, "flat": 1024, "tee": 160, "ring": 628, "cliffs": 600}


def test_the_project_brings_all_maps_of_the_oracle_and_no_other():
    assert map_names() == sorted(MAPS)


def test_the_simulator_has_every_unit_type_of_the_interface():
    assert set(UNITS) <= set(UNIT_NAMES)


@pytest.mark.parametrize("name", MAPS)
def test_terrain_and_teams_are_those_of_the_sheets(name):
    battle_map = load_map(name)
    family, allies, enemies, terrain, limit = MAPS[name]
    cells = [[walkable(terrain, x, y) for y in range(32)] for x in range(32)]
    np.testing.assert_array_equal(battle_map.walkable, cells)
    assert battle_map.walkable.sum() == CELLS[terrain] and battle_map.limit == limit
    assert (battle_map.n_allies, battle_map.n_enemies) == (len(allies), len(enemies))
    if not battle_map.is_generated:
        rank = battle_map.ally_rank
        assert sorted(battle_map.ally_types, key=lambda t: rank[t]) == allies
        assert list(battle_map.enemy_types) == enemies
        assert battle_map.map_type == family
    for rects in battle_map.draws:
        assert all(0 <= x0 <= x1 <= 32 and 0 <= y0 <= y1 <= 32 for x0, y0, x1, y1 in rects)


def test_overlords_and_roaches_of_2o_20b_vs_2r_share_their_points():
    m = load_map("2o_20b_vs_2r")
    assert m.ally_draws[-2:] == m.enemy_draws and m.ally_draws[-1] == m.ally_draws[19]
    assert len(set(m.ally_draws[:20])) == 20 and len(m.draws) == 21
    assert [len(m.draws[k]) for k in m.enemy_draws] == [4, 5]


def test_the_hash_follows_play_and_not_the_name(tmp_path):
    text = (map_folder() / "3m.yaml").read_text()
    (tmp_path / "other.yaml").write_text(text)
    (tmp_path / "slow.yaml").write_text(text.replace("limit: 60", "limit: 61"))
    assert read_map(tmp_path / "other.yaml").hash() == load_map("3m").hash()
    assert read_map(tmp_path / "slow.yaml").hash() != load_map("3m").hash()


GROUP = {"type": "Marine", "count": 3, "at": [9, 16]}
BAD = [
    ({"map_type": "pandas"}, "map_type is 'pandas'; expected one of marines"),
    ({"limit": 0}, "limit is 0; expected an integer of at least 1"),
    ({"allies": []}, "allies is .*at least one group"),
    ({"allies": [{**GROUP, "count": 0}]}, r"allies\[0\].count is 0"),
    ({"allies": [{**GROUP, "count": 65}]}, r"allies\[0\].count is 65; .*at most 64"),
    ({"allies": [{**GROUP, "type": "Panda"}]}, r"allies\[0\].type is 'Panda'; expected one of Baneling"),
    ({"allies": [{**GROUP, "at": [40, 16]}]}, r"allies\[0\].at is \[40, 16\]"),
    ({"allies": [{**GROUP, "at": "moon"}]}, r"allies\[0\].at is 'moon'; expected a place that was named before"),
    ({"allies": [{"type": "Marine", "count": 3}]}, r"allies\[0\] is .*either 'at'"),
    (
        {"allies": [GROUP, {**GROUP, "type": "Zealot"}], "custom_types": ["Marine", "Zealot"]},
        "ally_race .*all or none have shields",
    ),
    (
        {"map_type": "MMM", "allies": [{**GROUP, "type": "Reaper"}], "custom_types": ["Reaper"]},
        "allies is .*units of map type MMM",
    ),
    ({"terrain": "swamp"}, "terrain is 'swamp'"),
    ({"terrain": {"walkable": []}}, "terrain is .*at least one walkable cell"),
    ({"opponent": "asleep"}, "opponent is 'asleep'; expected idle"),
    ({"opponent": {"attack_move": [9, 2]}}, "opponent.attack_move is .*a walkable point"),
    ({"overrides": [{"type": "Marine", "owner": "mine", "damage": 3}]}, r"overrides\[0\].owner is 'mine'"),
    ({"overrides": [{"type": "Marine", "colour": 3}]}, r"overrides\[0\] is"),
    ({"custom_types": ["Roach"]}, "custom_types is .*with all of"),
    ({"flavour": "smacv2"}, "flavour is 'smacv2'; expected smac or smac_comm"),
    ({"interface": {"speed": 3}}, "interface is .*sight_range"),
    ({"weather": "rain"}, r"unknown keys \['weather'\]"),
    ({"limit": None}, "limit is None"),
]


def _file(tmp_path, changes: dict):
    content = yaml.safe_load((map_folder() / "3m.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_an_impossible_map_is_refused_by_its_key(tmp_path, changes, message):
    with pytest.raises(TaskError, match="map mine: " + message):
        read_map(_file(tmp_path, changes))


def test_an_unknown_map_names_the_known_ones():
    with pytest.raises(TaskError, match=r"map_name='4m' is not known; choose one of .*3m"):
        load_map("4m")


def test_a_users_map_with_mixed_units_needs_no_published_family(tmp_path):
    team = [{**GROUP, "count": 2}, {**GROUP, "type": "Reaper", "count": 1}]
    m = read_map(_file(tmp_path, {"map_type": "custom", "allies": team, "custom_types": ["Marine", "Reaper"]}))
    assert m.family.ally_slots == ("Marine", "Reaper") and m.family.enemy_slots == ("Marine",)
    assert (m.max_cooldown("Marine"), m.max_cooldown("Reaper")) == (15, 15)


def test_check_map_prints_and_draws_a_map(tmp_path):
    picture = tmp_path / "map.png"
    result = CliRunner().invoke(app, ["sc2", "check-map", "bane_vs_hM", "--png", str(picture)])
    assert result.exit_code == 0, result.output
    assert (
        "160 of 1024 cells are walkable" in result.output and "enemies (zerg): 1 Hydralisk, 1 Medivac" in result.output
    )
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_check_map_says_what_is_wrong(tmp_path):
    result = CliRunner().invoke(app, ["sc2", "check-map", str(_file(tmp_path, {"limit": -3}))])
    assert isinstance(result.exception, TaskError) and "limit is -3" in str(result.exception)
