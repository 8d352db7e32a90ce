"""Charts of the page as SVG text.

Drawn by hand because of their weight: a page with plotly's bundle has 4.8 MB, with vega's 0.9 MB, with these some
tens of kilobytes; and because lines that differ in dash, marker and colour at once, in light and dark, are a few lines
of SVG and CSS. Every element of the i-th algorithm has the class ``si``; colours are in ``page.css``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np

from epymarl_lmac.compare.results import Aggregate, Improvement, MeanCurve, Row, RunCurve
from epymarl_lmac.compare.statistics import Estimate
from epymarl_lmac.compare.tables import shown, steps_shown

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 10, 36
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "5 2 1 2 1 2", "1 2", "14 3 3 3")
MARKERS_SHOWN = 9  # on an averaged curve
ROW_HEIGHT = 24
LETTER = 7.0  # mean width of a letter of the names beside a dot chart


@dataclass(frozen=True)
class Axis:
    """A straight scale from numbers to pixels."""

    low: float
    high: float
    start: float  # pixel of ``low``
    end: float

    def __call__(self, value: float) -> float:
        """Returns the pixel of a number."""
        span = self.high - self.low or 1.0
        return round(self.start + (value - self.low) / span * (self.end - self.start), 1)

    def ticks(self, count: int = 5) -> list[float]:
        """Returns about ``count`` round numbers inside the scale."""
        span = self.high - self.low or 1.0
        raw = span / count
        power = 10 ** math.floor(math.log10(raw))
        step = next(power * f for f in (1, 2, 5, 10) if power * f >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def marker(index: int, x: float, y: float, size: float = 4.0) -> str:
    """Returns the mark of the algorithm with this index: a shape of its own, so that no colour is needed."""
    s, d = size, round(1.3 * size, 1)
    shapes = (
        f'<circle class="mark" cx="{x}" cy="{y}" r="{s}"/>',
        f'<rect class="mark" x="{x - s:.1f}" y="{y - s:.1f}" width="{2 * s}" height="{2 * s}"/>',
        f'<path class="mark" d="M{x} {y - s:.1f}l{s} {2 * s}h{-2 * s}z"/>',
        f'<path class="mark" d="M{x} {y - d:.1f}l{d} {d}l{-d} {d}l{-d} {-d}z"/>',
        f'<path class="open" d="M{x - s:.1f} {y - s:.1f}l{2 * s} {2 * s}m0 {-2 * s}l{-2 * s} {2 * s}"/>',
        f'<path class="open" d="M{x} {y - d:.1f}v{2 * d}m{-d} {-d}h{2 * d}"/>',
        f'<path class="mark" d="M{x} {y + s:.1f}l{s} {-2 * s}h{-2 * s}z"/>',
        f'<circle class="open" cx="{x}" cy="{y}" r="{s}"/>',
    )
    return shapes[index % len(shapes)]


def swatch(index: int) -> str:
    """Returns a small picture of an algorithm's line and mark for the legend."""
    dash = DASHES[index % len(DASHES)]
    return (
        f'<svg class="swatch s{index}" viewBox="0 0 34 12" aria-hidden="true">'
        f'<path class="mean" stroke-dasharray="{dash}" d="M0 6H34"/>{marker(index, 17, 6)}</svg>'
    )


def _number(value: float) -> str:
    return f"{value:.3g}"


def _svg(title: str, body: Sequence[str], height: float = HEIGHT) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title, True)}">'
        f"{''.join(body)}</svg>"
    )


def _x_axis(x: Axis, bottom: float, name: str, text: Callable[[float], str]) -> list[str]:
    parts = [f'<path class="axis" d="M{x.start} {bottom}H{x.end}"/>']
    for tick in x.ticks():
        parts.append(f'<text x="{x(tick)}" y="{bottom + 15}" text-anchor="middle">{text(tick)}</text>')
    middle = (x.start + x.end) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 31}" text-anchor="middle">{escape(name)}</text>')
    return parts


