"""The table of all environments: ours, and those of installed packages.

A new environment is one module, one yaml in ``config/envs`` and one line here; docs/environments/ has a worked example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.lazy_registry import LazyRegistry
from epymarl_lmac.plugin.entry_points import extended
from epymarl_lmac.tasks.entry import EnvEntry, Score, as_entry, make_envs_importable, resolve

SUCCESS = Score("success_mean", 0, 1)
BATTLE = Score("battle_won_mean", 0, 1)

OURS = {
    "hallway": EnvEntry(
        batched="envs.hallway:HallwayEnv", card="epymarl_lmac.tasks.hallway", rules="hallway", score=SUCCESS
    ),
    "hallway_group": EnvEntry(
        batched="envs.hallway:HallwayGroupEnv",
        card="epymarl_lmac.tasks.hallway_group",
        rules="hallway in groups",
        score=SUCCESS,
    ),
    "lbf": EnvEntry(
        batched="envs.lbf:LbfEnv",
        card="epymarl_lmac.tasks.lbf",
        rules="level-based foraging",
        score="epymarl_lmac.tasks.lbf:score",
    ),
    "lookout": EnvEntry(
        batched="envs.lookout:LookoutEnv",
        card="epymarl_lmac.tasks.lookout",
        rules="lookout 1",
        score="epymarl_lmac.tasks.lookout:score",
    ),
    "predator_prey": EnvEntry(
        batched="envs.predator_prey:PredatorPreyEnv",
        card="epymarl_lmac.tasks.predator_prey",
        rules="predator-prey",
        score=SUCCESS,
    ),
    "sc2": EnvEntry(
        batched="envs.sc2:Sc2Env",
        single="envs.starcraft2:make_sc2",
        choose="epymarl_lmac.tasks.sc2_engine:sc2_form",
        card="epymarl_lmac.tasks.sc2",
        came_later="epymarl_lmac.tasks.sc2_settings:CAME_LATER",
        rules="SMAC, embedded or StarCraft II",
        score=BATTLE,
        in_hosts=False,
    ),
    "sc2v2": EnvEntry(
        batched="envs.sc2:Sc2V2Env",
        single="envs.starcraft2:make_sc2v2",
        choose="epymarl_lmac.tasks.sc2_engine:sc2v2_form",
        card="epymarl_lmac.tasks.sc2v2",
        came_later="epymarl_lmac.tasks.sc2_settings:CAME_LATER",
        rules="SMACv2, embedded or StarCraft II",
        score=BATTLE,
        in_hosts=False,
    ),
    "traffic_junction": EnvEntry(
        batched="envs.traffic_junction:TrafficJunctionEnv",
        card="epymarl_lmac.tasks.traffic_junction",
        rules="traffic junction",
        score=SUCCESS,
    ),
    "gymma": EnvEntry(
        single="envs.gymma_env:make",
        card="envs.gymma_card",
        rules="Gymnasium, by id",
        rewards=("sum", "mean"),
        saves_state=False,
        in_hosts=False,
    ),
    "gfootball": EnvEntry(
        single="envs.gfootball_env:make",
        card="envs.gfootball_card",
        rules="Google Research Football, by scenario",
        score=SUCCESS,
        saves_state=False,
        in_hosts=False,
    ),
    "smaclite": EnvEntry(
        single="envs.smaclite_env:make",
        card="envs.smaclite_env",
        rules="SMAClite, by map",
        score=Score("battle_won_mean", 0, 1, optimum=1),
        saves_state=False,
        in_hosts=False,
    ),
    "pettingzoo": EnvEntry(
        single="envs.pettingzoo_env:make",
        card="envs.pettingzoo_card",
        rules="PettingZoo, by module",
        rewards=("sum", "mean"),
        saves_state=False,
        in_hosts=False,
    ),
}


class EntryRegistry(LazyRegistry):
    """Name -> ``EnvEntry``. What a package registers in another form becomes an entry when it is first used."""

    def __getitem__(self, name: str) -> EnvEntry:
        if isinstance(self._entries.get(name), str):
            make_envs_importable()  # a package's environment imports envs.batched
        entry = self._entries[name] = as_entry(super().__getitem__(name))
        return entry


def _unknown(message: str) -> TaskError:
    return TaskError(f"env {message}")


ENTRIES: Any = extended("envs", OURS, _unknown, EntryRegistry)


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns recorded settings with the ``env_args`` that came later, at what the run was made with."""
    env, env_args = settings.get("env"), settings.get("env_args")
    if not isinstance(env, str) or env not in ENTRIES or not isinstance(env_args, Mapping):
        return dict(settings)
    return {**settings, "env_args": {**(resolve(ENTRIES[env].came_later) or {}), **env_args}}
