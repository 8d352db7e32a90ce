"""Floors and ceilings of the small grid tasks, with and without communication.

Writes ``optimum.json`` and ``optimum.md`` beside this file. A pair is a range: what was reached or proved, and the
bound. docs/environments/grid_tasks.md has the arguments.

    python docs/results/grid_tasks/optimum.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

RANDOM = {"random_lengths": True, "time_slack": 0}
HALLWAYS: list[tuple[str, dict[str, Any]]] = [
    ("hallway", {}),
    ("hallway", RANDOM),
    ("hallway", {**RANDOM, "lengths": [4, 4, 4]}),
    ("hallway_group", {}),
    ("hallway_group", RANDOM),
]
SEARCHES: list[dict[str, Any]] = [
    {},
    {"vision": 1},
    {"players": 5, "size": 10, "vision": 1, "max_episode_steps": 40},
    {"players": 10, "size": 20, "vision": 1, "max_episode_steps": 80},
]
MEDIUM = {"difficulty": "medium", "players": 10, "size": 14, "max_episode_steps": 40, "add_rate": 0.2}
HARD = {"difficulty": "hard", "players": 20, "size": 18, "max_episode_steps": 80, "add_rate": 0.05}


def settings(env: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Returns the env_args of an environment's yaml with changes."""
    loaded = yaml.safe_load((ROOT / "config" / "envs" / f"{env}.yaml").read_text())["env_args"]
    return {**loaded, **changes}