def _y_axis(y: Axis, x: Axis) -> list[str]:
    parts = []
    for tick in y.ticks():
        parts.append(f'<path class="grid" d="M{x.start} {y(tick)}H{x.end}"/>')
        parts.append(f'<text x="{x.start - 5}" y="{y(tick) + 4}" text-anchor="end">{_number(tick)}</text>')
    return parts


def _line(steps: np.ndarray, values: np.ndarray, x: Axis, y: Axis) -> str:
    return "M" + "L".join(f"{x(s)} {y(v)}" for s, v in zip(steps, values, strict=True))


def _run_line(index: int, run: RunCurve, t_max: int, x: Axis, y: Axis) -> str:
    steps, values = run.up_to(t_max)
    points = "".join(
        f'<circle cx="{x(s)}" cy="{y(v)}" r="1.6"><title>{escape(run.alg)}, seed {run.seed}, step {s:,.0f}: {v:.3f}'
        "</title></circle>"
        for s, v in zip(steps, values, strict=True)
    )
    return f'<g class="run s{index}"><path d="{_line(steps, values, x, y)}"/>{points}</g>'


def _mean_line(index: int, curve: MeanCurve, x: Axis, y: Axis) -> str:
    parts = []
    if np.isfinite(curve.low).all():
        upper = _line(curve.steps, np.clip(curve.high, y.low, y.high), x, y)
        lower = _line(curve.steps[::-1], np.clip(curve.low, y.low, y.high)[::-1], x, y)
        parts.append(f'<path class="band" d="{upper}L{lower[1:]}z"/>')
    dash = DASHES[index % len(DASHES)]
    parts.append(f'<path class="mean" stroke-dasharray="{dash}" d="{_line(curve.steps, curve.mean, x, y)}"/>')
    last = len(curve.steps) - 1
    for k in sorted({round(i * last / (MARKERS_SHOWN - 1)) for i in range(MARKERS_SHOWN)}):
        parts.append(marker(index, x(float(curve.steps[k])), y(float(curve.mean[k]))))
    return f'<g class="s{index}">{"".join(parts)}</g>'


def curves_chart(
    title: str, algs: Sequence[str], curves: Sequence[MeanCurve], runs: Sequence[RunCurve], t_max: int
) -> str:
    """Returns learning curves: a thin line with points for every run, the mean and its interval for every algorithm."""
    values = np.concatenate([run.up_to(t_max)[1] for run in runs])
    low, high = min(0.0, float(values.min())), float(values.max())
    x = Axis(0, max(t_max, max(float(run.up_to(t_max)[0][-1]) for run in runs)), LEFT, WIDTH - RIGHT)
    y = Axis(low, high + 0.05 * (high - low or 1.0), HEIGHT - BOTTOM, TOP)
    body = [*_y_axis(y, x), *_x_axis(x, y.start, "environment steps", steps_shown)]
    body += [_run_line(algs.index(run.alg), run, t_max, x, y) for run in runs]
    body += [_mean_line(algs.index(curve.alg), curve, x, y) for curve in curves]
    return _svg(title, body)


class DotRow(NamedTuple):
    """A line of a dot chart."""

    place: int  # of the algorithm among all
    name: str
    estimate: Estimate
    points: Sequence[tuple[float, str]] = ()  # single runs: value and what it says when pointed at


def _dot_row(row: DotRow, x: Axis, y: float) -> str:
    """Returns a name, its interval, its mark and the points of single runs."""
    estimate = row.estimate
    parts = [f'<text x="{x.start - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>']
    if estimate.has_interval:
        low, high = (x(float(np.clip(v, x.low, x.high))) for v in (estimate.low, estimate.high))
        parts.append(f'<path class="interval" d="M{low} {y:.1f}H{high}"/>')
    for value, text in row.points:
        title = f"<title>{escape(text)}</title>"
        parts.append(f'<circle class="point" cx="{x(value)}" cy="{y + 8:.1f}" r="2.2">{title}</circle>')
    title = f"<title>{escape(row.name)}: {shown(estimate)}, n = {estimate.n}</title>"
    parts.append(f"<g>{title}{marker(row.place, x(estimate.value), round(y, 1))}</g>")
    return f'<g class="s{row.place}">{"".join(parts)}</g>'


