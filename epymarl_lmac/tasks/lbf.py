"""Task card of level-based foraging: what every number of its state and observations means.

Generated from the same validated settings as the environment (``lbf_settings.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from epymarl_lmac.tasks.card import Dimension, TaskCard
from epymarl_lmac.tasks.entry import Score
from epymarl_lmac.tasks.lbf_settings import ACTIONS, LAYERS, LbfSettings


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Describes the game that ``env_args`` define.

    Args:
        env_args: every key of the ``env_args`` of ``config/envs/lbf.yaml``.

    Raises:
        TaskError: the settings describe no playable game.
    """
    settings = LbfSettings.from_env_args(env_args)
    return TaskCard(
        env="lbf",
        task=_task_id(settings),
        goal=_goal(settings),
        n_agents=settings.players,
        episode_limit=settings.max_episode_steps,
        actions=ACTIONS,
        state=_state_dimensions(settings),
        obs=_grid_dimensions(settings) if settings.grid_observation else _vector_dimensions(settings),
        settings=dict(env_args),
    )


def task_id(env_args: Mapping[str, Any]) -> str:
    """Names the settings, e.g. ``8x8-2p-2f-s1-coop``; what differs from the published ones is appended.

    Raises:
        TaskError: the settings describe no playable game.
    """
    return _task_id(LbfSettings.from_env_args(env_args))


def score(env_args: Mapping[str, Any]) -> Score:
    """Returns that the mean return tells how well a team plays; 1, all food eaten in time, bounds its optimum.

    Rewards that are not normalised, or with a penalty, have no such range.

    Raises:
        TaskError: the settings describe no playable game.
    """
    s = LbfSettings.from_env_args(env_args)
    return Score("return_mean", 0, 1, optimum=1) if s.normalize_reward and not s.penalty else Score()


def _task_id(s: LbfSettings) -> str:
    rows, cols = s.field_size
    parts = [f"{rows}x{cols}", f"{s.players}p", f"{s.max_food}f", f"s{s.sight}"]
    if s.force_coop:
        parts.append("coop")
    if s.rules != "published":
        parts.append(s.rules)
    if (set(s.player_low), set(s.player_high)) != ({1}, {1}):
        parts.append(f"l{_short(s.player_low)}to{_short(s.player_high)}")
    if set(s.food_low) != {1}:
        parts.append(f"fmin{_short(s.food_low)}")
    if s.food_high is not None:
        parts.append(f"fmax{_short(s.food_high)}")
    if not s.grid_observation:
        parts.append("vector")
    if s.max_episode_steps != 25:
        parts.append(f"t{s.max_episode_steps}")
    if not s.normalize_reward:
        parts.append("raw")
    if s.penalty:
        parts.append(f"pen{s.penalty:g}")
    if not s.observe_agent_levels:
        parts.append("nolevels")
    if not s.time_limit_terminates:
        parts.append("trunc")
    return "-".join(parts)


def _short(levels: Sequence[int]) -> str:
    """Writes one level for all, or all of them joined by dots."""
    return str(levels[0]) if len(set(levels)) == 1 else ".".join(str(level) for level in levels)


