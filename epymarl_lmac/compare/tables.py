"""The numbers of a comparison as CSV files and as a LaTeX table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from epymarl_lmac.compare.results import Comparison, Row, Summary
from epymarl_lmac.compare.statistics import CONFIDENCE, Estimate
from epymarl_lmac.record.files import write_text


def shown(estimate: Estimate, digits: int = 3) -> str:
    """Returns ``0.812 [0.770, 0.854]``, or the number alone where there is no interval."""
    if not estimate.has_interval:
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def steps_shown(steps: float) -> str:
    """Returns ``1.25M``, ``40k`` or ``never``."""
    if math.isinf(steps):
        return "never"
    for size, suffix in ((1_000_000, "M"), (1_000, "k")):
        if steps >= size:
            return f"{steps / size:.3g}{suffix}"
    return f"{steps:.0f}"


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def _cells(estimate: Estimate) -> list[float | str]:
    return [estimate.value, *((estimate.low, estimate.high) if estimate.has_interval else ("", ""))]


def scores_csv(rows: Sequence[Row]) -> str:
    """Returns one line a task and algorithm."""
    header = [
        *("environment", "algorithm", "n", "seeds", "mean", "mean_low", "mean_high", "iqm", "iqm_low", "iqm_high"),
        *("median", "area", "area_low", "area_high", "threshold", "median_steps_to_threshold", "n_reached"),
        *("wall_s", "n_parameters", "message_cost", "message_floats", "message_bits", "bits_per_agent"),
    ]
    return _csv(
        header,
        (
            [
                row.env,
                row.alg,
                len(row.scores),
                " ".join(map(str, row.seeds)),
                *_cells(row.mean),
                *_cells(row.iqm),
                row.median,
                *_cells(row.area),
                row.threshold,
                row.reach.median_steps,
                row.reach.n_reached,
                row.wall_s,
                row.n_parameters,
                str(row.messages),
                row.messages.floats,
                row.messages.bits,
                row.messages.bits_per_agent,
            ]
            for row in rows
        ),
    )


def curves_csv(comparison: Comparison) -> str:
    """Returns every test of every run, one line each."""
    return _csv(
        ["environment", "algorithm", "seed", "t_env", comparison.key, "source", "folder"],
        (
            [run.env, run.alg, run.seed, int(step), value, run.source, Path(run.folder).name]
            for run in comparison.curves
            for step, value in zip(run.steps, run.values, strict=True)
        ),
    )


def controls_csv(summary: Summary) -> str:
    """Returns one line a task, algorithm and way to treat messages."""
    header = [
        *("environment", "algorithm", "messages", "n", "episodes_a_run", "score", "mean", "mean_low", "mean_high"),
        "left_out",
    ]
    return _csv(
        header,
        (
            [
                *(row.env, row.alg, row.control, row.mean.n, row.episodes, row.score, *_cells(row.mean)),
                "; ".join(row.left_out),
            ]
            for row in summary.controls
        ),
    )


def aggregates_csv(summary: Summary) -> str:
    """Returns the aggregates over tasks and the probabilities of improvement."""
    lines: list[list[Any]] = []
    for one in summary.aggregates:
        for name in ("iqm", "mean", "median"):
            estimate: Estimate = getattr(one, name)
            lines.append([name, one.alg, "", estimate.n, *_cells(estimate)])
    for pair in summary.improvements:
        lines.append(["improvement", pair.better, pair.other, pair.probability.n, *_cells(pair.probability)])
    return _csv(["what", "algorithm", "over", "n", "value", "low", "high"], lines)


_LATEX = str.maketrans({"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$"})


def latex_table(comparison: Comparison, rows: Sequence[Row]) -> str:
    """Returns a table of final scores: tasks in rows, algorithms in columns, the best mean of a task in bold."""
    by_pair = {(row.env, row.alg): row for row in rows}
    algs = [alg for alg in comparison.algs if any(row.alg == alg for row in rows)]
    lines = [
        f"% {comparison.key}, mean over runs of the last tenth of {comparison.t_max} steps, "
        f"{100 * CONFIDENCE:.0f} percent Student-t interval, (number of runs)",
        r"\begin{tabular}{l" + "c" * len(algs) + "}",
        r"\hline",
        " & ".join(["", *(alg.translate(_LATEX) for alg in algs)]) + r" \\",
        r"\hline",
    ]
    for env in comparison.envs:
        present = [by_pair[env, alg].mean.value for alg in algs if (env, alg) in by_pair]
        cells = [env.translate(_LATEX)]
        for alg in algs:
            row = by_pair.get((env, alg))
            if row is None:
                cells.append("--")
                continue
            half = row.mean.high - row.mean.value
            number = f"{row.mean.value:.3f}" + (rf" \pm {half:.3f}" if row.mean.has_interval else "")
            best = row.mean.value == max(present)
            cells.append((rf"$\mathbf{{{number}}}$" if best else f"${number}$") + f" ({row.mean.n})")
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def all_tables(comparison: Comparison, summary: Summary) -> dict[str, str]:
    """Returns file name -> content of every table."""
    return {
        "scores.csv": scores_csv(summary.rows),
        "curves.csv": curves_csv(comparison),
        "aggregates.csv": aggregates_csv(summary),
        "controls.csv": controls_csv(summary),
        "table.tex": latex_table(comparison, summary.rows),
    }


def write_tables(comparison: Comparison, summary: Summary, out: Path) -> list[Path]:
    """Writes the CSV files and the LaTeX table; returns their paths."""
    tables = all_tables(comparison, summary)
    for name, text in tables.items():
        write_text(out / name, text)
    return [out / name for name in tables]
