"""Shows a battle map as text and as a picture."""

from __future__ import annotations

from pathlib import Path

from epymarl_lmac.tasks.sc2_constants import MAP_SIZE
from epymarl_lmac.tasks.sc2_map import BattleMap

ALLY_COLOUR, ENEMY_COLOUR = "#2b6cb0", "#c53030"


def as_text(battle_map: BattleMap) -> str:
    """Returns teams, orders and terrain, from north to south (``.`` walkable, ``#`` not)."""
    m = battle_map
    lines = [
        f"map {m.name} ({m.map_type}), {m.limit} steps, interface {m.flavour}, hash {m.hash()[:12]}",
        f"allies ({m.ally_race}): {_team(m.allies)}",
        f"enemies ({m.enemy_race}): {_team(m.enemies)}",
        f"opponent: {m.opponent.kind}" + (f" to {m.opponent.point}" if m.opponent.point else ""),
    ]
    if m.team:
        weights = zip(m.team.unit_types, m.team.weights, strict=True)
        lines.append("types drawn: " + ", ".join(f"{t} {w:g}" for t, w in weights))
    for k, rects in enumerate(m.draws):
        allies = [t for t, draw in zip(m.ally_types, m.ally_draws, strict=True) if draw == k]
        enemies = [t for t, draw in zip(m.enemy_types, m.enemy_draws, strict=True) if draw == k]
        places = " or ".join(str(r[:2]) if r[:2] == r[2:] else str(r) for r in rects)
        lines.append(f"draw {k}: {places}: allies {allies}, enemies {enemies}")
    for override in m.overrides:
        who = {None: "both teams", 0: "allies", 1: "enemies"}[override.owner]
        lines.append(f"{override.unit_type} of {who}: {override.field} {override.value:g}")
    lines.append(f"{int(m.walkable.sum())} of {m.walkable.size} cells are walkable:")
    for y in range(MAP_SIZE - 1, -1, -1):
        lines.append(f"{y:2d} " + "".join("." if m.walkable[x, y] else "#" for x in range(MAP_SIZE)))
    return "\n".join(lines + ([f"notes: {m.notes}"] if m.notes else []))


def _team(team: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{count} {unit_type}" for unit_type, count in team)


def as_png(battle_map: BattleMap, path: Path) -> None:
    """Draws walkable cells, start places of both teams and the enemies' goal."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    m = battle_map
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(m.walkable.T, origin="lower", extent=(0, MAP_SIZE, 0, MAP_SIZE), cmap="Greys_r", vmin=-1, vmax=1.2)
    for draws, colour, side in ((m.ally_draws, ALLY_COLOUR, "allies"), (m.enemy_draws, ENEMY_COLOUR, "enemies")):
        for rects in {m.draws[k] for k in draws}:
            for x0, y0, x1, y1 in rects:
                if (x0, y0) == (x1, y1):
                    axes.plot(x0, y0, "o", color=colour, ms=9 if side == "allies" else 6)
                else:
                    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, color=colour, alpha=0.25))
        axes.plot([], [], "o", color=colour, label=f"{side} start")
    if m.opponent.point:
        axes.plot(*m.opponent.point, "x", color=ENEMY_COLOUR, ms=10, label="enemies advance to")
    axes.set(xlim=(0, MAP_SIZE), ylim=(0, MAP_SIZE), xlabel="x, cells", ylabel="y, cells", title=m.name)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3, frameon=False)
    figure.savefig(path, dpi=120)
