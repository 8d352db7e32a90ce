"""A recorded run as the opponent of ``sc2`` and ``sc2v2``: which networks are meant, and whether they fit.

The networks lead the enemies as they led their own agents: the sides are exchanged. ``src/envs/battle/rival.py`` lets
them act; here the record is read and compared with the task.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epymarl_lmac.errors import TaskError, UserError
from epymarl_lmac.tasks.sc2_map import BattleMap
from epymarl_lmac.tasks.sc2_settings import SCRIPT, Sc2Settings

_NETWORKS = re.compile(r"(?:networks|checkpoint)-(\d+)\.pt")
# What does not change how agents see the units and what they can do; everything else must be the same.
_FREE = {
    "battle_map", "engine", "strict_actions", "continuing_episode", "opponent", "difficulty", "game_version",
    "heuristic_ai", "heuristic_rest",
    *(field.name for field in dataclasses.fields(Sc2Settings) if field.name.startswith("reward_")),
}  # fmt: skip


@dataclass(frozen=True)
class OpponentRun:
    """The networks of a recorded run at one saved step."""

    folder: Path
    step: int  # training steps of the networks
    algorithm: str
    run_id: str
    digest: str  # first digits of the SHA-256 of the file of the networks
    record: Mapping[str, Any]  # the settings that the run was recorded with

    @property
    def label(self) -> str:
        """Name of the opponent in tasks' names and folders."""
        return f"{self.algorithm}-{self.run_id}-{self.step}"

    @property
    def rules(self) -> str:
        """The opponent in the rules of the run record."""
        return f"run {self.folder.name} ({self.algorithm}, id {self.run_id}, step {self.step}, networks {self.digest})"

    def task(self, env: str) -> Sc2Settings:
        """Returns the task that the networks learnt, without whoever led its enemies.

        Args:
            env: the environment that is played now.

        Raises:
            TaskError: the run is of another environment, or its record makes no task any more.
        """
        if self.record["env"] != env:
            raise TaskError(
                f"{env}: opponent={str(self.folder)!r} is a run of {self.record['env']}; it must be a run of {env}."
            )
        played = {"engine": "embedded", "opponent": SCRIPT, "difficulty": "7", "game_version": None}
        return Sc2Settings.from_env_args(env, {**self.record["env_args"], **played})


def read_opponent(env: str, place: str) -> OpponentRun:
    """Reads which networks an ``opponent`` names.

    Args:
        env: the environment, for messages.
        place: folder of a run (its last saved networks), or one of its files ``networks-STEP.pt``.

    Raises:
        TaskError: nothing is there, it is no run, or it saved no networks.
    """
    from epymarl_lmac.checkpoint import saved_steps  # PyTorch: only where a run plays
    from epymarl_lmac.record.provenance import read_run

    path = Path(place).expanduser()
    named = _NETWORKS.fullmatch(path.name)
    folder = path.parent if named else path
    if not folder.is_dir():
        raise TaskError(f"{env}: opponent={place!r} does not exist; give the folder of a run, or its networks-STEP.pt.")
    try:
        record = read_run(folder)
    except UserError as err:
        raise TaskError(f"{env}: opponent={place!r} cannot be used: {err}") from err
    steps = saved_steps(folder)
    if not steps:
        raise TaskError(
            f"{env}: opponent={place!r} holds no saved networks; was the run started with save_model=True, and has it "
            "saved once?"
        )
    step = int(named[1]) if named else steps[-1]
    if step not in steps:
        raise TaskError(f"{env}: opponent={place!r} has no networks of step {step}; saved are: {_listed(steps)}.")
    networks = (folder / f"networks-{step}.pt").read_bytes()
    return OpponentRun(
        folder=folder,
        step=step,
        algorithm=record["algorithm"],
        run_id=record["run_id"],
        digest=hashlib.sha256(networks).hexdigest()[:12],
        record=record["settings"],
    )


def fitting_opponent(env: str, settings: Sc2Settings) -> tuple[OpponentRun, Sc2Settings]:
    """Returns the run that leads the enemies, and the task that it learnt.

    Args:
        env: the environment.
        settings: the task; ``opponent`` names a run.

    Raises:
        TaskError: there is no such run, or it does not fit; the message names everything that differs.
    """
    opponent = read_opponent(env, settings.opponent)
    theirs = opponent.task(env)
    found = [*_map_differences(settings.battle_map, theirs.battle_map), *_option_differences(settings, theirs)]
    if theirs.heuristic_ai:
        found.append("SMAC's script led the run's agents (heuristic_ai), so its networks never played")
    if found:
        raise TaskError(
            f"{env}: opponent={settings.opponent!r} does not fit {settings.battle_map.name}: {'; '.join(found)}. Its "
            "networks lead the enemies as if these were their agents, so both sides must be the same when exchanged."
        )
    return opponent, theirs


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _team(team: tuple[tuple[str, int], ...]) -> str:
    counts: Counter[str] = Counter()
    for unit_type, count in team:
        counts[unit_type] += count
    return _listed(f"{count} {unit_type}" for unit_type, count in sorted(counts.items()))


def _map_differences(here: BattleMap, there: BattleMap) -> list[str]:
    """Returns what keeps a map from being another one seen from the other side."""
    found = []
    if _team(here.enemies) != _team(there.allies):
        found.append(f"the enemies are {_team(here.enemies)}, the run's agents {_team(there.allies)}")
    if _team(here.allies) != _team(there.enemies):
        found.append(f"the agents are {_team(here.allies)}, the run's enemies {_team(there.enemies)}")
    if here.team != there.team:
        found.append("other teams are drawn")
    if not np.array_equal(here.walkable, there.walkable[::-1, ::-1]):
        found.append(f"the walls of {there.name}, turned by half a circle, are others")
    exchanged = {(o.unit_type, o.field, o.value, None if o.owner is None else 1 - o.owner) for o in there.overrides}
    if exchanged != {(o.unit_type, o.field, o.value, o.owner) for o in here.overrides}:
        found.append("the map changes other numbers of unit types")
    return found


def _option_differences(here: Sc2Settings, there: Sc2Settings) -> list[str]:
    names = [field.name for field in dataclasses.fields(Sc2Settings) if field.name not in _FREE]
    found = [
        f"{name} is {getattr(here, name)!r}, the run's {getattr(there, name)!r}"
        for name in names
        if getattr(here, name) != getattr(there, name)
    ]
    shows_time = here.obs_timestep_number or here.state_timestep_number
    limits = here.battle_map.limit, there.battle_map.limit
    if shows_time and limits[0] != limits[1]:
        found.append(f"an episode has {limits[0]} steps, the run's {limits[1]}")
    return found