def _goal(s: LbfSettings) -> str:
    rows, cols = s.field_size
    same_level = set(s.player_low) == set(s.player_high) and len(set(s.player_low)) == 1
    levels = f"all of level {s.player_low[0]}" if same_level else f"with levels up to {s.highest_player_level}"
    if s.force_coop:
        needed = (
            "Every food has the level given in the settings"
            if s.food_high is not None
            else f"Every food's level is the sum of the {min(3, s.players)} lowest player levels"
        )
        needed += f" (at most {s.highest_food_level})"
        n_needed = -(-s.highest_food_level // s.player_low[0])
        exact = same_level and s.food_high is None
        needed += f": each food needs {n_needed} players loading together." if exact and n_needed > 1 else "."
    else:
        needed = f"Food levels lie between {min(s.food_low)} and {s.highest_food_level}."
    if s.normalize_reward:
        reward = "its level divided by the sum of all food levels of the episode, so a perfect episode earns 1"
    else:
        reward = "its level times the sum of the levels of the players that loaded it"
    loss = f" Each player of a failed load costs {s.penalty:g}." if s.penalty else ""
    view = "absolute positions are not observed" if s.grid_observation else "positions are relative to its window"
    cells = "cell" if s.sight == 1 else "cells"
    return (
        f"{s.players} players, {levels}, walk on a field of {rows} rows and {cols} columns (rows grow to the "
        f"south, columns to the east) and must eat up to {s.max_food} foods within {s.max_episode_steps} "
        "steps. A food is eaten when players orthogonally next to it choose load in the same step and their "
        f"levels sum to at least its level. {needed} The team's reward for a food is {reward}.{loss} A "
        "player cannot enter a food's cell or leave the field; players that choose the same cell stay where "
        "they are. Foods never lie on the border or within two orthogonal steps of another food, and do not "
        f"move. Each player sees {s.sight} {cells} in every direction; {view}. The episode ends when no food "
        "is left or the time is over."
    )


def _layer_range(s: LbfSettings, layer: str) -> tuple[str, float]:
    """Returns the unit and the highest value of a layer."""
    if layer == "agent":
        return ("level", s.highest_player_level) if s.observe_agent_levels else ("0/1", 1)
    return ("level", s.highest_food_level) if layer == "food" else ("0/1", 1)


def _content(s: LbfSettings, layer: str, where: str) -> str:
    """Says what a cell of a layer holds; ``where`` names the cell."""
    if layer == "agent":
        what = "level of the player" if s.observe_agent_levels else "1 if a player is"
        return f"{what} on {where}, 0 if there is none"
    if layer == "food":
        return f"level of the food on {where}, 0 if there is none"
    return f"1 if a player could step on {where} (on the field, no player, no food), else 0"


def _state_dimensions(s: LbfSettings) -> tuple[Dimension, ...]:
    """Three padded layers, each row by row."""
    rows, cols = s.field_size
    dims: list[Dimension] = []
    for layer in LAYERS:
        unit, high = _layer_range(s, layer)
        for r in range(-s.sight, rows + s.sight):
            for c in range(-s.sight, cols + s.sight):
                name = f"{layer}[{r},{c}]"
                is_inside = 0 <= r < rows and 0 <= c < cols
                is_border = is_inside and (r in (0, rows - 1) or c in (0, cols - 1))
                meaning = _content(s, layer, f"the cell in row {r}, column {c}")
                top = float(high)
                if not is_inside:
                    meaning, top = (
                        f"padding outside the field ({layer} layer, row {r}, column {c}), always 0",
                        0.0,
                    )
                elif is_border and layer == "food":
                    meaning, top = (
                        f"row {r}, column {c} is on the border, where food never lies: always 0",
                        0.0,
                    )
                # With sight 0 a player sees its own cell only, which holds no food and is never free.
                observable = s.sight > 0 or layer == "agent"
                dims.append(Dimension(len(dims), name, meaning, 0.0, top, unit, observable))
    return tuple(dims)


def _grid_dimensions(s: LbfSettings) -> tuple[Dimension, ...]:
    """Windows of the three layers around the player, each row by row."""
    dims: list[Dimension] = []
    for layer in LAYERS:
        unit, high = _layer_range(s, layer)
        for dr in range(-s.sight, s.sight + 1):
            for dc in range(-s.sight, s.sight + 1):
                low, top = 0.0, float(high)
                meaning = _content(s, layer, f"the cell {_direction(dr, dc)}") + " (0 outside the field)"
                if dr == dc == 0:
                    if layer == "agent":
                        meaning = "this agent's own level" if s.observe_agent_levels else "this agent itself: always 1"
                        meaning += " (another's, in the rare case that two share the cell)" if unit == "level" else ""
                        low = float(min(s.player_low)) if s.observe_agent_levels else 1.0
                    else:
                        meaning = f"{layer} layer of this agent's own cell, always 0"
                        top = 0.0
                dims.append(Dimension(len(dims), f"{layer}[{dr:+d},{dc:+d}]", meaning, low, top, unit))
    return tuple(dims)


def _direction(dr: int, dc: int) -> str:
    """Says where a cell lies from the agent, e.g. "1 north and 2 east of this agent"."""
    parts = []
    if dr:
        parts.append(f"{abs(dr)} {'south' if dr > 0 else 'north'}")
    if dc:
        parts.append(f"{abs(dc)} {'east' if dc > 0 else 'west'}")
    return f"{' and '.join(parts)} of this agent" if parts else "of this agent"


def _vector_dimensions(s: LbfSettings) -> tuple[Dimension, ...]:
    """Foods seen, then the agent itself, then the other players seen, each as row, column and level."""
    corner = f"counted from its window's corner, {s.sight} north and west of it but not beyond the field"
    last = tuple(float(min(2 * s.sight, side - 1)) for side in s.field_size)
    own = tuple(float(min(s.sight, side - 1)) for side in s.field_size)
    dims: list[Dimension] = []

    def add(name: str, meaning: str, low: float, high: float, unit: str) -> None:
        dims.append(Dimension(len(dims), name, meaning, low, high, unit))

    for k in range(s.max_food):
        who = f"food number {k} (from 0) that this agent sees, in reading order"
        add(f"food{k}_row", f"row of {who}, {corner}; -1 if it sees no more", -1.0, last[0], "cells")
        add(f"food{k}_col", f"column of {who}, {corner}; -1 if it sees no more", -1.0, last[1], "cells")
        add(f"food{k}_level", f"level of {who}; 0 if it sees no more", 0.0, s.highest_food_level, "level")
    low_level = float(min(s.player_low))
    add("self_row", f"this agent's own row, {corner}", 0.0, own[0], "cells")
    add("self_col", f"this agent's own column, {corner}", 0.0, own[1], "cells")
    if s.observe_agent_levels:
        add("self_level", "this agent's own level", low_level, s.highest_player_level, "level")
    for k in range(s.players - 1):
        who = f"other player number {k} (from 0) that this agent sees, in order of agent index"
        add(f"other{k}_row", f"row of {who}, {corner}; -1 if it sees no more", -1.0, last[0], "cells")
        add(f"other{k}_col", f"column of {who}, {corner}; -1 if it sees no more", -1.0, last[1], "cells")
        if s.observe_agent_levels:
            add(
                f"other{k}_level",
                f"level of {who}; 0 if it sees no more",
                0.0,
                s.highest_player_level,
                "level",
            )
    return tuple(dims)
