"""Settings and task card of ``traffic_junction`` (src/envs/traffic_junction.py has the game)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.card import Dimension, TaskCard
from epymarl_lmac.tasks.checks import check_boolean, check_choice, check_integer, check_keys, check_number
from epymarl_lmac.tasks.traffic_routes import Cell, grid_side, road_blocks, routes

ACTIONS = ("gas", "brake")
DIFFICULTIES = ("easy", "medium", "hard")
VOCABULARIES = ("cells", "coordinates")
N_ROADS = {"easy": 2, "medium": 4, "hard": 8}  # one-way lanes
PUBLISHED = {  # difficulty -> players, size, steps, add rate at the end of the published curriculum
    "easy": (5, 6, 20, 0.3),
    "medium": (10, 14, 40, 0.2),
    "hard": (20, 18, 80, 0.05),
}


@dataclass(frozen=True)
class Curriculum:
    """How the add rate rises, episode by episode of each copy."""

    start_rate: float  # add rate up to the first episode
    first: int  # episode (from 0) in which it begins to rise
    last: int  # episode from which the full add rate holds


@dataclass(frozen=True)
class TrafficSettings:
    """The env_args of ``config/envs/traffic_junction.yaml``, where each is explained."""

    difficulty: str
    players: int
    size: int
    vision: int
    add_rate: float
    curriculum: Curriculum | None
    vocabulary: str
    max_episode_steps: int
    time_limit_terminates: bool

    @classmethod
    def from_env_args(cls, env_args: Mapping[str, Any]) -> TrafficSettings:
        """Returns checked settings.

        Raises:
            TaskError: a missing or unknown argument, or a value that makes no game.
        """
        env = "traffic_junction"
        check_keys(env, env_args, [field.name for field in dataclasses.fields(cls)])
        add_rate = check_number(env, "add_rate", env_args["add_rate"], 0, 1)
        settings = cls(
            difficulty=check_choice(env, "difficulty", env_args["difficulty"], DIFFICULTIES),
            players=check_integer(env, "players", env_args["players"], 2),
            size=check_integer(env, "size", env_args["size"], 4),
            vision=check_integer(env, "vision", env_args["vision"], 0, 1),
            add_rate=add_rate,
            curriculum=_curriculum(env_args["curriculum"], add_rate),
            vocabulary=check_choice(env, "vocabulary", env_args["vocabulary"], VOCABULARIES),
            max_episode_steps=check_integer(env, "max_episode_steps", env_args["max_episode_steps"], 1),
            time_limit_terminates=check_boolean(env, "time_limit_terminates", env_args["time_limit_terminates"]),
        )
        settings._check_size()
        return settings

    def _check_size(self) -> None:
        if self.difficulty == "hard":
            if self.size < 9 or self.size % 3:
                raise TaskError(
                    f"traffic_junction: size={self.size} is not possible for hard; it must be a multiple of 3 of at "
                    "least 9, so that four junctions fit."
                )
        elif self.size % 2 or self.size < 4 + self.vision:
            raise TaskError(
                f"traffic_junction: size={self.size} is not possible for {self.difficulty} with vision={self.vision}; "
                f"it must be an even number of at least {4 + self.vision}."
            )

    @property
    def side(self) -> int:
        """Rows and columns of the grid."""
        return grid_side(self.difficulty, self.size)

    @property
    def n_routes(self) -> int:
        """Number of routes over all arrival points."""
        return N_ROADS[self.difficulty] * (N_ROADS[self.difficulty] - 1)

    @property
    def routes(self) -> list[list[list[Cell]]]:
        """Routes of every arrival point."""
        return routes(self.difficulty, self.size)

    @property
    def base(self) -> int:
        """First class that is no road cell, with the vocabulary of cells: the class of cells outside the roads."""
        return N_ROADS[self.difficulty] * self.size

    @property
    def n_classes(self) -> int:
        """Numbers that describe one seen cell."""
        return self.base + 3 if self.vocabulary == "cells" else 2

    @property
    def car_class(self) -> int:
        """Which of them counts cars."""
        return self.base + 2 if self.vocabulary == "cells" else 1

    @property
    def head(self) -> int:
        """Numbers of an observation before the seen cells."""
        return 2 if self.vocabulary == "cells" else 4

    @property
    def obs_dim(self) -> int:
        """Length O of one agent's observation."""
        return self.head + (2 * self.vision + 1) ** 2 * self.n_classes

    def classes(self) -> list[list[int]]:
        """Returns the class of every cell of the grid, row by row; -1 is a cell that is shown as zeros.

        With the vocabulary of cells road cells are numbered road by road, and where roads cross the later number
        holds. On easy grids the last road cell but one has the class of cells outside the roads: the reference counts
        one class too few there, and is followed.
        """
        is_numbered = self.vocabulary == "cells"
        grid = [[self.base if is_numbered else -1] * self.side for _ in range(self.side)]
        number = 0
        for block in road_blocks(self.difficulty, self.size):
            for r, c in block:
                grid[r][c] = number if is_numbered else 0
                number += 1
        return grid


