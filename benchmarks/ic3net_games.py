"""IC3Net's own traffic junction and predator-prey, loaded from a checkout of its repository.

Used by ``grid_stepping.py`` beside this file and by the tests that compare our rules with them. The old ``gym`` package
that they import is replaced by a few empty classes: nothing of it takes part in the games.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = Path("ic3net-envs") / "ic3net_envs"


def is_checkout(folder: Path) -> bool:
    """Returns whether a folder is a checkout of https://github.com/IC3Net/IC3Net."""
    return (folder / PACKAGE / "traffic_junction_env.py").is_file()


def load_module(checkout: Path, name: str) -> Any:
    """Returns a module of the reference's environments, e.g. ``traffic_helper``."""
    if "ic3net_envs" not in sys.modules:
        package = types.ModuleType("ic3net_envs")
        package.__path__ = [str(checkout / PACKAGE)]
        sys.modules["ic3net_envs"] = package
    if "gym" not in sys.modules:
        sys.modules["gym"] = _empty_gym()
    return importlib.import_module(f"ic3net_envs.{name}")


def _empty_gym() -> types.ModuleType:
    class Space:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

    gym = types.ModuleType("gym")
    gym.Env = type("Env", (), {})  # type: ignore[attr-defined]
    names = ("Discrete", "MultiDiscrete", "MultiBinary", "Box", "Tuple")
    gym.spaces = types.SimpleNamespace(**dict.fromkeys(names, Space))  # type: ignore[attr-defined]
    return gym


def _class_index(_self: Any, class_RC: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    """Stands in for the reference's own index of one class a cell, which NumPy 2 does not run."""
    return (*np.indices(class_RC.shape, sparse=True), class_RC)


def make_traffic_junction(checkout: Path, env_args: dict[str, Any]) -> Any:
    """Returns the reference's traffic junction with our settings, not yet reset."""
    if not hasattr(np, "row_stack"):  # the reference checks its routes with it; NumPy dropped the name
        np.row_stack = np.vstack
    game = load_module(checkout, "traffic_junction_env").TrafficJunctionEnv
    game._all_idx = _class_index
    env = game()
    env.multi_agent_init(
        argparse.Namespace(
            nagents=env_args["players"],
            dim=env_args["size"],
            vision=env_args["vision"],
            add_rate_min=env_args["add_rate"],
            add_rate_max=env_args["add_rate"],
            curr_start=0,
            curr_end=0,
            difficulty=env_args["difficulty"],
            vocab_type="bool" if env_args["vocabulary"] == "cells" else "scalar",
        )
    )
    return env


def make_predator_prey(checkout: Path, env_args: dict[str, Any]) -> Any:
    """Returns the reference's predator-prey with our settings, not yet reset."""
    game = load_module(checkout, "predator_prey_env").PredatorPreyEnv
    game._all_idx = _class_index
    env = game()
    env.multi_agent_init(
        argparse.Namespace(
            nfriendly=env_args["players"],
            nenemies=1,
            dim=env_args["size"],
            vision=env_args["vision"],
            moving_prey=False,
            mode="cooperative",
            enemy_comm=False,
            no_stay=not env_args["stay"],
        )
    )
    return env


def flat(observation: Any) -> np.ndarray:
    """Returns the reference's observation as float32 (N, O), flattened the way its own trainer does."""
    if isinstance(observation, tuple):
        rows = [np.concatenate([np.ravel(part) for part in agent]) for agent in observation]
        return np.stack(rows).astype(np.float32)
    return observation.reshape(len(observation), -1).astype(np.float32)
