"""What the project knows about an environment before it is made: one ``EnvEntry`` an environment.

``entries.py`` has the table of all environments. Everything heavy is named by a text ``"module:attribute"`` and
imported when it is used, so importing this package imports neither engines nor ``src``.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from epymarl_lmac.errors import TaskError
from epymarl_lmac.paths import source_root

Form = Literal["batched", "single"]
REWARD_FORMS = ("sum", "mean", "per_agent")


def make_envs_importable() -> None:
    """Lets environments import ``envs``, also where neither the embedded host nor a foreign one has started."""
    if "envs" not in sys.modules and importlib.util.find_spec("envs") is None:
        sys.path.append(str(source_root()))


def resolve(reference: Any) -> Any:
    """Returns what ``"module:attribute"`` names; anything that is not a text is returned as it is."""
    if not isinstance(reference, str):
        return reference
    make_envs_importable()
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class Score:
    """The metric by which an environment is judged, and what is known about its values."""

    key: str = "return_mean"  # name in the record, without "test_"
    low: float | None = None  # smallest possible value; None: not known
    high: float | None = None  # largest possible value; None: not known
    optimum: float | None = None  # best expected value, or an upper bound of it; None: not known
    optimum_alone: float | None = None  # the same for agents that cannot communicate; None: not known

    def normalise(self, value: float) -> float:
        """Returns ``value`` on a scale on which ``low`` is 0 and ``high`` is 1.

        Raises:
            TaskError: the range is not known.
        """
        if self.low is None or self.high is None:
            raise TaskError(
                f"{self.key}={value:g} cannot be normalised: this environment states no range for {self.key}; "
                "give its EnvEntry a Score with low and high."
            )
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class EnvEntry:
    """One environment: how it is built, what its cards and scores are, what it can do.

    At least one of ``batched`` and ``single`` is given. With both, ``choose`` says which of them a task is built with.
    References are texts ``"module:attribute"``, or the object itself.

    Raises:
        TaskError: the entry contradicts itself.
    """

    batched: Any = None  # a BatchedEnv class: Env(num_envs, seed, **env_args)
    single: Any = None  # a function: make(seed=, common_reward=, reward_scalarisation=, **env_args) -> MultiAgentEnv
    choose: Any = None  # a function: choose(env_args) -> "batched" or "single"; None: batched where there is one
    card: str | None = None  # module with card(env_args) and task_id(env_args); None: no task cards
    rules: str = ""  # name of the rules or engine, for tables; the run record has the built environment's own text
    score: Any = Score()  # a Score, or a function: score(env_args) -> Score
    rewards: tuple[str, ...] = ("sum",)  # forms of reward it offers, some of REWARD_FORMS
    saves_state: bool = True  # whether its state can be saved and restored, so that a resumed run equals another
    came_later: Any = None  # env_args that came later -> what runs recorded without them were made with, or a reference
    in_hosts: bool = True  # whether ``attach`` takes it into hosts; False where hosts have wrappers of their own

    def __post_init__(self) -> None:
        if self.batched is None and self.single is None:
            raise TaskError("An EnvEntry needs batched, single or both; this one has neither.")
        if self.choose is not None and (self.batched is None or self.single is None):
            raise TaskError("An EnvEntry with choose needs batched and single, to choose between them.")
        unknown = sorted(set(self.rewards) - set(REWARD_FORMS))
        if unknown or not self.rewards:
            raise TaskError(f"EnvEntry.rewards={self.rewards!r}: name at least one of {', '.join(REWARD_FORMS)}.")
        if self.batched is not None and "mean" in self.rewards:
            raise TaskError(
                "EnvEntry.rewards: a batched environment returns the team's reward itself; leave out 'mean'."
            )
        if isinstance(self.score, Score):
            _check_range(self.score)

    def form(self, env_args: Mapping[str, Any]) -> Form:
        """Returns whether a task is built "batched" or as "single" copies.

        Raises:
            TaskError: ``choose`` refuses the arguments, or answers with something else.
        """
        if self.choose is None:
            return "single" if self.batched is None else "batched"
        form = resolve(self.choose)(env_args)
        if form not in ("batched", "single"):
            raise TaskError(f"{self.choose} answered {form!r}; it must be 'batched' or 'single'.")
        return form

    def score_of(self, env_args: Mapping[str, Any]) -> Score:
        """Returns the score of a task, with its range and optimum where they are known."""
        if isinstance(self.score, Score):
            return self.score
        score = resolve(self.score)(env_args)
        _check_range(score)
        return score

    def card_module(self) -> ModuleType | None:
        """Returns the module with ``card`` and ``task_id``, or None."""
        if self.card is None:
            return None
        make_envs_importable()
        return importlib.import_module(self.card)


def _check_range(score: Score) -> None:
    """Raises TaskError for a range that is empty or not finite."""
    if score.low is None or score.high is None:
        return
    if not (math.isfinite(score.low) and math.isfinite(score.high) and score.low < score.high):
        raise TaskError(f"{score.key}: low={score.low} must lie below high={score.high}, and both must be finite.")


def as_entry(found: Any) -> EnvEntry:
    """Returns what a package registers as an entry: itself, or a class for batches, or a maker of one copy.

    Raises:
        TaskError: it is none of them.
    """
    if isinstance(found, EnvEntry):
        return found
    if isinstance(found, type):
        return EnvEntry(batched=found)
    if isinstance(found, Callable):  # type: ignore[arg-type]
        return EnvEntry(single=found)
    raise TaskError(
        f"{found!r} is no environment; register an EnvEntry, a BatchedEnv class or a function that makes one copy."
    )