def _curriculum(value: Any, add_rate: float) -> Curriculum | None:
    env, key = "traffic_junction", "curriculum"
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        raise TaskError(f"{env}: {key}={value!r} must be null or [add rate at the start, first episode, last episode].")
    start_rate = check_number(env, f"{key}[0]", value[0], 0, add_rate)
    first = check_integer(env, f"{key}[1]", value[1], 0)
    last = check_integer(env, f"{key}[2]", value[2], first + 1)
    return Curriculum(start_rate, first, last)


def task_id(env_args: Mapping[str, Any]) -> str:
    """Returns e.g. ``easy-v0``; what differs from the published form of its difficulty is appended."""
    s = TrafficSettings.from_env_args(env_args)
    players, size, steps, rate = PUBLISHED[s.difficulty]
    parts = [s.difficulty, f"v{s.vision}"]
    parts += [f"{s.players}p"] if s.players != players else []
    parts += [f"{s.size}x{s.size}"] if s.size != size else []
    parts += [f"r{s.add_rate:g}"] if s.add_rate != rate else []
    parts += [f"t{s.max_episode_steps}"] if s.max_episode_steps != steps else []
    if s.curriculum is not None:
        parts.append(f"from{s.curriculum.start_rate:g}e{s.curriculum.first}to{s.curriculum.last}")
    parts += ["xy"] if s.vocabulary == "coordinates" else []
    parts += [] if s.time_limit_terminates else ["trunc"]
    return "-".join(parts)


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the task card of a setting."""
    s = TrafficSettings.from_env_args(env_args)
    return TaskCard(
        env="traffic_junction",
        task=task_id(env_args),
        goal=_goal(s),
        n_agents=s.players,
        episode_limit=s.max_episode_steps,
        actions=ACTIONS,
        state=_state_dimensions(s),
        obs=_obs_dimensions(s),
        settings=dict(env_args),
    )


def _goal(s: TrafficSettings) -> str:
    roads = {
        "easy": "two one-way roads that cross in one cell",
        "medium": "two two-way roads that cross in one junction of 2x2 cells",
        "hard": "four two-way roads that cross in four junctions of 2x2 cells",
    }[s.difficulty]
    n_arrivals = len(s.routes)
    rise = ""
    if s.curriculum is not None:
        c = s.curriculum
        rise = (
            f" The probability rises from {c.start_rate:g} in episode {c.first} of a copy (counted from 0) to its full "
            f"value in episode {c.last}."
        )
    view = (
        f"Each car sees its last action, the number of its route and the {(2 * s.vision + 1) ** 2} cells around it"
        if s.vision
        else "Each car sees its last action, the number of its route and its own cell"
    )
    return (
        f"Up to {s.players} cars drive on a {s.side}x{s.side} grid with {roads}, for {s.max_episode_steps} steps. In "
        f"every step a car arrives at each of the {n_arrivals} arrival points with probability {s.add_rate:g}, as long "
        f"as a car is left, and takes one of the point's {len(s.routes[0])} route(s) at random.{rise} A car either "
        "drives one cell along its route (gas) or stands (brake), and leaves at the end of the route; its agent then "
        "controls nothing, sees zeros and can only choose gas until it enters again. Cars do not stop each other: "
        f"cars in one cell have crashed, cost 10 each for every step they share it, and drive on. {view}. Every car in "
        "the system costs 0.01 for each step since it arrived, in every step. An episode is a success if "
        "no cars crashed."
    )


def _state_dimensions(s: TrafficSettings) -> tuple[Dimension, ...]:
    dims: list[Dimension] = []
    last = s.side - 1

    def add(name: str, meaning: str, unit: str) -> None:
        dims.append(Dimension(len(dims), name, meaning, 0, 1, unit))

    for i in range(s.players):
        add(f"alive[{i}]", f"1 if car {i} is in the system, else 0", "0/1")
        add(f"row[{i}]", f"row of car {i} divided by {last}, 0 if it is not in the system", "share")
        add(f"col[{i}]", f"column of car {i} divided by {last}, 0 if it is not in the system", "share")
        add(f"route[{i}]", f"route of car {i} divided by {s.n_routes - 1}, 0 if it is not in the system", "share")
        add(f"last[{i}]", f"1 if the last action of car {i} while in the system was brake, else 0", "0/1")
        add(f"wait[{i}]", f"steps since car {i} arrived, divided by {s.max_episode_steps}", "share")
    return tuple(dims)


def _obs_dimensions(s: TrafficSettings) -> tuple[Dimension, ...]:
    dims: list[Dimension] = []
    alone = "; 0 while this car is not in the system"

    def add(name: str, meaning: str, high: float, unit: str) -> None:
        dims.append(Dimension(len(dims), name, meaning + alone, 0, high, unit))

    add("last", "1 if this car's last action was brake, else 0", 1, "0/1")
    add("route", f"number of this car's route (from 0) divided by {s.n_routes - 1}", 1, "share")
    if s.vocabulary == "coordinates":
        add("row", f"this car's row divided by {s.side - 1}", 1, "share")
        add("col", f"this car's column divided by {s.side - 1}", 1, "share")
    names = _class_meanings(s)
    for dr in range(-s.vision, s.vision + 1):
        for dc in range(-s.vision, s.vision + 1):
            where = f"the cell {dr:+d} rows and {dc:+d} columns from this car" if dr or dc else "this car's own cell"
            for kind in range(s.n_classes):
                is_car = kind == s.car_class
                meaning = f"cars in {where}, itself included" if is_car else f"1 if {where} is {names[kind]}, else 0"
                high = float(s.players) if is_car else float(names[kind] != _UNUSED)
                name = "cars" if is_car else f"class{kind}"
                add(f"{name}[{dr:+d},{dc:+d}]", meaning, high, "cars" if is_car else "one-hot")
    return tuple(dims)


_UNUSED = "of a class that no cell has"


def _class_meanings(s: TrafficSettings) -> list[str]:
    """Says which cells have each class that a cell can have."""
    if s.vocabulary == "coordinates":
        return ["part of a road"]
    cells: dict[int, list[str]] = {}
    for r, row in enumerate(s.classes()):
        for c, kind in enumerate(row):
            if kind != s.base or (r, c) in {cell for block in road_blocks(s.difficulty, s.size) for cell in block}:
                cells.setdefault(kind, []).append(f"({r}, {c})")
    names = []
    for kind in range(s.base + 3):
        known = cells.get(kind, [])
        road = f"road cell {' or '.join(known)}" if known else ""
        outside = "outside the roads" if kind == s.base else ""
        names.append(" or ".join(part for part in (outside, road) if part) or _UNUSED)
    return names
