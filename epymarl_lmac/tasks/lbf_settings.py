"""Settings of level-based foraging: their meaning, their limits, and what follows from them.

Read by the environment (``src/envs/lbf.py``) and by the task card (``lbf.py`` beside this file), so that both
speak of the same game. Holds no defaults: those live in ``config/envs/lbf.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from epymarl_lmac.errors import TaskError

ACTIONS = ("none", "north", "south", "west", "east", "load")
LOAD = ACTIONS.index("load")
RULES = ("published", "v3")
# Offsets (rows, columns) from a food to the cells that it keeps other foods from, its own included.
NEAR = tuple((dr, dc) for dr in range(-2, 3) for dc in range(-2, 3) if abs(dr) + abs(dc) <= 2)
LAYERS = ("agent", "food", "access")  # layers of the grid observation and of the state, in order
EXACT_PACKING_WIDTH = 12  # widest interior, cells, for which the largest number of foods is counted exactly

_V3_ONLY = {
    "min_player_level": 1,
    "min_food_level": 1,
    "max_food_level": None,
    "penalty": 0.0,
    "observe_agent_levels": True,
}


@dataclass(frozen=True)
class LbfSettings:
    """One validated game. Level bounds are inclusive here, whatever the rules' own convention."""

    rules: str  # "published" or "v3"
    players: int  # N
    field_size: tuple[int, int]  # rows, columns
    max_food: int  # foods placed, if the draws find room
    sight: int  # cells seen in every direction
    max_episode_steps: int  # time limit, steps
    force_coop: bool  # every food gets the highest level that the players can load together
    normalize_reward: bool  # rewards of an episode sum to at most 1
    grid_observation: bool  # windows of layers (True) or a list of coordinates (False)
    time_limit_terminates: bool  # report the time limit as a termination instead of a truncation
    player_low: tuple[int, ...]  # lowest level, one a player
    player_high: tuple[int, ...]  # highest level, one a player
    food_low: tuple[int, ...]  # lowest level, one a food
    food_high: tuple[int, ...] | None  # highest level, one a food; None: follows from the players drawn
    penalty: float  # reward lost by each player of a failed load
    observe_agent_levels: bool  # players see levels (True) or only presence (False)

    @classmethod
    def from_env_args(cls, env_args: Mapping[str, Any]) -> LbfSettings:
        """Reads and validates ``env_args`` of ``config/envs/lbf.yaml``.

        Args:
            env_args: every key of the yaml's ``env_args``; none may be missing, none may be added.

        Raises:
            TaskError: a key is missing or unknown, or the values describe no playable game.
        """
        missing = [key for key in ENV_ARGS if key not in env_args]
        unknown = [key for key in env_args if key not in ENV_ARGS]
        if missing or unknown:
            raise TaskError(
                f"lbf: env_args has missing keys {missing} and unknown keys {unknown}; "
                f"the keys are {list(ENV_ARGS)} (config/envs/lbf.yaml)."
            )
        rules = env_args["rules"]
        if rules not in RULES:
            raise TaskError(f"lbf: rules={rules!r} is not known; choose one of {list(RULES)}.")
        players = _integer(env_args, "players", 1)
        max_food = _integer(env_args, "max_food", 1)
        field_size = _field_size(env_args["field_size"])
        if rules == "published":
            for key, value in _V3_ONLY.items():
                if env_args[key] != value:
                    raise TaskError(
                        f"lbf: {key}={env_args[key]!r} needs rules: v3; with rules: published it must be {value!r}."
                    )
        player_low = _levels(env_args, "min_player_level", players, "players")
        player_high = _levels(env_args, "max_player_level", players, "players")
        if rules == "published":
            if isinstance(env_args["max_player_level"], Sequence):
                raise TaskError("lbf: max_player_level is one integer with rules: published; a list needs rules: v3.")
            if player_high[0] < 2:
                raise TaskError(
                    f"lbf: max_player_level={player_high[0]} leaves no level to draw with rules: published, "
                    "whose upper bound is exclusive; it must be at least 2 (2 means that all players have "
                    "level 1)."
                )
            player_high = tuple(level - 1 for level in player_high)
        food_low = _levels(env_args, "min_food_level", max_food, "max_food")
        food_high = None
        if env_args["max_food_level"] is not None:
            food_high = _levels(env_args, "max_food_level", max_food, "max_food")
        settings = cls(
            rules=rules,
            players=players,
            field_size=field_size,
            max_food=max_food,
            sight=_integer(env_args, "sight", 0),
            max_episode_steps=_integer(env_args, "max_episode_steps", 1),
            force_coop=_boolean(env_args, "force_coop"),
            normalize_reward=_boolean(env_args, "normalize_reward"),
            grid_observation=_boolean(env_args, "grid_observation"),
            time_limit_terminates=_boolean(env_args, "time_limit_terminates"),
            player_low=player_low,
            player_high=player_high,
            food_low=food_low,
            food_high=food_high,
            penalty=_penalty(env_args["penalty"]),
            observe_agent_levels=_boolean(env_args, "observe_agent_levels"),
        )
        settings._check_sizes()
        settings._check_levels()
        return settings

    def _check_sizes(self) -> None:
        rows, cols = self.field_size
        if self.sight > max(rows, cols):
            raise TaskError(
                f"lbf: sight={self.sight} is larger than the field {rows}x{cols}; "
                f"{max(rows, cols)} already shows everything."
            )
        room = largest_food_count(rows, cols)
        if self.max_food > room:
            raise TaskError(
                f"lbf: max_food={self.max_food} foods never fit on a {rows}x{cols} field, which holds at "
                f"most {room} (no food on the border or within 2 steps of another); lower max_food or "
                "enlarge field_size."
            )
        if self.players + self.max_food > rows * cols:
            raise TaskError(
                f"lbf: players={self.players} and max_food={self.max_food} need "
                f"{self.players + self.max_food} cells, but a {rows}x{cols} field has {rows * cols}; lower "
                "players or enlarge field_size."
            )

    def _check_levels(self) -> None:
        for low, high, i in zip(self.player_low, self.player_high, range(self.players), strict=True):
            if low > high:
                raise TaskError(
                    f"lbf: min_player_level={low} is above max_player_level={high} for player {i}; it must not be."
                )
        smallest_cap = sum(sorted(self.player_low)[:3])
        for i in range(self.max_food):
            if self.force_coop or self.rules == "published":
                continue
            high = smallest_cap if self.food_high is None else self.food_high[i]
            if self.food_low[i] > high:
                known = "max_food_level" if self.food_high else "the three lowest player levels, which may sum to"
                raise TaskError(
                    f"lbf: min_food_level={self.food_low[i]} is above {known} {high} for food {i}; lower "
                    "min_food_level."
                )
        strongest = sum(sorted(self.player_high)[-4:])
        needed_levels = self.food_high if self.force_coop else self.food_low
        for i, needed in enumerate(needed_levels or ()):  # cooperative foods without bounds follow the players
            if needed > strongest:
                raise TaskError(
                    f"lbf: food {i} has at least level {needed}, but the four strongest players that can "
                    f"stand beside it never sum to more than {strongest}; lower the food level or raise "
                    "max_player_level."
                )

    @property
    def highest_player_level(self) -> int:
        """Highest level a player can have."""
        return max(self.player_high)

    @property
    def highest_food_level(self) -> int:
        """Highest level a food can have."""
        if self.food_high is not None:
            return max(self.food_high)
        cap = sum(sorted(self.player_high)[:3])
        return max(1, cap - 1) if self.rules == "published" and not self.force_coop else cap

    @property
    def obs_dim(self) -> int:
        """Length O of one agent's observation."""
        if self.grid_observation:
            return len(LAYERS) * (2 * self.sight + 1) ** 2
        return 3 * self.max_food + (3 if self.observe_agent_levels else 2) * self.players

    @property
    def padded_size(self) -> tuple[int, int]:
        """Rows and columns of the field with ``sight`` cells of padding on each side."""
        return self.field_size[0] + 2 * self.sight, self.field_size[1] + 2 * self.sight

    @property
    def state_dim(self) -> int:
        """Length S of the state: the padded layers."""
        return len(LAYERS) * self.padded_size[0] * self.padded_size[1]


