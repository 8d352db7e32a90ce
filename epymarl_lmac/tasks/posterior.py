"""What can be known of a task's state: the best estimates that one agent alone, or all agents together, could make.

A task brings a posterior in a module beside its card, ``<env>_posterior.py``, with one function
``posterior(env_args)``. ``lbf_posterior.py`` enumerates, ``lookout_posterior.py`` has a closed form.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

EXACT = "exact"
SAMPLED = "sampled"  # for a task whose posterior draws what it cannot enumerate


@dataclass(frozen=True)
class Belief:
    """A distribution over states, by its first two moments: what squared error asks for.

    No estimate from the same histories has a smaller expected squared error than the mean; its error is the variance.
    """

    mean: np.ndarray  # (..., S)
    variance: np.ndarray  # (..., S)


class Posterior(Protocol):
    """The distribution over states given histories; T stored steps, N agents, O observation, S state."""

    form: str  # EXACT or SAMPLED

    @property
    def note(self) -> str:
        """How it was found and what it assumes, one or two sentences."""

    def together(self, obs_TNO: np.ndarray, actions_TN: np.ndarray) -> Belief:
        """Returns what the histories of all agents tell at every step: arrays (T, S)."""

    def alone(self, obs_TNO: np.ndarray, actions_TN: np.ndarray) -> Belief:
        """Returns what every agent's own history tells it at every step: arrays (T, N, S)."""


def posterior_of(env: str, env_args: Mapping[str, Any]) -> Posterior | None:
    """Returns the posterior of a task, or None where it brings none for these settings.

    Args:
        env: registry key of the environment.
        env_args: its arguments.
    """
    name = f"epymarl_lmac.tasks.{env}_posterior"
    if importlib.util.find_spec(name) is None:
        return None
    return importlib.import_module(name).posterior(env_args)
