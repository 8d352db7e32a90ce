"""Task cards of ``sc2``: what every number of SMAC's state and observations means, for each map and flavour.

Generated from the same validated settings as the environment (``sc2_settings.py``); ``sc2v2.py`` has SMACv2's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from epymarl_lmac.tasks.card import Dimension, TaskCard
from epymarl_lmac.tasks.sc2_constants import LOOK_DIRECTIONS, MAP_SIZE, MOVE_AMOUNT, STEP_LOOPS, UNITS
from epymarl_lmac.tasks.sc2_goal import goal
from epymarl_lmac.tasks.sc2_opponent import read_opponent
from epymarl_lmac.tasks.sc2_settings import PUBLISHED, SCRIPT, Sc2Settings

DIRECTIONS = ("north", "south", "east", "west")
# Points of the surroundings, in move amounts.
POINTS = ((0, 2), (0, -2), (2, 0), (-2, 0), (1, 1), (-1, -1), (1, -1), (-1, 1), (0, 0))
_NO_TASK_NAME = {"map_name", "engine", "strict_actions", "difficulty", "game_version", "flavour"}


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Describes the task that ``env_args`` define.

    Args:
        env_args: every key of the ``env_args`` of ``config/envs/sc2.yaml``.

    Raises:
        TaskError: the settings make no task.
    """
    return make_card("sc2", env_args)


def task_id(env_args: Mapping[str, Any]) -> str:
    """Names the settings, e.g. ``bane_vs_hM``; what differs from those published with the map is appended.

    Raises:
        TaskError: the settings make no task.
    """
    return make_task_id(Sc2Settings.from_env_args("sc2", env_args))


