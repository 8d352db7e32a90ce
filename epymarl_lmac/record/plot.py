"""Learning curves of recorded runs, as PNG and as one self-contained HTML page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.identity import names_for, rules_of
from epymarl_lmac.record.metrics import read_metrics
from epymarl_lmac.record.provenance import read_run


@dataclass(frozen=True)
class Curve:
    """One run's values of one key."""

    algorithm: str
    task: str
    seed: int
    t_env: np.ndarray  # environment steps
    value: np.ndarray
    caption: str  # rules and update ratio
    run: Mapping[str, Any]  # the content of run.json


def read_curve(folder: str | Path, key: str) -> Curve:
    """Reads one run.

    Raises:
        RecordError: no run there, or it has no figure of that name; the names it has are listed.
    """
    run: dict[str, Any] = read_run(folder)
    rows = read_metrics(folder)
    points = [(row.t_env, row.value) for row in rows if row.key == key]
    if not points:
        raise RecordError(f"{folder} has no figure {key!r}; it has: {', '.join(sorted({r.key for r in rows}))}.")
    steps, values = np.array(points, dtype=float).T
    label = run["settings"].get("label")
    name = run["algorithm"] + (f" ({label})" if label else "")
    caption = f"{rules_of(run)}, {run['update_ratio']}"
    return Curve(name, run["task"], int(run["seed"]), steps, values, caption, run)


def grouped(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Returns the curves by the name under which they are averaged; only repetitions share a name.

    Raises:
        RecordError: two runs of one experiment have the same seed; they are no repetitions.
    """
    groups: dict[str, list[Curve]] = defaultdict(list)
    for name, curve in zip(names_for([curve.run for curve in curves]), curves, strict=True):
        twin = next((other for other in groups[name] if other.seed == curve.seed), None)
        if twin is not None:
            raise RecordError(
                f"{twin.run['folder']} and {curve.run['folder']} are the same run twice ({name}, seed {curve.seed}); "
                "name only one of them."
            )
        groups[name].append(curve)
    return dict(groups)


def mean_curve(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean over runs on the steps that all of them cover, interpolated linearly."""
    last = min(curve.t_env[-1] for curve in curves)
    steps = np.unique(np.concatenate([curve.t_env for curve in curves]))
    steps = steps[steps <= last]
    return steps, np.mean([np.interp(steps, c.t_env, c.value) for c in curves], axis=0)


def plot_runs(folders: Sequence[str | Path], key: str, out: str | Path) -> tuple[Path, Path]:
    """Draws a line a seed and the mean of every algorithm and task.

    Args:
        folders: run folders.
        key: the figure to draw, e.g. "test_return_mean".
        out: folder for ``<key>.png`` and ``<key>.html``.

    Returns:
        The two files.

    Raises:
        RecordError: nothing to draw, or the files cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import plotly.graph_objects as go
    from matplotlib import pyplot as plt

    if not folders:
        raise RecordError("Name at least one run folder.")
    groups = grouped([read_curve(folder, key) for folder in folders])
    captions = sorted({curve.caption for curves in groups.values() for curve in curves})
    figure, axes = plt.subplots(figsize=(8, 5), constrained_layout=True)
    page = go.Figure()
    for number, (group, curves) in enumerate(sorted(groups.items())):
        color = matplotlib.colormaps["tab10"](number % 10)
        shade = matplotlib.colors.to_hex(color)
        seeds = f"{len(curves)} seed{'s' if len(curves) > 1 else ''}"
        for curve in curves:
            axes.plot(curve.t_env, curve.value, color=color, alpha=0.35, linewidth=1)
            name = f"{group}, seed {curve.seed}"
            page.add_scatter(x=curve.t_env, y=curve.value, name=name, line={"color": shade, "width": 1}, opacity=0.4)
        steps, mean = mean_curve(curves)
        axes.plot(steps, mean, color=color, linewidth=2, label=f"{group} ({seeds})")
        page.add_scatter(x=steps, y=mean, name=f"{group}, mean of {seeds}", line={"color": shade, "width": 3})
    axes.set_xlabel("environment steps")
    axes.set_ylabel(key)
    axes.set_title("\n".join(captions), fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend()
    page.update_layout(xaxis_title="environment steps", yaxis_title=key, title="<br>".join(captions))
    out = Path(out)
    stem = key.replace("/", "_")
    png, html = out / f"{stem}.png", out / f"{stem}.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(png, dpi=120)
        page.write_html(html, include_plotlyjs=True)
    except OSError as err:
        raise RecordError(f"Cannot write to {out}: {err.strerror}.") from err
    finally:
        plt.close(figure)
    return png, html