def _dot_chart(title: str, axis_name: str, rows: Sequence[DotRow], limits: tuple[float, float]) -> str:
    names_end = min(WIDTH / 2, 12 + LETTER * max((len(row.name) for row in rows), default=0))
    x = Axis(limits[0], limits[1], names_end, WIDTH - 14)
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    bottom = height - BOTTOM
    body = [f'<path class="grid" d="M{x(tick)} {TOP}V{bottom}"/>' for tick in x.ticks()]
    body += _x_axis(x, bottom, axis_name, _number)
    for number, row in enumerate(rows):
        body.append(_dot_row(row, x, TOP + ROW_HEIGHT * (number + 0.4)))
    return _svg(title, body, height)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.05 * (high - low or abs(high) or 1.0)
    return low - margin, high + margin


def scores_chart(title: str, algs: Sequence[str], rows: Sequence[Row], key: str) -> str:
    """Returns final scores on a task: the mean, its interval and every run's point."""
    shown_values = [v for row in rows for v in row.scores.tolist()]
    lines = [
        DotRow(
            algs.index(row.alg),
            f"{row.alg} (n={row.mean.n})",
            row.mean,
            [(float(v), f"seed {seed}: {v:.3f}") for v, seed in zip(row.scores, row.seeds, strict=True)],
        )
        for row in rows
    ]
    return _dot_chart(title, f"{key}, last tenth of the budget", lines, _limits([*shown_values, 0.0]))


def aggregate_chart(algs: Sequence[str], aggregates: Sequence[Aggregate], name: str, label: str) -> str:
    """Returns one aggregate (``iqm``, ``mean`` or ``median``) of every algorithm with its interval."""
    estimates: list[Estimate] = [getattr(one, name) for one in aggregates]
    ends = [v for e in estimates for v in (e.value, *((e.low, e.high) if e.has_interval else ()))]
    lines = [
        DotRow(algs.index(one.alg), f"{one.alg} (n={e.n})", e) for one, e in zip(aggregates, estimates, strict=True)
    ]
    return _dot_chart(label, label, lines, _limits([*ends, 0.0]))


def improvement_chart(algs: Sequence[str], pairs: Sequence[Improvement]) -> str:
    """Returns the probability of improvement of every pair; 0.5 means no difference."""
    lines = [DotRow(algs.index(p.better), f"{p.better} > {p.other}", p.probability) for p in pairs]
    return _dot_chart("probability of improvement", "probability that the first beats the second", lines, (0.0, 1.0))


def cost_chart(title: str, algs: Sequence[str], rows: Sequence[Row], key: str) -> str:
    """Returns scores on a task over what messages cost; the cost is on a logarithmic scale that starts at 0."""
    places = [math.log2(1 + row.messages.bits_per_agent) for row in rows]
    scores = [float(v) for row in rows for v in row.scores]
    low, high = _limits([*scores, 0.0])
    x = Axis(0.0, max([*places, 1.0]) * 1.05, LEFT, WIDTH - RIGHT)
    y = Axis(low, high, HEIGHT - BOTTOM, TOP)
    body = [
        *_y_axis(y, x),
        *_x_axis(x, y.start, "bits that an agent sends at a step", lambda v: steps_shown(round(2**v - 1))),
    ]
    for row, place in zip(rows, places, strict=True):
        index = algs.index(row.alg)
        points = "".join(
            f'<circle class="point" cx="{x(place)}" cy="{y(float(score))}" r="2.2">'
            f"<title>{escape(row.alg)}, seed {seed}: {score:.3f}</title></circle>"
            for score, seed in zip(row.scores, row.seeds, strict=True)
        )
        text = f"{row.alg}: {shown(row.mean)}, {row.messages}"
        is_right = x(place) > WIDTH / 2  # then the name stands left of its mark
        at, anchor = (x(place) - 7, "end") if is_right else (x(place) + 7, "start")
        mark = f"<g><title>{escape(text)}</title>{marker(index, x(place), y(row.mean.value))}</g>"
        name = f'<text x="{at:.1f}" y="{y(row.mean.value) - 6:.1f}" text-anchor="{anchor}">{escape(row.alg)}</text>'
        body.append(f'<g class="s{index}">{mark}{points}{name}</g>')
    return _svg(title, body)


