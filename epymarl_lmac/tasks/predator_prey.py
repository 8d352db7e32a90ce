"""Settings and task card of ``predator_prey`` (src/envs/predator_prey.py has the game)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.card import Dimension, TaskCard
from epymarl_lmac.tasks.checks import check_boolean, check_choice, check_integer, check_keys, check_number

RULES = ("ic3net", "penalty")
ACTIONS = {
    "ic3net": ("up", "right", "down", "left", "stay"),
    "penalty": ("right", "down", "left", "up", "stay", "catch"),
}
PUBLISHED_STEPS = {("ic3net", 5): 20, ("ic3net", 10): 40, ("ic3net", 20): 80, ("penalty", 10): 200}


@dataclass(frozen=True)
class PredatorPreySettings:
    """The env_args of ``config/envs/predator_prey.yaml``, where each is explained."""

    rules: str
    players: int
    prey: int
    size: int
    vision: int
    stay: bool
    penalty: float
    max_episode_steps: int
    time_limit_terminates: bool

    @classmethod
    def from_env_args(cls, env_args: Mapping[str, Any]) -> PredatorPreySettings:
        """Returns checked settings.

        Raises:
            TaskError: a missing or unknown argument, or a value that makes no game.
        """
        env = "predator_prey"
        check_keys(env, env_args, [field.name for field in dataclasses.fields(cls)])
        size = check_integer(env, "size", env_args["size"], 2)
        settings = cls(
            rules=check_choice(env, "rules", env_args["rules"], RULES),
            players=check_integer(env, "players", env_args["players"], 2),
            prey=check_integer(env, "prey", env_args["prey"], 1),
            size=size,
            vision=check_integer(env, "vision", env_args["vision"], 0, size - 1),
            stay=check_boolean(env, "stay", env_args["stay"]),
            penalty=check_number(env, "penalty", env_args["penalty"], 0),
            max_episode_steps=check_integer(env, "max_episode_steps", env_args["max_episode_steps"], 1),
            time_limit_terminates=check_boolean(env, "time_limit_terminates", env_args["time_limit_terminates"]),
        )
        settings._check_form()
        return settings

    def _check_form(self) -> None:
        if self.rules == "ic3net":
            if self.prey != 1:
                raise TaskError(f"predator_prey: prey={self.prey} needs rules: penalty; rules: ic3net have one prey.")
            if self.penalty:
                raise TaskError(
                    f"predator_prey: penalty={self.penalty:g} needs rules: penalty; with rules: ic3net it must be 0."
                )
        elif not self.stay:
            raise TaskError("predator_prey: stay=False needs rules: ic3net; with rules: penalty it must be true.")
        if self.players + self.prey > self.size**2:
            raise TaskError(
                f"predator_prey: players={self.players} and prey={self.prey} need {self.players + self.prey} cells, "
                f"but a grid of size {self.size} has {self.size**2}; lower players or raise size."
            )

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions, in order."""
        return ACTIONS[self.rules] if self.stay else ACTIONS[self.rules][:-1]

    @property
    def n_classes(self) -> int:
        """Numbers that describe one seen cell."""
        return self.size**2 + 4 if self.rules == "ic3net" else 2

    @property
    def obs_dim(self) -> int:
        """Length O of one agent's observation."""
        return (2 * self.vision + 1) ** 2 * self.n_classes

    @property
    def state_dim(self) -> int:
        """Length S of the state."""
        return 3 * self.players + (2 if self.rules == "ic3net" else 3 * self.prey)


