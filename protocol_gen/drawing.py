"""Tables, heat maps and the flow drawing of a report, as HTML and inline SVG without scripts.

Drawn by hand because of weight: each design's page is kept in the repository, and plotly's bundle alone has 4.8 MB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

# Dark to light, even in lightness, readable with any colour vision.
_STOPS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_MISSING = "#d9dde3"


def colour(value: float, low: float, high: float) -> str:
    """Returns the colour of a value; grey where there is none."""
    if math.isnan(value):
        return _MISSING
    share = 0.0 if high <= low else min(1.0, max(0.0, (value - low) / (high - low)))
    place = share * (len(_STOPS) - 1)
    index = min(int(place), len(_STOPS) - 2)
    mixed = (round(a + (b - a) * (place - index)) for a, b in zip(_STOPS[index], _STOPS[index + 1], strict=True))
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def table(head: Sequence[str], rows: Sequence[Sequence[object]], name: str) -> str:
    """Returns a table; its cells can be found by ``data-`` row and column."""
    lines = [f'<table id="{escape(name)}"><tr>' + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>"]
    for row in rows:
        cells = "".join(
            f'<td data-row="{escape(str(row[0]))}" data-column="{escape(h)}">{escape(str(v))}</td>'
            for h, v in zip(head, row, strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def heat_map(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    caption: str,
    name: str,
    low: float = 0.0,
    high: float = 1.0,
) -> str:
    """Returns a heat map with a legend; every cell shows its figures under the pointer.

    Args:
        values: by row and column; NaN is grey.
        rows: names on the left.
        columns: names, drawn below where there is room.
        caption: what is shown.
        name: of the drawing, for links and tests.
        low: value of the darkest colour.
        high: value of the lightest.
    """
    left, width, height = 90, 900, 20
    cell = min(46.0, width / max(1, len(columns)))
    labelled = cell >= 22
    total_w = left + cell * len(columns) + (60 if labelled else 10)
    total_h = height * len(rows) + (64 if labelled else 8)
    parts = [f'<svg id="{escape(name)}" class="map" width="{total_w:.0f}" height="{total_h}" role="img">']
    # A page has ten thousands of cells: what they have in common stands in the row's group and in report.css.
    for r, (row_name, row) in enumerate(zip(rows, values, strict=True)):
        parts.append(f'<text x="{left - 6}" y="{r * height + 14}" text-anchor="end">{escape(row_name)}</text>')
        parts.append(f'<g transform="translate({left},{r * height})scale({cell:.4g},{height - 1})">')
        for c, value in enumerate(row):
            shown = "none" if math.isnan(value) else f"{value:.3f}"
            parts.append(
                f'<rect x="{c}" fill="{colour(value, low, high)}"><title>{escape(columns[c])}: {shown}</title></rect>'
            )
        parts.append("</g>")
    if labelled:
        for c, column in enumerate(columns):
            x, y = left + c * cell + cell / 2, len(rows) * height + 12
            parts.append(f'<text transform="translate({x:.1f},{y}) rotate(40)">{escape(column[:12])}</text>')
    parts.append("</svg>")
    scale = "".join(
        f'<span style="display:inline-block;width:22px;height:10px;background:{colour(i / 8, 0, 1)}"></span>'
        for i in range(9)
    )
    legend = f"{low:.3g} {scale} {high:.3g}; grey: nothing to measure"
    return f"<figure>{''.join(parts)}<figcaption>{escape(caption)} {legend}</figcaption></figure>"


def flow(influence: Sequence[Sequence[int]], name: str, caption: str) -> str:
    """Returns agents on a circle with arrows from senders to receivers, thicker where more columns depend on them."""
    n, size = len(influence), 340
    centre, radius = size / 2, size / 2 - 46
    places = [
        (
            centre + radius * math.sin(2 * math.pi * i / n),
            centre - radius * math.cos(2 * math.pi * i / n),
        )
        for i in range(n)
    ]
    most = max(1, *(max(row) for row in influence))
    parts = [
        f'<svg id="{escape(name)}" width="{size}" height="{size}" role="img"><defs><marker id="{escape(name)}-tip" '
        'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#21677a"/></marker></defs>'
        f'<g fill="none" stroke="#21677a" opacity="0.75" marker-end="url(#{escape(name)}-tip)">'
    ]
    for sender, row in enumerate(influence):
        for receiver, columns in enumerate(row):
            if sender == receiver or not columns:
                continue
            (x1, y1), (x2, y2) = places[sender], places[receiver]
            length = math.hypot(x2 - x1, y2 - y1)
            dx, dy = (x2 - x1) / length, (y2 - y1) / length
            bend_x, bend_y = (x1 + x2) / 2 - dy * 22, (y1 + y2) / 2 + dx * 22
            parts.append(
                f'<path d="M{x1 + 18 * dx:.1f} {y1 + 18 * dy:.1f}Q{bend_x:.1f} {bend_y:.1f} {x2 - 20 * dx:.1f} '
                f'{y2 - 20 * dy:.1f}" stroke-width="{0.8 + 4 * columns / most:.1f}" data-columns="{columns}">'
                f"<title>agent {sender} to agent {receiver}: {columns} columns</title></path>"
            )
    parts.append("</g>")
    for i, (x, y) in enumerate(places):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="15" fill="#eef3f7" stroke="#21677a"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{i}</text>')
    return f"<figure>{''.join(parts)}</svg><figcaption>{escape(caption)}</figcaption></figure>"


def difference(before: str, after: str, before_name: str, after_name: str) -> str:
    """Returns the unified difference of two texts, coloured."""
    import difflib

    lines = []
    for line in difflib.unified_diff(
        before.splitlines(), after.splitlines(), before_name, after_name, lineterm="", n=2
    ):
        kind = "at" if line.startswith(("@@", "---", "+++")) else {"+": "add", "-": "del"}.get(line[:1], "")
        lines.append(f'<span class="{kind}">{escape(line)}</span>' if kind else escape(line))
    return "<pre>" + "\n".join(lines) + "</pre>"