def pairs_chart(title: str, floats_NS: np.ndarray) -> str:
    """Returns what every ordered pair of agents sent, as a square of cells: receivers are rows, senders columns."""
    N = len(floats_NS)
    left, top, cell = 60, 34, min(34.0, 300 / N)
    highest = float(floats_NS.max()) or 1.0
    body = [
        f'<text x="{left + cell * N / 2:.1f}" y="12" text-anchor="middle">sender</text>',
        f'<text x="4" y="{top + cell * N / 2 + 4:.1f}">receiver</text>',
    ]
    for k in range(N if cell >= 14 else 0):
        middle = cell * (k + 0.5)
        body.append(f'<text x="{left + middle:.1f}" y="{top - 5}" text-anchor="middle">{k}</text>')
        body.append(f'<text x="{left - 5}" y="{top + middle + 4:.1f}" text-anchor="end">{k}</text>')
    for receiver, row in enumerate(floats_NS.tolist()):
        for sender, floats in enumerate(row):
            text = f"agent {sender} to agent {receiver}: {floats:.3g} floats a step"
            place = f'x="{left + cell * sender:.1f}" y="{top + cell * receiver:.1f}"'
            kind = "own" if sender == receiver else "cell"
            body.append(
                f'<rect class="{kind}" {place} width="{cell:.1f}" height="{cell:.1f}" '
                f'fill-opacity="{0 if kind == "own" else floats / highest:.2f}"><title>{text}</title></rect>'
            )
            if cell >= 26 and kind == "cell":
                body.append(
                    f'<text class="count" x="{left + cell * (sender + 0.5):.1f}" '
                    f'y="{top + cell * (receiver + 0.5) + 4:.1f}" text-anchor="middle">{floats:.3g}</text>'
                )
    return _svg(title, body, top + cell * N + 8)


_PLACE = re.compile(r"^(.*)\[(-?\d+), *(-?\d+)\]$")  # a column that is a cell of a grid, e.g. food[3,1]


def awareness_chart(title: str, by_column: Mapping[str, float]) -> str:
    """Returns R2 of every state column as cells, the darker the better known: grids where columns are cells of one.

    Args:
        title: what is shown.
        by_column: R2 by the column's name; NaN for a column that never varies, drawn as a crossed cell.
    """
    groups: dict[str, dict[tuple[int, int], str]] = {}
    for number, name in enumerate(by_column):
        found = _PLACE.match(name)
        group = found[1] if found else name.split("[")[0]
        cells = groups.setdefault(group, {})
        place = (int(found[2]), int(found[3])) if found else (len(cells) // 12, len(cells) % 12)
        cells[place if place not in cells else (number, 0)] = name
    body, left, lowest = [], 6.0, 0.0
    corners = [(min(row for row, _ in cells), min(column for _, column in cells)) for cells in groups.values()]
    widths = [max(c for _, c in cells) - first + 1 for cells, (_, first) in zip(groups.values(), corners, strict=True)]
    size = min(16.0, (WIDTH - 12.0 - 12.0 * len(groups)) / sum(widths))
    for (group, cells), width, (top, first) in zip(groups.items(), widths, corners, strict=True):
        body.append(f'<text x="{left:.1f}" y="14">{escape(group)}</text>')
        for (row, column), name in cells.items():
            x, y = left + size * (column - first), 22 + size * (row - top)
            value = by_column[name]
            shade = 0.0 if math.isnan(value) else min(1.0, max(0.0, value))
            text = f"{name}: " + ("never varies" if math.isnan(value) else f"R2 {value:.3f}")
            body.append(
                f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{size:.1f}" height="{size:.1f}" '
                f'fill-opacity="{shade:.2f}"><title>{escape(text)}</title></rect>'
            )
            if math.isnan(value):
                body.append(f'<path class="axis" d="M{x:.1f} {y:.1f}l{size:.1f} {size:.1f}"/>')
            lowest = max(lowest, y + size)
        left += size * width + 12
    return _svg(title, body, lowest + 8)
