"""The page of a comparison: one HTML file that needs nothing else, no network and no script to be read."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

from epymarl_lmac import __version__
from epymarl_lmac.compare import charts
from epymarl_lmac.compare.fairness import Difference
from epymarl_lmac.compare.messages import INTACT, Awareness, ControlRow, pair_floats
from epymarl_lmac.compare.results import Comparison, Row, Summary
from epymarl_lmac.compare.statistics import CONFIDENCE, RESAMPLES
from epymarl_lmac.compare.tables import all_tables, shown, steps_shown
from epymarl_lmac.record.files import write_text
from epymarl_lmac.record.identity import rules_of
from epymarl_lmac.record.screen import duration

FILE_NAME = "index.html"
HERE = Path(__file__).parent


def _table(header: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in header)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _row(cells: Sequence[Any], attributes: str = "", text_from: int | None = None, best: int | None = None) -> str:
    parts = []
    for index, cell in enumerate(cells):
        kind = " class=best" if index == best else ""
        if text_from is not None and index >= text_from:
            kind = " class=text"
        parts.append(f"<td{kind}>{escape(str(cell))}</td>")
    return f"<tr{attributes}>{''.join(parts)}</tr>"


def _controls(c: Comparison) -> str:
    options = "".join(f'<option value="{escape(env, True)}">{escape(env)}</option>' for env in c.envs)
    boxes = "".join(
        f"<label><input type=checkbox checked data-alg={index}>{charts.swatch(index)}{escape(alg)}</label>"
        for index, alg in enumerate(c.algs)
    )
    choose = f'<label>environment <select id=env><option value="">all</option>{options}</select></label>'
    return f"<div class=controls>{choose}{boxes}</div>"


def _introduction(c: Comparison, rows: Sequence[Row]) -> str:
    seeds = sorted({len(row.scores) for row in rows})
    runs = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    tested = ", ".join(f"{key}={value}" for key, value in c.evaluation.items())
    return (
        f"<h1>{escape(', '.join(c.algs))} on {escape(', '.join(c.envs))}</h1>"
        f"<p>{escape(c.key)} over {c.t_max:,} environment steps, n = {runs} runs of each algorithm and environment. "
        f"One run is one replicate. Score of a run: mean of its tests in the last tenth of the budget. "
        f"Tests: {escape(tested)}.</p>"
        f"<p class=soft>Intervals are {CONFIDENCE:.0%}: Student's t with the real n for means on one environment, "
        f"stratified bootstrap ({RESAMPLES:,} draws) for interquartile means and everything over environments. "
        "A single run has no interval.</p>"
    )


def _warnings(c: Comparison) -> str:
    parts = []
    if c.unfair:
        items = "".join(f"<li>{escape(str(d))}</li>" for d in c.unfair)
        parts.append(f"<div class=warn><strong>Not on equal terms.</strong> These differ:<ul>{items}</ul></div>")
    if c.unfinished:
        parts.append(
            f"<div class=warn><strong>{len(c.unfinished)} of the planned runs are not complete.</strong> "
            'No number below counts them; see <a href="#unfinished">what became of them</a>.</div>'
        )
    for note in c.notes:
        parts.append(f"<div class=warn>{escape(note)}</div>")
    return "".join(parts)


def _summary(c: Comparison, rows: Sequence[Row]) -> str:
    header = (
        *("environment", "algorithm", "n", "mean", "interquartile mean", "median", "area under curve", "time to level"),
        *("wall time", "parameters", "messages", "tuning trials"),
    )
    best = {env: max((r.mean.value for r in rows if r.env == env), default=math.nan) for env in c.envs}
    lines = []
    for row in rows:
        cells = (
            row.env,
            row.alg,
            row.mean.n,
            shown(row.mean),
            shown(row.iqm),
            f"{row.median:.3f}",
            shown(row.area),
            f"{steps_shown(row.reach.median_steps)} ({row.reach.n_reached} of {row.reach.n} reach {row.threshold:.3g})",
            "not recorded" if math.isnan(row.wall_s) else duration(row.wall_s),
            "not recorded" if row.n_parameters is None else f"{row.n_parameters:,}",
            str(row.messages),
            c.trials.get(row.alg, "not stated"),
        )
        attributes = f' class=s{c.algs.index(row.alg)} data-env="{escape(row.env, True)}"'
        lines.append(_row(cells, attributes, best=3 if row.mean.value == best[row.env] else None))
    return "<h2>Summary</h2>" + _table(header, lines)


def _tasks(c: Comparison, summary: Summary) -> str:
    parts = []
    for env in c.envs:
        mine = [row for row in summary.rows if row.env == env]
        if not mine:
            continue
        runs = [run for row in mine for run in c.of(row.alg, env)]
        curve = charts.curves_chart(f"learning curves on {env}", c.algs, summary.curves[env], runs, c.t_max)
        scores = charts.scores_chart(f"final scores on {env}", c.algs, mine, c.key)
        counts = ", ".join(f"{row.alg} n = {row.mean.n}" for row in mine)
        parts.append(
            f'<section data-env="{escape(env, True)}"><h3>{escape(env)}</h3><div class=grid>'
            f"<figure>{curve}<figcaption>{escape(c.key)}. Thick: mean with interval; thin: every run. "
            f"{escape(counts)}.</figcaption></figure>"
            f"<figure>{scores}<figcaption>Final scores: mean with interval; circles: every run.</figcaption></figure>"
            "</div></section>"
        )
    return "<h2>By environment</h2>" + "".join(parts)


def _aggregates(c: Comparison, summary: Summary) -> str:
    aggregates, pairs = summary.aggregates, summary.improvements
    if not aggregates:
        return "<h2>Over environments</h2><p>No algorithm has a complete run on every environment.</p>"
    named = (("iqm", "interquartile mean"), ("mean", "mean"), ("median", "median"))
    figures = [charts.aggregate_chart(c.algs, aggregates, name, f"{label}, normalised") for name, label in named]
    if pairs:
        figures.append(charts.improvement_chart(c.algs, pairs))
    lines = [_row((one.alg, one.iqm.n, *(shown(getattr(one, name)) for name, _ in named))) for one in aggregates]
    lines_pairs = [_row((f"{p.better} over {p.other}", p.probability.n, shown(p.probability))) for p in pairs]
    left_out = [alg for alg in c.algs if alg not in {one.alg for one in aggregates}]
    note = f"<p>Left out, as they lack an environment: {escape(', '.join(left_out))}.</p>" if left_out else ""
    return (
        "<h2>Over environments</h2>"
        "<p class=soft>Where all scores of an environment lie between 0 and 1 they stay as they are; "
        "otherwise its smallest and largest score over all algorithms become 0 and 1. Interquartile mean: over the "
        "runs of all environments; mean and median: over environments (median of a single one: over its runs).</p>"
        f"{note}<div class=grid>{''.join(f'<figure>{one}</figure>' for one in figures)}</div>"
        + _table(("algorithm", "n", *(label for _, label in named)), lines)
        + (_table(("probability of improvement", "n", "value"), lines_pairs) if pairs else "")
    )


def _messages(c: Comparison, summary: Summary) -> str:
    """Returns what messages cost against what was reached, who told whom how much, and the controls."""
    rows = [row for row in summary.rows if not math.isnan(row.messages.bits_per_agent)]
    parts = [
        f'<figure data-env="{escape(env, True)}">'
        + charts.cost_chart(f"cost of messages on {env}", c.algs, [row for row in rows if row.env == env], c.key)
        + f"<figcaption>{escape(c.key)} on {escape(env)} over the cost of messages in tests. Marks: means; circles: "
        "every run. The cost is on a logarithmic scale that starts at 0.</figcaption></figure>"
        for env in c.envs
        if any(row.env == env for row in rows)
    ]
    unknown = [f"{row.alg} on {row.env}" for row in summary.rows if math.isnan(row.messages.bits_per_agent)]
    note = f"<p class=soft>Not recorded: {escape(', '.join(unknown))}.</p>" if unknown else ""
    return f"<h2>Messages</h2><div class=grid>{''.join(parts)}</div>{note}{_pairs(c)}{_control_table(c, summary)}" + (
        _awareness(c, summary)
    )


def _pairs(c: Comparison) -> str:
    figures = []
    for env in c.envs:
        for alg in c.algs:
            run = next(iter(c.of(alg, env)), None)
            floats = None if run is None else pair_floats(run.run)
            if run is None or floats is None:
                continue
            title = f"who tells whom how much: {alg} on {env}"
            figures.append(
                f'<figure class=s{c.algs.index(alg)} data-env="{escape(env, True)}">{charts.pairs_chart(title, floats)}'
                f"<figcaption>{escape(alg)} on {escape(env)}, seed {run.seed}: floats a step of every ordered pair, in "
                "the last tests.</figcaption></figure>"
            )
    if not figures:
        return ""
    return f"<details><summary>who tells whom how much</summary><div class=grid>{''.join(figures)}</div></details>"


def _awareness(c: Comparison, summary: Summary) -> str:
    """Returns how well agents estimate the state, and which parts of it."""
    if not summary.awareness:
        return ""
    lines, figures = [], []
    for one in summary.awareness:
        attributes = f' class=s{c.algs.index(one.alg)} data-env="{escape(one.env, True)}"'
        cells = (one.env, one.alg, one.control, one.r2.n, shown(one.r2), shown(one.recall))
        lines.append(_row(cells, attributes))
        if one.control == INTACT:
            chart = charts.awareness_chart(f"what {one.alg} knows of the state on {one.env}", one.by_column)
            figures.append(
                f"<figure{attributes}>{chart}<figcaption>{escape(one.alg)} on {escape(one.env)}: R2 of every state "
                "column, 0 (empty) to 1 (full), mean over agents and runs.</figcaption></figure>"
            )
    header = ("environment", "algorithm", "messages", "n", "R2", "recall off the majority value")
    return (
        "<h3>What agents know of the state</h3><p class=soft>Estimates of the trained networks in evaluation mode "
        "against the true state. R2 is 1 - squared error / variance; recall counts only entries that differ from their "
        "column's most frequent value.</p>"
        f"{_table(header, lines)}{_left_out(summary.awareness)}<div class=grid>{''.join(figures)}</div>"
    )


def _control_table(c: Comparison, summary: Summary) -> str:
    if not summary.controls:
        return (
            "<h3>Controls</h3><p>None were played. <code>epymarl-lmac evaluate RUN --controls</code> plays a run with "
            "its messages zeroed, shuffled, delayed or replaced; make the page again after it.</p>"
        )
    lines = [
        _row(
            (row.env, row.alg, row.control, row.mean.n, row.episodes, row.score, shown(row.mean)),
            f' class=s{c.algs.index(row.alg)} data-env="{escape(row.env, True)}"',
        )
        for row in summary.controls
    ]
    header = ("environment", "algorithm", "messages", "n", "episodes a run", "score", "mean")
    return (
        "<h3>Controls</h3><p class=soft>The trained networks play again with their messages tampered with. Who "
        "scores as well with messages zeroed does not use them. Means over runs with Student's t intervals.</p>"
        + _table(header, lines)
        + _left_out(summary.controls)
    )


def _left_out(rows: Iterable[ControlRow | Awareness]) -> str:
    """Returns a note of the evaluations that could not be pooled with the others."""
    named = dict.fromkeys((row.env, row.alg, text) for row in rows for text in row.left_out)
    if not named:
        return ""
    items = "".join(f"<li>{escape(f'{alg} on {env}: {text}')}</li>" for env, alg, text in named)
    return (
        "<div class=warn>Left out, as their score, number of episodes or step is not that of the other runs; evaluate "
        f"them like the others and make the page again:<ul>{items}</ul></div>"
    )


def _protocols(c: Comparison) -> str:
    """Returns the texts of the protocols that runs were made with, each once."""
    seen: dict[str, tuple[str, list[str]]] = {}
    for run in c.curves:
        if run.protocol:
            seen.setdefault(run.protocol, (run.env, []))[1].append(f"{run.alg}, seed {run.seed}")
    if not seen:
        return ""
    parts = [
        f'<details data-env="{escape(env, True)}"><summary>{escape(env)}: {escape("; ".join(runs))}</summary>'
        f"<pre>{escape(text)}</pre></details>"
        for text, (env, runs) in seen.items()
    ]
    return f"<h2>Protocols</h2>{''.join(parts)}"


def _difference_table(differences: Sequence[Difference], algs: Sequence[str]) -> str:
    lines = [
        _row(
            (d.env, d.key, *(d.values.get(alg, "") for alg in algs)), f' data-env="{escape(d.env, True)}"', text_from=1
        )
        for d in differences
    ]
    return _table(("environment", "setting", *algs), lines)


def _settings(c: Comparison) -> str:
    if not c.method:
        return "<h2>Settings that differ</h2><p>None but the algorithm's name.</p>"
    return "<h2>Settings that differ</h2><details><summary>" + (
        f"{len(c.method)} settings of the methods</summary>{_difference_table(c.method, c.algs)}</details>"
    )


def _unfinished(c: Comparison) -> str:
    if not c.unfinished:
        return "<h2 id=unfinished>Runs that are not complete</h2><p>None: every planned run is complete.</p>"
    parts = [
        f"<h3>{escape(name)}: {escape(state)}</h3>" + (f"<pre>{escape(chr(10).join(lines))}</pre>" if lines else "")
        for name, state, lines in c.unfinished
    ]
    return "<h2 id=unfinished>Runs that are not complete</h2>" + "".join(parts)


def _commit(run: Any) -> str:
    git = run.get("git") or {}
    changed = f" + {git['changed_files']} changed files" if git.get("changed_files") else ""
    return f"{git['commit'][:12]}{changed}" if git.get("commit") else "not recorded"


def _reproduce(c: Comparison) -> str:
    commands = "\n".join(c.commands)
    lines = [
        _row(
            (
                run.alg,
                run.env,
                run.seed,
                rules_of(run.run),
                _commit(run.run),
                run.source,
                Path(run.folder).name,
            ),
            f' class=s{c.algs.index(run.alg)} data-env="{escape(run.env, True)}"',
            text_from=3,
        )
        for run in c.curves
    ]
    packages: Mapping[str, Any] = next((run.run["packages"] for run in c.curves if run.run.get("packages")), {})
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    header = ("algorithm", "environment", "seed", "rules", "source", "made by", "record")
    return (
        f"<h2>To make this again</h2><pre>{escape(commands)}</pre><p class=soft>{escape(versions)}</p>"
        f"<details><summary>{len(lines)} runs</summary>{_table(header, lines)}</details>"
    )


def _download(name: str, text: str) -> str:
    data = base64.b64encode(text.encode()).decode()
    return f'<a download="{name}" href="data:text/plain;base64,{data}">{name}</a>'


def _downloads(c: Comparison, summary: Summary) -> str:
    links = [_download(name, text) for name, text in all_tables(c, summary).items()]
    return f"<h2>All numbers</h2><p>{', '.join(links)} (inside this file)</p>"


def page_html(comparison: Comparison, summary: Summary) -> str:
    """Returns the page as text."""
    c, rows = comparison, summary.rows
    colours = "".join(f".s{i}{{--c:var(--c{i % 8})}}body.hide-{i} .s{i}{{display:none}}" for i in range(len(c.algs)))
    css = (HERE / "page.css").read_text(encoding="utf-8") + colours
    script = (HERE / "page.js").read_text(encoding="utf-8")
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    body = "".join(
        (
            _introduction(c, rows),
            _warnings(c),
            _controls(c),
            _summary(c, rows),
            _tasks(c, summary),
            _aggregates(c, summary),
            _messages(c, summary),
            _protocols(c),
            _settings(c),
            _unfinished(c),
            _reproduce(c),
            _downloads(c, summary),
            f"<p class=soft>epymarl-lmac {__version__}, {made}</p>",
        )
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1"><link rel=icon href="data:,">'
        f"<title>{escape(', '.join(c.algs))}: comparison</title><style>{css}</style></head>"
        f"<body>{body}<script>{script}</script></body></html>\n"
    )


def write_page(comparison: Comparison, summary: Summary, out: Path) -> Path:
    """Writes the page into a folder; returns its path."""
    path = out / FILE_NAME
    write_text(path, page_html(comparison, summary))
    return path
