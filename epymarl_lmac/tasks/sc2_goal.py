"""What a battle is about, in words, for task cards and the prompts made from them."""

from __future__ import annotations

from epymarl_lmac.tasks.sc2_constants import LOOPS_PER_SECOND, MAP_SIZE
from epymarl_lmac.tasks.sc2_map import BattleMap, Rect
from epymarl_lmac.tasks.sc2_settings import SCRIPT, Sc2Settings

# What a newcomer to the game needs to know of a unit type.
_FACTS = {
    "Baneling": "A Baneling runs into its target, explodes and dies; the burst hurts all enemies on the ground around, "
    "and so does a Baneling that is killed.",
    "Overlord": "An Overlord flies slowly and cannot attack.",
    "Medivac": "A Medivac flies, cannot attack, and heals one biological unit of its team at a time.",
}
_END = {
    "smac_comm/bZ_hM": "The battle is won once the Hydralisk is dead while the Medivac lives",
    "heals": "The battle is won once no enemy is left, or only a Medivac, and lost once no agent but Medivacs is left",
}


def goal(s: Sc2Settings) -> str:
    """Returns what the team must do, how it starts, what the enemies do and how reward is given."""
    parts = [_teams(s), _start(s.battle_map), _opponent(s), _sight(s), _end(s), _reward(s)]
    if s.heuristic_ai:
        parts.insert(1, _script(s))
    return " ".join(parts)


def _plural(unit_type: str, count: int) -> str:
    if count == 1:
        return unit_type
    return unit_type + ("es" if unit_type.endswith("h") else "s")


def _counted(team: tuple[tuple[str, int], ...]) -> str:
    """Writes e.g. "3 Banelings and 1 Overlord"."""
    counts: dict[str, int] = {}
    for unit_type, count in team:
        counts[unit_type] = counts.get(unit_type, 0) + count
    parts = [f"{count} {_plural(unit_type, count)}" for unit_type, count in counts.items()]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _teams(s: Sc2Settings) -> str:
    m = s.battle_map
    if m.team:
        types = ", ".join(f"{t} {w:g}" for t, w in zip(m.team.unit_types, m.team.weights, strict=True))
        return (
            f"{m.n_allies} agents fight {m.n_enemies} enemies controlled by the game. The agents' unit types are drawn "
            f"anew each episode (probabilities: {types}) and the enemies have the same types."
        )
    return (
        f"{m.n_allies} agents, {_counted(m.allies)}, fight {_counted(m.enemies)} controlled by the game. Agents are "
        "numbered by unit type and then from west to east: "
        + ", ".join(_numbers(t, first, count) for t, first, count in _numbered(m))
        + "."
        + "".join(f" {text}" for t, text in _FACTS.items() if t in m.possible_types)
    )


def _numbered(m: BattleMap) -> list[tuple[str, int, int]]:
    """Returns (type, first agent, count) in the order of the agents."""
    ordered = sorted(m.ally_types, key=lambda t: m.ally_rank[t])
    return [(t, ordered.index(t), ordered.count(t)) for t in dict.fromkeys(ordered)]


def _numbers(unit_type: str, first: int, count: int) -> str:
    if count == 1:
        return f"agent {first} is the {unit_type}"
    return f"agents {first} to {first + count - 1} are {_plural(unit_type, count)}"


def _where(rects: tuple[Rect, ...]) -> str:
    """Says where a draw lies."""
    words = [
        f"({x0:g}, {y0:g})" if (x0, y0) == (x1, y1) else f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}"
        for x0, y0, x1, y1 in rects
    ]
    if len(words) == 1:
        return f"at {words[0]}" if words[0].startswith("(") else f"at a random point of {words[0]}"
    kind = "one of the points" if words[0].startswith("(") else "a random point of one of the regions"
    return f"at {kind} {'; '.join(words)}"


def _start(m: BattleMap) -> str:
    space = f"The map is a square of {MAP_SIZE} by {MAP_SIZE} cells; x grows to the east, y to the north."
    if m.start:
        return (
            f"{space} With probability {m.start.p_surround:g} the agents start in the centre, surrounded by up to four "
            f"groups of enemies, else on the west side with x below {m.start.reflect_x:g}, the enemies mirrored."
        )
    parts = []
    for side, types, draws in (("of the agents", m.ally_types, m.ally_draws), ("enemy", m.enemy_types, m.enemy_draws)):
        by_place: dict[tuple[str, str], list[int]] = {}
        for unit_type, draw in zip(types, draws, strict=True):
            by_place.setdefault((unit_type, _where(m.draws[draw])), []).append(draw)
        for (unit_type, where), drawn in by_place.items():
            who = _plural(unit_type, len(drawn))
            who = f"{len(drawn)} enemy {who}" if side == "enemy" else f"{len(drawn)} {who} {side}"
            parts.append(f"{who}{', each' if len(set(drawn)) > 1 else ''} {where}")
    return f"{space} At the start: {'; '.join(parts)}.{_shared(m)}"


