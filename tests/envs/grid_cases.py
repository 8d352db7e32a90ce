"""Settings of the small grid tasks that several test files play."""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml

from envs import ENTRIES
from epymarl_lmac.paths import config_root
from epymarl_lmac.tasks.entry import resolve

MEDIUM = {"difficulty": "medium", "players": 10, "size": 14, "max_episode_steps": 40, "add_rate": 0.2}
HARD = {"difficulty": "hard", "players": 20, "size": 18, "max_episode_steps": 80, "add_rate": 0.05}
PENALTY = {
    "rules": "penalty", "players": 8, "prey": 8, "size": 10, "vision": 2, "penalty": 2.0, "max_episode_steps": 200,
}  # fmt: skip
RANDOM = {"random_lengths": True, "time_slack": 0}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "hallway": ("hallway", {}),
    "hallway random": ("hallway", RANDOM),
    "hallway_group": ("hallway_group", {}),
    "hallway_group random": ("hallway_group", RANDOM),
    "traffic easy": ("traffic_junction", {}),
    "traffic medium vision 1": ("traffic_junction", {**MEDIUM, "vision": 1}),
    "traffic hard coordinates": ("traffic_junction", {**HARD, "vocabulary": "coordinates", "vision": 1}),
    "traffic curriculum": ("traffic_junction", {"curriculum": [0.1, 0, 3]}),
    "predator_prey": ("predator_prey", {}),
    "predator_prey vision 1": ("predator_prey", {"vision": 1, "stay": False}),
    "predator_prey penalty": ("predator_prey", {**PENALTY, "max_episode_steps": 25}),
}


def settings(env: str, **changes: Any) -> dict[str, Any]:
    """Returns the env_args of an environment's yaml with changes."""
    loaded = yaml.safe_load((config_root() / "envs" / f"{env}.yaml").read_text())["env_args"]
    return {**loaded, **changes}


def make(env: str, num_envs: int = 1, seed: int = 0, **changes: Any) -> Any:
    """Returns B copies of an environment with its yaml's settings and changes."""
    return resolve(ENTRIES[env].batched)(num_envs, seed, **settings(env, **changes))


def allowed_actions(env: Any, rng: np.random.Generator) -> np.ndarray:
    """Returns random available actions (B, N)."""
    return (rng.random(env.avail_BNA.shape) * env.avail_BNA).argmax(-1)
