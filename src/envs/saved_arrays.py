"""Saving and restoring environments whose whole state is a set of arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def saved(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns copies of the arrays."""
    return {name: array.copy() for name, array in arrays.items()}


def check(owner: str, arrays: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> None:
    """Refuses a saved state that does not fit.

    Args:
        owner: name of the environment, for messages.
        arrays: the environment's own.
        state: what ``saved`` returned.

    Raises:
        ValueError: a name, shape or type differs.
    """
    if set(state) != set(arrays):
        raise ValueError(f"{owner}: saved state has arrays {sorted(state)}; expected {sorted(arrays)}.")
    for name, array in arrays.items():
        value = np.asarray(state[name])
        if value.shape != array.shape or value.dtype != array.dtype:
            raise ValueError(
                f"{owner}: saved array {name!r} is {value.dtype} {value.shape}; this environment has "
                f"{array.dtype} {array.shape}. Load it with the settings, version and num_envs it was saved with."
            )


def restore(owner: str, arrays: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> None:
    """Writes saved values into an environment's arrays, in place; arguments and errors as for ``check``."""
    check(owner, arrays, state)
    for name, array in arrays.items():
        array[...] = state[name]