# Keys of env_args: what the yaml holds. The bounds of levels are given under the game's own names there.
_BOUNDS = {
    "player_low": "min_player_level",
    "player_high": "max_player_level",
    "food_low": "min_food_level",
    "food_high": "max_food_level",
}
ENV_ARGS = tuple(_BOUNDS.get(f.name, f.name) for f in fields(LbfSettings))


def largest_food_count(rows: int, cols: int) -> int:
    """Largest number of foods that the placing rule admits on an empty field.

    Two foods are never within two orthogonal steps of each other (that is what excluding the 3x3
    neighbourhood and the row and column within 2 amounts to), and none lies on the border. Counted row by row
    over the foods of the last two rows; beyond ``EXACT_PACKING_WIDTH`` interior columns an upper bound is
    given instead: the cross of five cells around each food is its own.

    Examples:
        >>> largest_food_count(3, 3), largest_food_count(8, 8), largest_food_count(2, 9)
        (1, 8, 0)
    """
    height, width = max(rows, cols) - 2, min(rows, cols) - 2
    if width < 1:
        return 0
    if width > EXACT_PACKING_WIDTH:
        return rows * cols // 5
    masks = [m for m in range(1 << width) if not m & (m << 1) and not m & (m << 2)]
    fits_below = {m: [b for b in masks if not b & (m | m << 1 | m >> 1)] for m in masks}
    best = {(0, 0): 0}  # (foods two rows up, foods one row up) -> most foods so far
    for _ in range(height):
        following: dict[tuple[int, int], int] = {}
        for (above2, above1), count in best.items():
            for row in fits_below[above1]:
                if row & above2:
                    continue
                total = count + row.bit_count()
                if total > following.get((above1, row), -1):
                    following[above1, row] = total
        best = following
    return max(best.values())


