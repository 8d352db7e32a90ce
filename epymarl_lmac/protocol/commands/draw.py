"""Draws who tells whom how much: agents in a circle, an arrow for every ordered pair, weighted by bits a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from epymarl_lmac.errors import RecordError
from epymarl_lmac.protocol.analysis.profile import Profile

WIDEST = 5.0  # line width of the largest arrow between few agents, points
SHORTEN = 0.13  # of every arrow at both ends, so that it does not touch the nodes


def circle(n_agents: int) -> list[tuple[float, float]]:
    """Returns the places of agents, the first on top, clockwise."""
    angles = [math.pi / 2 - 2 * math.pi * i / n_agents for i in range(n_agents)]
    return [(math.cos(a), math.sin(a)) for a in angles]


def _arrows(profile: Profile) -> list[tuple[int, int, int, float]]:
    """Returns (sender, receiver, bits, line width) for every pair that exchanges something, thin ones first."""
    most, widest = max(1, int(profile.bits.max(initial=0))), min(WIDEST, 12 / profile.n_agents)
    pairs = [
        (s, r, int(profile.bits[s, r]), max(0.4, widest * float(profile.bits[s, r]) / most))
        for s in range(profile.n_agents)
        for r in range(profile.n_agents)
        if s != r and profile.floats[s, r] > 0
    ]
    return sorted(pairs, key=lambda pair: pair[2])


def _line(places: Sequence[tuple[float, float]], sender: int, receiver: int) -> tuple[float, float, float, float]:
    """Returns an arrow's ends, moved to its right so that the two directions of a pair do not overlap."""
    (x0, y0), (x1, y1) = places[sender], places[receiver]
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    aside, cut = 0.035, min(SHORTEN, length / 3)
    return (
        x0 + dx * cut + dy * aside,
        y0 + dy * cut - dx * aside,
        x1 - dx * cut + dy * aside,
        y1 - dy * cut - dx * aside,
    )


def _title(name: str, profile: Profile) -> str:
    return f"{name}: {profile.message_dim} numbers a receiver, {int(profile.bits.sum())} bits a step in all"


def _png_panel(axes: Any, profile: Profile, color: Callable[[float], Any]) -> None:
    """Draws the exchange of one protocol into axes of matplotlib.

    Args:
        axes: where to draw.
        profile: what is exchanged.
        color: color map from [0, 1], the most bits at 0.
    """
    places = circle(profile.n_agents)
    most = max(1, int(profile.bits.max(initial=0)))
    for sender, receiver, bits, width in _arrows(profile):
        x0, y0, x1, y1 = _line(places, sender, receiver)
        style = {"arrowstyle": "-|>", "lw": width, "color": color(0.85 * (1 - bits / most)), "alpha": 0.8}
        axes.annotate("", xy=(x1, y1), xytext=(x0, y0), arrowprops={**style, "mutation_scale": 8 + 2 * width})
        if profile.n_agents <= 4:
            place = (x0 + 0.35 * (x1 - x0) + 2.5 * (y1 - y0) * 0.03, y0 + 0.35 * (y1 - y0) - 2.5 * (x1 - x0) * 0.03)
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
            axes.text(*place, f"{bits}", fontsize=7, ha="center", va="center", bbox=box)
    for agent, (x, y) in enumerate(places):
        axes.scatter([x], [y], s=420, color="#d9e2ec", edgecolors="#334e68", zorder=3)
        axes.text(x, y, str(agent), ha="center", va="center", zorder=4)
    axes.set_xlim(-1.3, 1.3)
    axes.set_ylim(-1.3, 1.3)
    axes.set_aspect("equal")
    axes.axis("off")


def draw_png(profiles: Sequence[Profile], names: Sequence[str], path: Path) -> None:
    """Draws one panel a protocol to a PNG.

    Raises:
        RecordError: the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(profiles), figsize=(5.5 * len(profiles), 5.8), squeeze=False)
    color = matplotlib.colormaps["viridis"]
    for axes, profile, name in zip(panels[0], profiles, names, strict=True):
        _png_panel(axes, profile, color)
        axes.set_title(_title(name, profile) + f"\nbits measured on: {profile.data}", fontsize=8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130, bbox_inches="tight", format="png")
    except OSError as err:
        raise RecordError(f"Cannot write {path}: {err.strerror}.") from err
    finally:
        plt.close(figure)


def _page_arrow(page: Any, line: tuple[float, float, float, float], width: float, panel: int) -> None:
    """Draws one arrow into a panel of a plotly page; panels count from 1."""
    x0, y0, x1, y1 = line
    look = {"showarrow": True, "arrowhead": 2, "arrowwidth": width, "arrowcolor": "#33658a", "opacity": 0.75}
    refs = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y"}
    page.add_annotation(x=x1, y=y1, ax=x0, ay=y0, text="", **look, **refs, row=1, col=panel)
    suffix = str(panel) if panel > 1 else ""  # row and col above place the head only
    page.layout.annotations[-1].update(axref=f"x{suffix}", ayref=f"y{suffix}")


def _page_panel(page: Any, profile: Profile, panel: int) -> None:
    """Draws the exchange of one protocol into a panel of a plotly page; panels count from 1."""
    import plotly.graph_objects as go

    places = circle(profile.n_agents)
    middles: list[tuple[float, float, str]] = []
    for sender, receiver, bits, width in _arrows(profile):
        line = x0, y0, x1, y1 = _line(places, sender, receiver)
        _page_arrow(page, line, width, panel)
        floats, inputs = profile.floats[sender, receiver], profile.inputs[sender, receiver]
        text = f"{sender} to {receiver}: {bits} bits, {floats} numbers, from {inputs} of its inputs"
        middles.append((x0 + 0.35 * (x1 - x0), y0 + 0.35 * (y1 - y0), text))
    if middles:
        xs, ys, shown = zip(*middles, strict=True)
        dots = go.Scatter(x=xs, y=ys, mode="markers", marker={"size": 7, "color": "#33658a"}, hovertext=shown)
        dots.update(hoverinfo="text", showlegend=False)
        page.add_trace(dots, row=1, col=panel)
    agents = [str(agent) for agent in range(profile.n_agents)]
    nodes = go.Scatter(x=[x for x, _ in places], y=[y for _, y in places], mode="markers+text", text=agents)
    nodes.update(marker={"size": 28, "color": "#d9e2ec", "line": {"color": "#334e68", "width": 1}})
    nodes.update(hoverinfo="skip", showlegend=False)
    page.add_trace(nodes, row=1, col=panel)
    page.update_xaxes(visible=False, range=[-1.3, 1.3], row=1, col=panel)
    page.update_yaxes(visible=False, range=[-1.3, 1.3], row=1, col=panel)


def draw_html(profiles: Sequence[Profile], names: Sequence[str], path: Path) -> None:
    """Draws one panel a protocol to a self-contained page; pointing at an arrow's middle shows its numbers.

    Raises:
        RecordError: the file cannot be written.
    """
    from plotly.subplots import make_subplots

    titles = [_title(name, profile) for name, profile in zip(names, profiles, strict=True)]
    page = make_subplots(rows=1, cols=len(profiles), subplot_titles=titles)
    for panel, profile in enumerate(profiles, start=1):
        _page_panel(page, profile, panel)
    page.update_annotations(font_size=12)
    page.update_layout(height=620, plot_bgcolor="white", margin={"l": 10, "r": 10, "t": 60, "b": 10})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        page.write_html(path, include_plotlyjs=True)
    except OSError as err:
        raise RecordError(f"Cannot write {path}: {err.strerror}.") from err
