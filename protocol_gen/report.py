"""The page of a bundle: one HTML file that needs nothing else.

Task, recovery and imbalance by step, protocol texts and their differences, critiques, who tells whom, and what messages
and design cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from epymarl_lmac.awareness.ceiling import ALONE, SHARE, TOGETHER, Ceiling
from epymarl_lmac.awareness.measure import QUINTILES, Recovery
from epymarl_lmac.protocol import Bundle
from protocol_gen.asking import CRITIQUE
from protocol_gen.drawing import difference, flow, heat_map, table
from protocol_gen.ledger import read_json, write_text
from protocol_gen.results import STEPS, bound, ceiling, percent, profile_of, results, stage_seconds

if TYPE_CHECKING:
    from protocol_gen.pipeline import Design

CSS = Path(__file__).resolve().parent / "report.css"
Step = tuple[str, Recovery, dict[str, Any] | None]


def _number(value: float | None, digits: int = 3) -> str:
    return "unknown" if value is None else "-" if math.isnan(value) else f"{value:.{digits}f}"


def _summary(steps: Sequence[Step], known: Ceiling | None) -> str:
    groups = list(steps[0][1].r2_by_group)
    head = ["agents hear", "success", "spread", "recall off the majority value", "imbalance"]
    head += ["imbalance off the majority value", "R2", "R2 spread", *(f"R2: {g}" for g in groups)]
    head += [] if known is None else [SHARE, *(f"share: {g}" for g in groups), "share of recall"]
    head += ["converged"]
    rows = []
    ends: list[Step] = (
        [] if known is None else [(ALONE, known.alone, None), (TOGETHER + bound(known), known.together, None)]
    )
    for kind, r, _ in [*steps, *ends]:
        metrics = [r.success, r.success_spread, r.recall, r.imbalance, r.recall_imbalance]
        metrics += [r.r2, r.r2_spread]
        cells = [_number(v, 5 if v in (r.imbalance, r.recall_imbalance) else 3) for v in metrics]
        settled = "yes" if r.converged else f"no: {r.n_unconverged} of {len(r.success_by_seed)} decoders"
        cells += [_number(r.r2_by_group[g]) for g in groups]
        if known is not None:
            cells += map(percent, [known.share(r), *known.share_by_group(r).values(), known.share_of_recall(r)])
        rows.append([kind, *cells, settled])
    warnings = [
        f'<p class="warn">{escape(kind)}: no gain confirmed, the score changed by {choice["gain"]:+.4f} '
        f"(standard error {choice['gain_error']:.4f}){', so the step was left out' if choice['dropped'] else ''}.</p>"
        for kind, _, choice in steps
        if choice is not None and not choice["confirmed"]
    ]
    note = (
        "Success: share of agents, dimensions and steps with a squared error within tolerance. Imbalance: variance of "
        "success over agents, mean over dimensions. Off the majority value: the same on entries that are not the most "
        "frequent value of their dimension. Guessing that value fails on all of them; another constant can be right on "
        "some, above all where a dimension has more than two values. R2: 1 - MSE / variance, 0 for a constant guess. "
        "Spread: sample standard deviation over decoder seeds. All on held-out episodes that chose no candidate; they "
        "decide whether a step is shipped."
    )
    if known is not None:
        note += (
            f" What can be known: {known.note} ({known.n_alone} episodes alone, {known.n_together} together). Share: "
            "(protocol - alone) / (together - alone)."
        )
    return table(head, rows, "summary") + "".join(warnings) + f'<p class="note">{note}</p>'


def _maps(steps: Sequence[Step], names: Sequence[str]) -> str:
    agents = [f"agent {i}" for i in range(len(steps[0][1].success_NI))]
    parts = []
    for title, key in (("Success", "success_NI"), ("R2", "r2_NI")):
        parts.append(f"<h3>{title}: agents x dimensions</h3>")
        for n, (kind, r, _) in enumerate(steps):
            parts.append(heat_map(getattr(r, key), agents, names, f"{kind}: {title.lower()}.", f"{key}-{n}"))
    parts.append("<h3>Imbalance: variance of success over agents</h3>")
    by_step = [r.imbalance_I for _, r, _ in steps]
    top = max(0.01, max(max(row) for row in by_step))
    parts.append(heat_map(by_step, [kind for kind, _, _ in steps], names, "By dimension.", "imbalance_I", 0.0, top))
    return "".join(parts)


def _time(steps: Sequence[Step]) -> str:
    agents = [f"agent {i}" for i in range(len(steps[0][1].success_NI))]
    parts = []
    for n, (kind, r, _) in enumerate(steps):
        by_agent = np.asarray(r.success_TN).T.tolist()
        columns = [f"step {t}" for t in range(len(r.success_TN))]
        parts.append(heat_map(by_agent, agents, columns, f"{kind}: success over the episode.", f"success_TN-{n}"))
    rows = []
    for kind, r, _ in steps:
        quintiles = np.asarray(r.success_QNI, dtype=float)
        rows.append([kind, *(_number(float(v), 5) for v in quintiles.var(1).mean(1))])
    parts.append(
        "<h3>Imbalance by quintile of the episode</h3>" + table(["agents hear", *QUINTILES], rows, "imbalance_F")
    )
    return "".join(parts)


def _texts(bundle: Bundle) -> str:
    parts = []
    for place, (k, text) in enumerate(zip(bundle.steps, bundle.texts, strict=True)):
        parts.append(f"<h3>k = {k}</h3><pre id='text-{k}'>{escape(text)}</pre>")
        if place:
            before = bundle.steps[place - 1]
            changed = difference(bundle.texts[place - 1], text, f"k = {before}", f"k = {k}")
            parts.append(f"<details><summary>difference from k = {before}</summary>{changed}</details>")
    return "".join(parts)


def _critiques(work: Path) -> str:
    parts = []
    for k in STEPS[1:]:
        path = work / f"k{k}" / "critique.json"
        values = read_json(path)
        parts.append(f"<h3>before k = {k}</h3>")
        parts += [f"<p><b>{escape(key.replace('_', ' '))}.</b> {escape(values[key])}</p>" for key in CRITIQUE]
    return "".join(parts)


def _flow(found: dict[str, Any], n_agents: int) -> str:
    parts = []
    for k, influence in zip(found["steps"], found["influence"], strict=True):
        caption = (
            f"k = {k}: an arrow says that columns which the receiver gets depend on what the sender perceives "
            "(found by exchanging the sender's view on recorded episodes); the thicker, the more columns."
        )
        parts.append(flow(influence, f"flow-{k}", caption))
    rows = [
        [f"k = {k}", n, bits, sum(1 for c in found["constant"] if c.startswith(f"k{k}["))]
        + [sum(1 for d in found[key] if d["column"].startswith(f"k{k}[")) for key in ("duplicate", "already_known")]
        for k, n, bits in zip(found["steps"], found["columns"], found["bits_per_step"], strict=True)
    ]
    sums = [sum(int(row[c]) for row in rows) for c in range(1, 6)]
    head = ["step", "numbers a receiver and step", "bits", "never change", "repeat another", "already known"]
    team = f"The whole team gets {n_agents * sum(found['columns'])} numbers a step, {n_agents * sums[1]} bits."
    return "".join(parts) + "<h3>Message cost</h3>" + table(head, [*rows, ["all", *sums]], "cost") + f"<p>{team}</p>"


def _design(design: Design, steps: Sequence[Step]) -> str:
    rows = design.ledger.by_step()
    shown = [[_number(v, 2) if isinstance(v, float) or v is None else v for v in row.values()] for row in rows]
    candidates = [
        [
            f"k{k}, candidate {c['candidate']}",
            c["attempts"] or "-",
            _number(c["score"], 4) if c["score"] else "stopped",
            _number(c["confirmed_score"], 4) if c["score"] else "-",
            _verdict(c, choice or {}),
        ]
        for k, (_, _, choice) in zip(STEPS, steps[1:], strict=True)
        for c in (choice or {})["candidates"]
    ]
    times = [[part, f"{s:.0f}"] for part, s in stage_seconds(design.work).items()]
    return (
        table(list(rows[0]), shown, "design")
        + table(
            ["candidate", "attempts", "score on choosing episodes", "on confirming ones", ""], candidates, "candidates"
        )
        + table(["part", "seconds"], times, "seconds")
    )


def _verdict(candidate: dict[str, Any], choice: dict[str, Any]) -> str:
    if candidate["candidate"] != choice["candidate"]:
        return "lost"
    return "left out" if choice["dropped"] else "shipped"


def write_report(design: Design, bundle: Bundle, path: Path) -> Path:
    """Writes the page of a finished design; returns its path.

    Args:
        design: it is finished.
        bundle: what it made.
        path: the HTML file.
    """
    card, work = design.card, design.work
    steps, known = results(work), ceiling(work)
    names = [card.state[i].name for i in bundle.important_state]
    found = profile_of(bundle, Path(read_json(work / "collect.json")["file"]), design.layout)
    conditions = bundle.manifest["scores"]["conditions"]
    said = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in conditions.items())
    title = f"{card.env} {card.task}: protocol bundle"
    sections = {
        "Recovery": _summary(steps, known) + f'<p class="note">{escape(said)}</p>' + _maps(steps, names),
        "Over the episode": _time(steps),
        "Who tells whom": _flow(found, card.n_agents),
        "Protocols": _texts(bundle),
        "Critiques": _critiques(work),
        "Cost of the design": _design(design, steps),
    }
    links = "".join(f'<a href="#s{n}">{escape(name)}</a>' for n, name in enumerate(sections))
    body = "".join(f'<h2 id="s{n}">{escape(name)}</h2>{html}' for n, (name, html) in enumerate(sections.items()))
    important = f"{len(names)} of {len(card.state)} state dimensions are to be known: {', '.join(names[:12])}"
    important += " and others." if len(names) > 12 else "."
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{CSS.read_text(encoding="utf-8")}</style></head>'
        f'<body><h1>{escape(title)}</h1><p id="goal">{escape(card.goal)}</p><p class="note">{escape(important)}</p>'
        f"<nav>{links}</nav>{body}</body></html>\n"
    )
    write_text(path, page)
    return path