def _integer(env_args: Mapping[str, Any], key: str, low: int) -> int:
    value = env_args[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise TaskError(f"lbf: {key}={value!r} is not possible; it must be an integer of at least {low}.")
    return value


def _boolean(env_args: Mapping[str, Any], key: str) -> bool:
    if not isinstance(env_args[key], bool):
        raise TaskError(f"lbf: {key}={env_args[key]!r} must be true or false.")
    return env_args[key]


def _penalty(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise TaskError(f"lbf: penalty={value!r} must be a finite number of at least 0.")
    return float(value)


def _field_size(value: Any) -> tuple[int, int]:
    sides = [value, value] if isinstance(value, int) else value
    is_pair = isinstance(sides, Sequence) and not isinstance(sides, str) and len(sides) == 2
    if not is_pair or any(isinstance(side, bool) or not isinstance(side, int) for side in sides):
        raise TaskError(f"lbf: field_size={value!r} must be one integer or a list [rows, columns].")
    if min(sides) < 3:
        raise TaskError(
            f"lbf: field_size={value!r} is too small; each side must be at least 3, as foods never lie on the border."
        )
    return int(sides[0]), int(sides[1])


def _levels(env_args: Mapping[str, Any], key: str, count: int, counted: str) -> tuple[int, ...]:
    """Returns one level for each of ``count`` players or foods from one integer or a list."""
    value = env_args[key]
    if isinstance(value, Sequence) and not isinstance(value, str):
        levels = tuple(value)
        if len(levels) != count:
            raise TaskError(f"lbf: {key}={value!r} has {len(levels)} levels, but {counted}={count}.")
    else:
        levels = (value,) * count
    if any(isinstance(level, bool) or not isinstance(level, int) or level < 1 for level in levels):
        raise TaskError(f"lbf: {key}={value!r} must be an integer of at least 1, or a list of {count} of them.")
    return levels