def make_card(env: str, env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the card of ``sc2`` or ``sc2v2``; raises TaskError as ``card``."""
    s = Sc2Settings.from_env_args(env, env_args)
    obs = _obs_dimensions(s)
    return TaskCard(
        env=env,
        task=make_task_id(s),
        goal=goal(s),
        n_agents=s.n_agents,
        episode_limit=s.battle_map.limit,
        actions=action_names(s),
        state=_stacked(obs, s.n_agents) if s.obs_instead_of_state else _state_dimensions(s),
        obs=obs,
        settings=dict(env_args),
    )


def make_task_id(s: Sc2Settings) -> str:
    """Returns the short name of settings."""
    battle_map = s.battle_map
    parts = [battle_map.name]
    if s.flavour != battle_map.flavour:
        parts.append(s.flavour)
    published = {**_PLAIN, **PUBLISHED[s.flavour]}
    if s.flavour == battle_map.flavour:
        published |= dict(battle_map.interface)
    for key, usual in published.items():
        value = getattr(s, key)
        if key == "opponent" and s.plays_a_run:
            value = read_opponent("sc2", value).label
        if value != usual:
            text = f"{value:g}" if isinstance(value, float) else str(value).lower()
            parts.append(f"{key}_{text}")
    return "-".join(parts)


# Published values of the options that are the same in every flavour (but SMACv2's own, which sc2v2.py adds).
_PLAIN: dict[str, Any] = {
    "opponent": SCRIPT,
    "continuing_episode": False,
    "step_mul": STEP_LOOPS,
    "move_amount": MOVE_AMOUNT,
    "heuristic_ai": False,
    "heuristic_rest": False,
    "obs_own_health": True,
    "obs_last_action": False,
    "obs_pathing_grid": False,
    "obs_terrain_height": False,
    "obs_timestep_number": False,
    "obs_instead_of_state": False,
    "state_timestep_number": False,
    "reward_sparse": False,
    "reward_only_positive": True,
    "reward_death_value": 10.0,
    "reward_win": 200.0,
    "reward_defeat": 0.0,
    "reward_negative_scale": 0.5,
    "reward_scale": True,
    "reward_scale_rate": 20.0,
}
PUBLISHED["smacv2"] |= {
    "obs_all_health": True,
    "obs_own_pos": True,
    "state_last_action": True,
    "use_unit_ranges": True,
    "min_attack_range": 2.0,
    "conic_fov": False,
    "prob_obs_enemy": 1.0,
    "sight_memory": "faithful",
    "action_mask": True,
}


def action_names(s: Sc2Settings) -> tuple[str, ...]:
    """Returns the name of every action, in order."""
    names = ["no-op", "stop", *(f"move {direction}" for direction in DIRECTIONS)]
    if s.conic_fov:
        names += [f"look {360 * k // LOOK_DIRECTIONS} degrees" for k in range(LOOK_DIRECTIONS)]
    for j in range(s.n_actions - s.first_attack):
        attack = f"attack enemy {j}" if j < s.n_enemies else ""
        heal = f"heal agent {j}" if s.battle_map.family.heals and j < s.n_agents else ""
        names.append(f"{attack} (a Medivac: {heal})" if attack and heal else attack or f"a Medivac: {heal}")
    return tuple(names)


class _Columns:
    """Collects the dimensions of a vector in order."""

    def __init__(self) -> None:
        self.dims: list[Dimension] = []

    def add(self, name: str, meaning: str, low: float, high: float, unit: str, observable: bool = True) -> None:
        self.dims.append(Dimension(len(self.dims), name, meaning, low, high, unit, observable))


def _allies(s: Sc2Settings) -> tuple[str, ...]:
    """Unit types that agents can be."""
    return s.battle_map.possible_types if s.battle_map.team else tuple(sorted(set(s.battle_map.ally_types)))


def _enemies(s: Sc2Settings) -> tuple[str, ...]:
    return s.battle_map.possible_types if s.battle_map.team else tuple(sorted(set(s.battle_map.enemy_types)))


def _slot_names(slots: tuple[str, ...], width: int, present: Iterable[str]) -> list[tuple[str, bool]]:
    """Returns name and presence of every slot of a type one-hot."""
    present = set(present)
    filled = [(unit_type, unit_type in present) for unit_type in slots]
    return filled + [(f"unused{k}", False) for k in range(len(slots), width)]


def _add_type(c: _Columns, who: str, prefix: str, slots: list[tuple[str, bool]], suffix: str) -> None:
    for unit_type, is_present in slots:
        if is_present:
            c.add(f"{prefix}_is_{unit_type}", f"1 if {who} is a {unit_type}{suffix}", 0, 1, "one-hot")
        else:
            c.add(f"{prefix}_is_{unit_type}", f"slot that no unit of this map has: always 0 ({who})", 0, 0, "one-hot")


def _shield_top(s: Sc2Settings, types: Iterable[str], is_ally: bool) -> float:
    """Returns the largest reading of a shield: SMAC divides some units' shields by another type's."""
    ratios = [
        (UNITS[t].max_shield or 0.0) / s.battle_map.max_shield(t, is_ally)
        for t in types
        if s.battle_map.max_shield(t, is_ally)
    ]
    return max(ratios, default=0.0)


def _sight_words(s: Sc2Settings) -> tuple[str, str]:
    """Returns how far an agent sees, in words, and the divisor of distances."""
    if s.use_unit_ranges:
        ranges = ", ".join(f"{t} {UNITS[t].sight:g}" for t in _allies(s))
        return f"its sight range ({ranges} cells)", "its sight range"
    return f"{s.sight_range:g} cells", f"{s.sight_range:g}"


def _obs_dimensions(s: Sc2Settings) -> tuple[Dimension, ...]:
    """Move, enemy, ally and own blocks, then the time."""
    c = _Columns()
    for direction in DIRECTIONS:
        c.add(f"can_move_{direction}", f"1 if this agent can move {direction}", 0, 1, "0/1")
    _add_surroundings(c, s)
    for j in range(s.n_enemies):
        _add_enemy(c, s, j)
    for r in range(s.n_agents - 1):
        _add_ally(c, s, r)
    _add_own(c, s)
    if s.obs_timestep_number:
        if s.flavour == "smac":
            c.add("empty", "slot that SMAC reserves for the time and leaves empty: always 0", 0, 0, "-")
        c.add("time", "share of the time limit that has passed", 0, 1, "share")
    return tuple(c.dims)


def _add_surroundings(c: _Columns, s: Sc2Settings) -> None:
    points = [(int(s.move_amount) * dx, int(s.move_amount) * dy) for dx, dy in POINTS]
    for k, (dx, dy) in enumerate(points):
        if s.obs_pathing_grid and k < 8:
            meaning = f"1 if the cell {dx:+d} cells east and {dy:+d} cells north is walkable or outside the map"
            c.add(f"walkable[{dx:+d},{dy:+d}]", meaning, 0, 1, "0/1")
    for dx, dy in points:
        if s.obs_terrain_height:
            meaning = (
                f"terrain height, share of the highest, {dx:+d} cells east and {dy:+d} cells north in a height map "
                "that SMAC mirrors in y; 1 outside the map"
            )
            c.add(f"height[{dx:+d},{dy:+d}]", meaning, 0, 1, "share")


def _add_relative(c: _Columns, s: Sc2Settings, prefix: str, who: str, hidden: str) -> None:
    """Adds distance and direction of another unit."""
    _, divisor = _sight_words(s)
    by = f"divided by {divisor}"
    c.add(f"{prefix}_distance", f"distance to {who} {by}; {hidden}", 0, 1, "share of sight")
    c.add(f"{prefix}_dx", f"{who}'s x minus this agent's (east positive) {by}; {hidden}", -1, 1, "share of sight")
    c.add(f"{prefix}_dy", f"{who}'s y minus this agent's (north positive) {by}; {hidden}", -1, 1, "share of sight")


def _add_enemy(c: _Columns, s: Sc2Settings, j: int) -> None:
    sight, _ = _sight_words(s)
    who, prefix, hidden = f"enemy {j}", f"enemy{j}", f"0 if it is dead or not within {sight}"
    heals = f"; for a Medivac: 1 if agent {j} can be healed" if s.battle_map.family.heals else ""
    c.add(f"{prefix}_attackable", f"1 if this agent can attack {who} now{heals}; {hidden}", 0, 1, "0/1")
    _add_relative(c, s, prefix, who, hidden)
    if s.shows_enemy_health:
        c.add(f"{prefix}_health", f"health of {who} divided by its maximum; {hidden}", 0, 1, "share")
        if s.enemy_shields:
            top = _shield_top(s, _enemies(s), False)
            c.add(f"{prefix}_shield", f"shield of {who} divided by its maximum; {hidden}", 0, top, "share")
    slots = _slot_names(s.battle_map.family.enemy_slots, s.n_slots, _enemies(s))
    _add_type(c, who, prefix, slots, f"; {hidden}")
    for k in range(s.n_enemy_padding):
        c.add(f"{prefix}_padding{k}", f"empty column of {who}, as in the published interface: always 0", 0, 0, "-")


def _add_ally(c: _Columns, s: Sc2Settings, r: int) -> None:
    sight, _ = _sight_words(s)
    who = f"other agent {r} (agent {r} seen from the agents after it, agent {r + 1} from those up to {r})"
    prefix, hidden = f"ally{r}", f"0 if it is dead or not within {sight}"
    c.add(f"{prefix}_visible", f"1 if this agent sees {who}; {hidden}", 0, 1, "0/1")
    who = f"other agent {r}"
    _add_relative(c, s, prefix, who, hidden)
    if s.obs_all_health:
        c.add(f"{prefix}_health", f"health of {who} divided by its maximum; {hidden}", 0, 1, "share")
        if s.ally_shields:
            top = _shield_top(s, _allies(s), True)
            c.add(f"{prefix}_shield", f"shield of {who} divided by {_shield_divisor(s)}; {hidden}", 0, top, "share")
    slots = _slot_names(s.battle_map.family.ally_slots, s.n_slots, _allies(s))
    _add_type(c, who, prefix, slots, f"; {hidden}")
    if s.obs_last_action:
        for name in action_names(s):
            meaning = f"1 if {who}'s previous action was '{name}'; {hidden}"
            c.add(f"{prefix}_last_action[{name}]", meaning, 0, 1, "one-hot")


def _shield_divisor(s: Sc2Settings) -> str:
    """Says what an ally's shield is divided by."""
    wrong = [t for t in _allies(s) if s.battle_map.max_shield(t, True) != UNITS[t].max_shield]
    if not wrong:
        return "its maximum"
    parts = [f"{s.battle_map.max_shield(t, True):g} (a {t} has up to {UNITS[t].max_shield:g})" for t in wrong]
    return ", ".join(parts)


def _add_own(c: _Columns, s: Sc2Settings) -> None:
    if s.obs_own_health:
        c.add("own_health", "this agent's health divided by its maximum; 0 if it is dead", 0, 1, "share")
        if s.ally_shields:
            top = _shield_top(s, _allies(s), True)
            c.add("own_shield", f"this agent's shield divided by {_shield_divisor(s)}", 0, top, "share")
    if s.obs_own_pos:
        c.add("own_x", f"this agent's x divided by {MAP_SIZE}", 0, 1, "share of the map")
        c.add("own_y", f"this agent's y divided by {MAP_SIZE}", 0, 1, "share of the map")
    if s.conic_fov:
        c.add("own_look_x", "x of the unit vector in which this agent looks", -1, 1, "direction")
        c.add("own_look_y", "y of the unit vector in which this agent looks", -1, 1, "direction")
    slots = _slot_names(s.battle_map.family.ally_slots, s.n_slots, _allies(s))
    _add_type(c, "this agent", "own", slots, "")


def _state_dimensions(s: Sc2Settings) -> tuple[Dimension, ...]:
    """Allies, enemies, last actions, time."""
    c = _Columns()
    for i in range(s.n_agents):
        _add_ally_state(c, s, i)
    for j in range(s.n_enemies):
        who, prefix = f"enemy {j}", f"enemy{j}"
        dead = f"0 if {who} is dead"
        seen = s.shows_enemy_health
        c.add(f"{prefix}_health", f"health of {who} divided by its maximum; {dead}", 0, 1, "share", seen)
        _add_position(c, prefix, who, dead)
        if s.enemy_shields:
            top = _shield_top(s, _enemies(s), False)
            c.add(f"{prefix}_shield", f"shield of {who} divided by its maximum; {dead}", 0, top, "share", seen)
        slots = _slot_names(s.battle_map.family.enemy_slots, s.n_slots, _enemies(s))
        _add_type(c, who, prefix, slots, f"; {dead}")
    if s.state_last_action:
        for i in range(s.n_agents):
            for name in action_names(s):
                meaning = f"1 if agent {i}'s previous action was '{name}' (all zero at the first step)"
                c.add(f"agent{i}_last_action[{name}]", meaning, 0, 1, "one-hot")
    if s.state_timestep_number:
        c.add("time", "share of the time limit that has passed", 0, 1, "share", s.obs_timestep_number)
    return tuple(c.dims)


def _add_position(c: _Columns, prefix: str, who: str, dead: str) -> None:
    centre = f"the map's centre, divided by {MAP_SIZE}"
    c.add(f"{prefix}_x", f"x of {who}, counted eastward from {centre}; {dead}", -0.5, 0.5, "share of the map")
    c.add(f"{prefix}_y", f"y of {who}, counted northward from {centre}; {dead}", -0.5, 0.5, "share of the map")


def _add_ally_state(c: _Columns, s: Sc2Settings, i: int) -> None:
    who, prefix = f"agent {i}", f"agent{i}"
    dead = f"0 if {who} is dead"
    types = _types_of_agent(s, i)
    c.add(f"{prefix}_health", f"health of {who} divided by its maximum; {dead}", 0, 1, "share", s.obs_own_health)
    heals = s.battle_map.family.heals
    tops = [
        1.0 if heals and t == "Medivac" else UNITS[t].longest_cooldown / s.battle_map.max_cooldown(t) for t in types
    ]
    divisors = sorted({s.battle_map.max_cooldown(t) for t in types if not (heals and t == "Medivac")})
    meaning = f"game loops until the weapon of {who} can fire again (a step has {s.step_mul})"
    if divisors:
        meaning += ", divided by " + " or ".join(f"{d:g}" for d in divisors)
        meaning += ", depending on its type" if len(divisors) > 1 else ""
    if heals and "Medivac" in types:
        energy = f"energy of {who} divided by 200"
        meaning = energy if types == ("Medivac",) else f"{meaning}; if it is a Medivac: {energy}"
    c.add(f"{prefix}_cooldown", f"{meaning}; {dead}", 0, max(tops), "share", False)
    _add_position(c, prefix, who, dead)
    if s.ally_shields:
        top = _shield_top(s, types, True)
        meaning = f"shield of {who} divided by {_shield_divisor(s)}; {dead}"
        c.add(f"{prefix}_shield", meaning, 0, top, "share", s.obs_own_health)
    if s.conic_fov:
        c.add(f"{prefix}_look_x", f"x of the unit vector in which {who} looks; {dead}", -1, 1, "direction")
        c.add(f"{prefix}_look_y", f"y of the unit vector in which {who} looks; {dead}", -1, 1, "direction")
    slots = _slot_names(s.battle_map.family.ally_slots, s.n_slots, types)
    _add_type(c, who, prefix, slots, f"; {dead}")


def _types_of_agent(s: Sc2Settings, i: int) -> tuple[str, ...]:
    """Returns the types that agent i can be: one where teams are fixed, as agents are sorted by type."""
    if s.battle_map.team:
        return s.battle_map.possible_types
    rank = s.battle_map.ally_rank
    return (sorted(s.battle_map.ally_types, key=lambda t: rank[t])[i],)


def _stacked(obs: tuple[Dimension, ...], n_agents: int) -> tuple[Dimension, ...]:
    """The observations of all agents side by side."""
    c = _Columns()
    for i in range(n_agents):
        for d in obs:
            c.add(f"agent{i}_sees_{d.name}", f"agent {i}'s observation: {d.meaning}", d.low, d.high, d.unit)
    return tuple(c.dims)