def hallway_row(env: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Exact values of a hallway, by the dynamic programme of ``epymarl_lmac.tasks.hallway_optimum``."""
    from epymarl_lmac.tasks import task_id
    from epymarl_lmac.tasks.hallway import HallwaySettings
    from epymarl_lmac.tasks.hallway_optimum import values

    env_args = settings(env, changes)
    game = HallwaySettings.from_env_args(env, env_args)
    return {
        "task": f"{env} {task_id(env, env_args)}",
        "measure": "return",
        "floor": 0.0,
        "alone": values(game, communication=False),
        "together": values(game, communication=True),
    }


def search_row(changes: dict[str, Any]) -> dict[str, Any]:
    """Bounds for predator-prey; the oracle that knows the prey's cell is exact."""
    from epymarl_lmac.tasks import task_id
    from epymarl_lmac.tasks.predator_prey import PredatorPreySettings
    from epymarl_lmac.tasks.predator_prey_optimum import search_values

    env_args = settings("predator_prey", changes)
    found = search_values(PredatorPreySettings.from_env_args(env_args))
    return {
        "task": f"predator_prey {task_id('predator_prey', env_args)}",
        "measure": "return",
        "floor": found["floor"],
        "alone": (None, found["alone_high"]),
        "together": (None, found["together_high"]),
        "oracle": found["oracle"],
    }


# -- traffic junction, easy: exact -----------------------------------------------------------------------------


def easy_success(size: int, players: int, rate: float, steps: int) -> tuple[float, float]:
    """Returns the best probability of an episode without a crash, and that of always driving.

    A state is the set of occupied cells; which car stands where does not matter for crashes. The best probability
    is that of a planner that sees all cars: an upper bound for every team, and reached if all tell each other what they
    see. New cars appear at the two entries whatever happens there.
    """
    best: dict[frozenset, float] = {}
    gas: dict[frozenset, float] = {}
    states = _easy_states(size, players)
    best = dict.fromkeys(states, 1.0)
    gas = dict.fromkeys(states, 1.0)
    moves = {state: _easy_moves(state, size) for state in states}
    for _ in range(steps):
        after_best = {state: _arrivals(state, players, rate, best) for state in states}
        after_gas = {state: _arrivals(state, players, rate, gas) for state in states}
        best = {state: max((after_best[m] for m in moves[state]), default=0.0) for state in states}
        gas = {state: _drive_all(state, size, after_gas) for state in states}
    return best[frozenset()], gas[frozenset()]


def _easy_states(size: int, players: int) -> list[frozenset]:
    """Returns all sets of at most ``players`` cars without a crash; a car is (lane, cell)."""
    middle = size // 2
    places = [(lane, cell) for lane in (0, 1) for cell in range(size + 1)]
    found = []
    for n in range(players + 1):
        for cars in itertools.combinations(places, n):
            if not ((0, middle) in cars and (1, middle) in cars):
                found.append(frozenset(cars))
    return found


def _easy_moves(state: frozenset, size: int) -> list[frozenset]:
    """Returns every set of cars that one step of some of them leads to without a crash."""
    middle, cars = size // 2, sorted(state)
    found = set()
    for steps in itertools.product((0, 1), repeat=len(cars)):
        moved = [(lane, cell + step) for (lane, cell), step in zip(cars, steps, strict=True) if cell + step <= size]
        if len(set(moved)) == len(moved) and not ((0, middle) in moved and (1, middle) in moved):
            found.add(frozenset(moved))
    return list(found)


def _drive_all(state: frozenset, size: int, after: dict[frozenset, float]) -> float:
    """Returns the value of moving every car, 0 where that is a crash."""
    return after.get(frozenset((lane, cell + 1) for lane, cell in state if cell < size), 0.0)


def _arrivals(state: frozenset, players: int, rate: float, value: dict[frozenset, float]) -> float:
    """Returns the expected value after cars arrive, first in lane 0; a car that enters an occupied cell crashes."""

    def enter(cars: frozenset, lane: int) -> float:
        if lane == 2:
            return value[cars]
        if len(cars) >= players:
            return value[cars]
        stays = (1 - rate) * enter(cars, lane + 1)
        return stays + (0.0 if (lane, 0) in cars else rate * enter(cars | {(lane, 0)}, lane + 1))

    return enter(state, 0)


def easy_row() -> dict[str, Any]:
    """Exact success rates of the easy junction."""
    env_args = settings("traffic_junction", {})
    best, gas = easy_success(env_args["size"], env_args["players"], env_args["add_rate"], env_args["max_episode_steps"])
    return {
        "task": "traffic_junction easy-v0",
        "measure": "success",
        "floor": gas,
        "alone": (gas, best),
        "together": best,
    }


# -- traffic junction, medium and hard: played -----------------------------------------------------------------


def played_row(name: str, changes: dict[str, Any], episodes: int) -> dict[str, Any]:
    """Success of two fixed policies over played episodes: always gas, and a planner that sees all cars."""
    found = {policy: _play(changes, policy, episodes) for policy in ("gas", "planner")}
    error = {policy: float(np.sqrt(p * (1 - p) / episodes)) for policy, p in found.items()}
    return {
        "task": f"traffic_junction {name}-v0",
        "measure": "success",
        "floor": found["gas"],
        "alone": (found["gas"], 1.0),
        "together": (max(found.values()), 1.0),
        "standard_error": error,
        "episodes": episodes,
    }


def _play(changes: dict[str, Any], policy: str, episodes: int) -> float:
    from envs.traffic_junction import TrafficJunctionEnv

    env = TrafficJunctionEnv(episodes, 1, **settings("traffic_junction", {**changes, "vocabulary": "coordinates"}))
    every = [[tuple(cell) for cell in route] for arrival in env.settings.routes for route in arrival]
    for _ in range(env.episode_limit):
        actions_BN = np.zeros((episodes, env.n_agents), np.int64)
        if policy == "planner":
            for b, cars_N5 in enumerate(env.state_dict()["cars_BN5"].tolist()):
                actions_BN[b] = _planned(cars_N5, every)
        result = env.step(actions_BN)
    return float(result.info["success"].mean())


def _planned(cars_N5: list[list[int]], routes: list[list[tuple[int, int]]]) -> list[int]:
    """Lets cars near their entry go first; a car brakes if its next cell is taken.

    A car may enter the cell of a car that drives on. The plan looks one step ahead only, so its success is a lower
    bound of what a team that knows everything can reach.
    """
    inside = [i for i, car in enumerate(cars_N5) if car[0]]
    here = {i: routes[cars_N5[i][1]][cars_N5[i][2]] for i in inside}
    ahead = {i: (routes[cars_N5[i][1]] + [(-1, -i)])[cars_N5[i][2] + 1] for i in inside}
    brakes: set[int] = set()
    while True:
        wanted: dict[tuple[int, int], list[int]] = {}
        for i in inside:
            wanted.setdefault(here[i] if i in brakes else ahead[i], []).append(i)
        more = set()
        for who in wanted.values():
            free = sorted((i for i in who if i not in brakes), key=lambda i: cars_N5[i][2])
            keep = 0 if any(i in brakes for i in who) else 1
            more |= set(free[keep:])
        if not more:
            return [int(i in brakes) for i in range(len(cars_N5))]
        brakes |= more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=2000, help="played episodes of medium and hard traffic")
    args = parser.parse_args()
    rows = [hallway_row(env, changes) for env, changes in HALLWAYS]
    rows += [search_row(changes) for changes in SEARCHES]
    rows += [easy_row(), played_row("medium", MEDIUM, args.episodes), played_row("hard", HARD, args.episodes)]
    folder = Path(__file__).parent
    (folder / "optimum.json").write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "optimum.md").write_text(table(rows))
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown page with one table."""
    lines = ["# Floors and best values of the grid tasks", ""]
    lines += ["| task | measure | floor | without communication | with communication | all known |", "|" + " --- |" * 6]
    for row in rows:
        oracle = f"{row['oracle']:.4g}" if "oracle" in row else ""
        cells = [
            row["task"],
            row["measure"],
            f"{row['floor']:.4g}",
            _span(row["alone"]),
            _span(row["together"]),
            oracle,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _span(value: Any) -> str:
    if not isinstance(value, (list, tuple)):
        return f"{value:.4g}"
    low, high = value
    if low is None:
        return f"at most {high:.4g}"
    return f"{low:.4g}" if abs(high - low) < 1e-9 else f"{low:.4g} to {high:.4g}"


if __name__ == "__main__":
    main()
