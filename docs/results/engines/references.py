"""Floors and known returns of the engines' tasks: random play, and scripts that know where to go.

Writes ``references.json`` beside this file; ``docs/results/grid_tasks/learning.py`` puts it beside what was learned. A
script is a lower bound of what can be reached, no ceiling: with it the number is printed as "at least".

    python docs/results/engines/references.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from epymarl_lmac.settings.load import merge  # noqa: E402
from epymarl_lmac.tasks import task_id  # noqa: E402
from epymarl_lmac.tasks.entry import resolve  # noqa: E402

EPISODES, SEED = 200, 1
LEFT, RIGHT, DOWN, UP = 1, 2, 3, 4  # the particle world's moves; 0 stays
NEAR = 0.05  # places; a script does not correct less
BRAKING = 0.4  # share of its velocity by which an agent still drifts

Players = Callable[[np.ndarray, np.random.Generator, np.ndarray], list[int]]  # obs (N, O), rng, avail (N, A) -> actions
PARTICLES = ("simple_speaker_listener_v4", "simple_reference_v3", "simple_spread_v3")
FORAGING = ["env_args.key=lbforaging:Foraging-2s-8x8-2p-2f-coop-v3", "env_args.time_limit=50"]
WAREHOUSE = ["env_args.key=rware:rware-tiny-2ag-v2", "env_args.time_limit=500"]


def at_random(obs_NO: np.ndarray, rng: np.random.Generator, avail_NA: np.ndarray) -> list[int]:
    """Returns uniformly random available actions."""
    return [int(rng.choice(np.flatnonzero(own))) for own in avail_NA]


def move(way: np.ndarray, velocity: np.ndarray) -> int:
    """Returns the move along the longer axis of a way (x, y), less what an agent drifts anyway."""
    left = way - BRAKING * velocity
    axis = int(np.abs(left).argmax())
    if abs(left[axis]) < NEAR:
        return 0
    return ((LEFT, RIGHT), (DOWN, UP))[axis][int(left[axis] > 0)]


def listener_at(goal: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Players:
    """Returns a silent speaker and a listener that goes where ``goal`` (of both observations) says."""
    return lambda obs, rng, avail: [0, move(goal(obs[0], obs[1]), obs[1][:2])]


def told_goal(speaker: np.ndarray, listener: np.ndarray) -> np.ndarray:
    """Returns the way to the landmark of the speaker's colour."""
    return listener[2:8].reshape(3, 2)[speaker[:3].argmax()]


def middle(speaker: np.ndarray, listener: np.ndarray) -> np.ndarray:
    """Returns the way to the middle of all landmarks: the best place for who knows nothing of the colour."""
    return listener[2:8].reshape(3, 2).mean(0)


def told_each_other(obs: np.ndarray, rng: np.random.Generator, avail: np.ndarray) -> list[int]:
    """Agents of simple_reference that know their own goals; they say nothing."""
    return [move(obs[n][2:8].reshape(3, 2)[obs[1 - n][8:11].argmax()], obs[n][:2]) for n in range(2)]


def middle_each(obs: np.ndarray, rng: np.random.Generator, avail: np.ndarray) -> list[int]:
    """Agents of simple_reference that go to the middle of all landmarks."""
    return [move(own[2:8].reshape(3, 2).mean(0), own[:2]) for own in obs]


def shortest_ways(obs: np.ndarray, rng: np.random.Generator, avail: np.ndarray) -> list[int]:
    """Agents of simple_spread that share the landmarks along the shortest ways, which each can work out by itself."""
    ways = obs[:, 4:10].reshape(3, 3, 2)
    far = np.linalg.norm(ways, axis=2)
    best = min(permutations(range(3)), key=lambda shared: sum(far[n, shared[n]] for n in range(3)))
    return [move(ways[n, best[n]], obs[n, :2]) for n in range(3)]


def mean_return(env_name: str, updates: list[str], players: Players, episodes: int) -> float:
    """Returns the team's mean return."""
    values = merge("qmix", env_name, updates)
    make: Any = resolve("envs.pettingzoo_env:make" if env_name == "pettingzoo" else "envs.gymma_env:make")
    rng, total = np.random.default_rng(SEED), 0.0
    with closing(make(seed=SEED, common_reward=True, reward_scalarisation="sum", **values["env_args"])) as env:
        for _ in range(episodes):
            env.reset()
            is_over = False
            while not is_over:
                actions = players(np.array(env.get_obs()), rng, np.array(env.get_avail_actions()))
                _, reward, terminated, truncated, _ = env.step(actions)
                total += float(np.sum(reward))
                is_over = bool(terminated or truncated)
    return total / episodes


def row(env_name: str, updates: list[str], episodes: int = EPISODES, **known: Any) -> dict[str, Any]:
    """Returns a task's row: random play, and what is known of it."""
    task = f"{env_name} {task_id(env_name, merge('qmix', env_name, updates)['env_args'])}"
    floor = mean_return(env_name, updates, at_random, episodes)
    return {"task": task, "measure": "return", "floor": round(floor, 3), "episodes": episodes, **known}


def at_least(name: str, players: Players) -> list[float | None]:
    """Returns the mean return of a script of a particle task, as a range that is open above."""
    return [round(mean_return("pettingzoo", [f"env_args.key=mpe2.{name}"], players, EPISODES), 3), None]


def main() -> None:
    listener, reference, spread = PARTICLES
    rows = [
        row(
            "pettingzoo",
            [f"env_args.key=mpe2.{listener}"],
            alone=at_least(listener, listener_at(middle)),
            together=at_least(listener, listener_at(told_goal)),
        ),
        row(
            "pettingzoo",
            [f"env_args.key=mpe2.{reference}"],
            alone=at_least(reference, middle_each),
            together=at_least(reference, told_each_other),
        ),
        row(
            "pettingzoo",
            [f"env_args.key=mpe2.{spread}"],
            alone=at_least(spread, shortest_ways),
            together=at_least(spread, shortest_ways),
        ),
        row("gymma", FORAGING, together=[None, 1.0]),
        row("gymma", WAREHOUSE, episodes=10),
    ]
    (HERE / "references.json").write_text("[\n" + ",\n".join(json.dumps(one) for one in rows) + "\n]\n")


if __name__ == "__main__":
    main()