def task_id(env_args: Mapping[str, Any]) -> str:
    """Returns e.g. ``5x5-3p-v0`` or ``10x10-8p-8prey-v2-pen2``; settings that are not published are appended."""
    s = PredatorPreySettings.from_env_args(env_args)
    parts = [f"{s.size}x{s.size}", f"{s.players}p"]
    if s.rules == "penalty":
        parts += [f"{s.prey}prey", f"v{s.vision}", f"pen{s.penalty:g}"]
    else:
        parts += [f"v{s.vision}"] + ([] if s.stay else ["nostay"])
    if s.max_episode_steps != PUBLISHED_STEPS.get((s.rules, s.size)):
        parts.append(f"t{s.max_episode_steps}")
    return "-".join(parts + ([] if s.time_limit_terminates else ["trunc"]))


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the task card of a setting."""
    s = PredatorPreySettings.from_env_args(env_args)
    is_search = s.rules == "ic3net"
    return TaskCard(
        env="predator_prey",
        task=task_id(env_args),
        goal=_search_goal(s) if is_search else _capture_goal(s),
        n_agents=s.players,
        episode_limit=s.max_episode_steps,
        actions=s.actions,
        state=_state_dimensions(s),
        obs=_search_obs(s) if is_search else _capture_obs(s),
        settings=dict(env_args),
    )


def _view(s: PredatorPreySettings) -> str:
    return f"{s.vision} cells in every direction" if s.vision else "only the cell it stands in"


def _search_goal(s: PredatorPreySettings) -> str:
    from epymarl_lmac.tasks.predator_prey_optimum import search_values

    known = search_values(s)
    return (
        f"{s.players} predators walk on a {s.size}x{s.size} grid for {s.max_episode_steps} steps and look for one prey "
        f"that does not move; all start on different cells. A predator sees {_view(s)}: which cells they are, whether "
        "the prey is there and how many predators are. A predator that reaches the prey stays there. In every step a "
        "predator that is not on the prey costs 0.05, and each one on it earns 0.05 times the number of predators on "
        "it, so the team gains most if the others are told where the prey is. Success: all predators are on the prey "
        f"at the end. Agents that knew the prey's cell would earn {known['oracle']:.4g} on average; "
        "nobody can earn more than "
        f"{known['together_high']:.4g} with communication, or than {known['alone_high']:.4g} if each "
        "searches by itself."
    )


def _capture_goal(s: PredatorPreySettings) -> str:
    most = min(s.players // 2, s.prey)
    return (
        f"{s.players} predators hunt {s.prey} prey on a {s.size}x{s.size} grid for at most {s.max_episode_steps} "
        "steps. Predators move first, one after another in random order, then the prey in random order: each goes to a "
        "random empty cell beside it. Nobody enters a cell that is taken. A prey beside which at least two predators "
        "choose catch in the same step is caught: the team gets 10, and the prey and these predators leave the grid. "
        f"If only one does, the team loses {s.penalty:g}. A predator sees {_view(s)}, and zeros when it "
        "has left. The episode "
        f"ends when all prey are caught or no predator is left; at most {most} prey can be caught, so no return "
        f"exceeds {10 * most}. Doing nothing earns 0."
    )


def _state_dimensions(s: PredatorPreySettings) -> tuple[Dimension, ...]:
    dims: list[Dimension] = []
    last = s.size - 1

    def add(name: str, meaning: str, unit: str) -> None:
        dims.append(Dimension(len(dims), name, meaning, 0, 1, unit))

    gone = ", 0 if it has left the grid" if s.rules == "penalty" else ""
    flag = "reached" if s.rules == "ic3net" else "alive"
    for i in range(s.players):
        add(f"predator_row[{i}]", f"row of predator {i} divided by {last}{gone}", "share")
        add(f"predator_col[{i}]", f"column of predator {i} divided by {last}{gone}", "share")
        meaning = "has reached the prey" if s.rules == "ic3net" else "is still on the grid"
        add(f"predator_{flag}[{i}]", f"1 if predator {i} {meaning}, else 0", "0/1")
    for j in range(s.prey):
        add(f"prey_row[{j}]", f"row of prey {j} divided by {last}{gone}", "share")
        add(f"prey_col[{j}]", f"column of prey {j} divided by {last}{gone}", "share")
        if s.rules == "penalty":
            add(f"prey_alive[{j}]", f"1 if prey {j} is still on the grid, else 0", "0/1")
    return tuple(dims)


def _where(dr: int, dc: int) -> str:
    return f"the cell {dr:+d} rows and {dc:+d} columns from this predator" if dr or dc else "this predator's own cell"


def _search_obs(s: PredatorPreySettings) -> tuple[Dimension, ...]:
    dims: list[Dimension] = []
    cells = s.size**2

    def add(name: str, meaning: str, high: float, unit: str) -> None:
        dims.append(Dimension(len(dims), name, meaning, 0, high, unit))

    for dr in range(-s.vision, s.vision + 1):
        for dc in range(-s.vision, s.vision + 1):
            where, at = _where(dr, dc), f"[{dr:+d},{dc:+d}]"
            for k in range(cells):
                add(f"cell{k}{at}", f"1 if {where} is row {k // s.size}, column {k % s.size}", 1, "one-hot")
            add(f"unused{at}", "always 0", 0, "one-hot")
            add(f"outside{at}", f"1 if {where} lies outside the grid", 1 if dr or dc else 0, "one-hot")
            add(f"prey{at}", f"1 if the prey is in {where}", 1, "0/1")
            add(f"predators{at}", f"predators in {where}, itself included", s.players, "predators")
    return tuple(dims)


def _capture_obs(s: PredatorPreySettings) -> tuple[Dimension, ...]:
    dims: list[Dimension] = []
    for dr in range(-s.vision, s.vision + 1):
        for dc in range(-s.vision, s.vision + 1):
            where, at = _where(dr, dc), f"[{dr:+d},{dc:+d}]"
            is_own = not (dr or dc)
            predator = "1 while this predator is on the grid" if is_own else f"1 if a predator is in {where}"
            prey = "always 0" if is_own else f"1 if a prey is in {where}"
            dims.append(Dimension(len(dims), f"predator{at}", predator, 0, 1, "0/1"))
            dims.append(Dimension(len(dims), f"prey{at}", prey, 0, 0 if is_own else 1, "0/1"))
    return tuple(dims)
