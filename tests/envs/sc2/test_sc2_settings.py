"""Settings of sc2 and sc2v2: what a null stands for, and values that make no task."""

from __future__ import annotations

import pytest
from sc2_states import env_args

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.entries import completed
from epymarl_lmac.tasks.sc2_settings import Sc2Settings


def _settings(env: str = "sc2", **changes: object) -> Sc2Settings:
    return Sc2Settings.from_env_args(env, env_args(env, **changes))


def test_null_takes_what_was_published_with_the_map():
    bane = _settings(map_name="bane_vs_hM")
    assert (bane.flavour, bane.sight_range, bane.shoot_range, bane.obs_all_health) == ("smac_comm", 2, 2, False)
    one = _settings(map_name="1o_10b_vs_1r")
    assert (one.sight_range, one.obs_all_health, one.obs_enemy_health, one.state_last_action) == (9, True, True, False)
    marines = _settings(map_name="3m")
    assert (marines.flavour, marines.state_last_action, marines.obs_enemy_health) == ("smac", True, False)
    other = _settings(map_name="bane_vs_hM", flavour="smac")
    assert (other.sight_range, other.obs_all_health) == (9, True)  # published for smac_comm only


def test_a_value_comes_before_what_was_published():
    assert _settings(map_name="bane_vs_hM", sight_range=4).sight_range == 4


BAD = [
    ("sc2", {"map_name": "4m"}, "map_name='4m' is not known"),
    ("sc2", {"map_name": 3}, "map_name=3 is not possible"),
    ("sc2", {"map_name": "terran_5_vs_5"}, "is a map of sc2v2; use --env-config=sc2v2"),
    ("sc2v2", {"map_name": "3m"}, "is a map of sc2; use --env-config=sc2"),
    ("sc2", {"flavour": "smacv2"}, "flavour='smacv2' is not possible"),
    ("sc2", {"engine": "chess"}, "engine='chess' is not possible; expected one of auto, embedded, starcraft2"),
    ("sc2", {"sight_range": -1}, "sight_range=-1"),
    ("sc2", {"obs_own_health": 1}, "obs_own_health=1 is not possible; expected true or false"),
    ("sc2", {"flavour": "smac_comm", "obs_timestep_number": True}, "obs_timestep_number=True has no effect"),
    ("sc2", {"map_name": "3m", "obs_enemy_health": True}, "obs_enemy_health=True has no effect in flavour smac"),
    ("sc2", {"step_mul": 0}, "step_mul=0 is not possible; expected a whole number of at least 1"),
    ("sc2", {"step_mul": 8.0}, "step_mul=8.0 is not possible; expected a whole number"),
    ("sc2", {"move_amount": 0}, "move_amount=0 is not possible; expected a number above 0"),
    ("sc2v2", {"move_amount": True}, "move_amount=True is not possible; expected a number"),
    ("sc2", {"move_amount": 1.5, "obs_pathing_grid": True}, "move_amount=1.5 is not possible; expected a whole number"),
    ("sc2", {"heuristic_ai": 1}, "heuristic_ai=1 is not possible; expected true or false"),
    ("sc2", {"heuristic_rest": True}, "heuristic_rest=True has no effect without heuristic_ai=True; leave it false"),
    ("sc2v2", {"heuristic_rest": True}, "heuristic_rest=True has no effect without heuristic_ai=True"),
    ("sc2", {"reward_scale_rate": 0}, "reward_scale_rate=0"),
    ("sc2", {"difficulty": "12"}, "difficulty='12'"),
    ("sc2", {"difficulty": "9"}, "difficulty='9' needs engine=starcraft2"),
    ("sc2", {"game_version": "4.10"}, "game_version='4.10' needs engine=starcraft2"),
    ("sc2", {"opponent": "luck"}, "opponent='luck' is not possible; expected one of script, attack_nearest"),
    ("sc2", {"opponent": "kite", "engine": "starcraft2"}, "opponent='kite' needs engine=embedded"),
    ("sc2", {"colour": "red"}, r"unknown keys \['colour'\]"),
    ("sc2v2", {"prob_obs_enemy": 1.5}, "prob_obs_enemy=1.5"),
    ("sc2v2", {"sight_memory": "long"}, "sight_memory='long' is not possible; expected one of faithful, clean"),
]


@pytest.mark.parametrize(("env", "changes", "message"), BAD)
def test_settings_that_make_no_task_are_refused(env, changes, message):
    with pytest.raises(TaskError, match=message):
        _settings(env, **changes)


@pytest.mark.parametrize("env", ["sc2", "sc2v2"])
def test_a_record_of_an_earlier_version_was_made_with_the_published_time_base_and_by_its_own_actions(env):
    later = ("step_mul", "move_amount", "heuristic_ai", "heuristic_rest")
    recorded = {key: value for key, value in env_args(env).items() if key not in later}
    settings = Sc2Settings.from_env_args(env, completed({"env": env, "env_args": recorded})["env_args"])
    assert (settings.step_mul, settings.move_amount) == (8, 2.0)
    assert (settings.heuristic_ai, settings.heuristic_rest) == (False, False)


def test_a_missing_key_is_named():
    args = env_args("sc2")
    del args["sight_range"]
    with pytest.raises(TaskError, match=r"missing keys \['sight_range'\]"):
        Sc2Settings.from_env_args("sc2", args)