def _shared(m: BattleMap) -> str:
    """Says which units stand together at a point that is drawn."""
    drawn = [d for d in dict.fromkeys([*m.ally_draws, *m.enemy_draws]) if not _is_point(m.draws[d])]
    both = [d for d in drawn if d in m.ally_draws and d in m.enemy_draws]
    if not both:
        return ""
    sides = []
    for d in both:
        allies = [t for t, k in zip(m.ally_types, m.ally_draws, strict=True) if k == d]
        enemies = [t for t, k in zip(m.enemy_types, m.enemy_draws, strict=True) if k == d]
        sides.append(f"{_counted(_as_team(allies))} of the agents beside {_counted(_as_team(enemies))} of the enemies")
    return f" The same drawn point is shared by {'; and '.join(sides)}."


def _as_team(types: list[str]) -> tuple[tuple[str, int], ...]:
    return tuple((t, types.count(t)) for t in dict.fromkeys(types))


def _is_point(rects: tuple[Rect, ...]) -> bool:
    return len(rects) == 1 and rects[0][:2] == rects[0][2:]


_LED = {
    "attack_nearest": "Each enemy attacks the agent nearest to it.",
    "focus_fire": "All enemies attack the weakest agent that is near one of them, else each the nearest.",
    "kite": "Enemies that reach farther than the nearest agent shoot and step back; the others attack the nearest.",
    "mixed": "Each episode the enemies attack the nearest agent, or all the weakest, or shoot and step back.",
}


def _opponent(s: Sc2Settings) -> str:
    if s.plays_a_run:
        return "The enemies are led by a team that was trained on this task, seen from the other side."
    if s.opponent != SCRIPT:
        return _LED[s.opponent]
    m = s.battle_map
    if m.opponent.kind == "attack_move" and m.opponent.point:
        x, y = m.opponent.point
        return f"The enemies advance to ({x:g}, {y:g}), attack what comes near on the way, and wait there."
    if m.opponent.kind == "attack_closest":
        return "Each enemy attacks the agent closest to it."
    return "The enemies wait where they start and attack only what comes near."


def _script(s: Sc2Settings) -> str:
    """Says what leads the agents in place of their actions."""
    text = "A script leads the agents, whose own actions do nothing: each attacks the nearest enemy until that is dead"
    if s.battle_map.family.heals:
        text += ", a Medivac heals the nearest hurt agent"
    return f"{text}; a target out of reach is approached by moves." if s.heuristic_rest else f"{text}."


def _sight(s: Sc2Settings) -> str:
    if s.use_unit_ranges:
        return "Each agent sees and attacks as far as its unit type allows."
    attack = f"may attack enemies within {s.shoot_range:g}"
    return f"Each agent sees units nearer than {s.sight_range:g} cells, relative to itself, and {attack}."


def _end(s: Sc2Settings) -> str:
    key = f"{s.flavour}/{s.battle_map.map_type}"
    text = _END.get(key) or (_END["heals"] if s.battle_map.family.heals else "")
    text = text or "The battle is won once no enemy is left, and lost once no agent is"
    return f"{text}; after {s.battle_map.limit} steps ({_length(s)}) it ends without a winner."


def _length(s: Sc2Settings) -> str:
    """Says how long a step is."""
    seconds = s.step_mul / LOOPS_PER_SECOND
    return "of half a second" if seconds == 0.5 else f"of {seconds:g} seconds"


def _reward(s: Sc2Settings) -> str:
    if s.reward_sparse:
        return "The team's reward is 1 for a victory, -1 for a defeat, and 0 before."
    text = (
        f"The team is rewarded for damage to enemies, {s.reward_death_value:g} for each enemy's death and "
        f"{s.reward_win:g} for winning"
    )
    if s.reward_defeat:
        text += f", {s.reward_defeat:g} for losing"
    if not s.reward_only_positive:
        text += f"; {s.reward_negative_scale:g} times its own losses, counted the same way, are taken off"
    if s.reward_scale:
        text += f"; the sum is scaled so that a victory without healed damage earns {s.reward_scale_rate:g}"
    return text + "."
