"""``env_args.opponent``: who leads the enemies, in the battle, in the record and in the task's name."""

import numpy as np
import pytest

from envs.sc2 import Sc2Env
from epymarl_lmac.settings import merge
from epymarl_lmac.tasks import task_card, task_id
from epymarl_lmac.tasks.sc2_settings import OPPONENTS


def env_args(opponent):
    updates = ["env_args.map_name=3m", "env_args.engine=embedded", f"env_args.opponent={opponent}"]
    return merge("qmix", "sc2", updates)["env_args"]


def enemy_places(opponent, steps=12):
    """Where the enemies of two battles are after some steps in which no agent moves."""
    env = Sc2Env(2, 5, **env_args(opponent))
    for _ in range(steps):
        alive = env.alive_BN
        env.step(np.where(alive, 1, 0))
    rows = env.read_battle(0)
    return np.stack([rows["x"][3:], rows["y"][3:]])


def test_another_opponent_plays_another_battle():
    assert not np.array_equal(enemy_places("script"), enemy_places("attack_nearest"))


def test_a_battle_against_an_opponent_is_the_same_again():
    assert np.array_equal(enemy_places("mixed"), enemy_places("mixed"))


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_rules_name_and_card_tell_the_opponent(opponent):
    args = env_args(opponent)
    differs = opponent != "script"
    assert (f"opponent {opponent}" in Sc2Env(1, 1, **args).rules) == differs
    assert (f"opponent_{opponent}" in task_id("sc2", args)) == differs
    assert task_card("sc2", args).goal
