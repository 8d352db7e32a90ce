"""Draws learning curves of battles, ours over published values, and prints them as a table.

    python docs/results/sc2/learning_curves.py FOLDER...

A folder is one that ``epymarl-lmac compare`` made with ``--key test_battle_won_mean``, or that of a run. Its curves are
added to ``learning_curves.csv`` beside this script and replace those of the same map, simulator, algorithm and seed.
Without an argument, what the file has already is drawn. Simulators differ in their rules, so each has its own panel.
A run with a longer ``epsilon_anneal_time`` has its own curve.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from epymarl_lmac.record.identity import rules_of
from epymarl_lmac.record.metrics import read_metrics
from epymarl_lmac.record.provenance import read_run

HERE = Path(__file__).parent
CURVES = HERE / "learning_curves.csv"
KEY = "test_battle_won_mean"
COLUMNS = ("environment", "simulator", "algorithm", "seed", "t_env", KEY)
EXPLORING = 50_000  # epsilon_anneal_time of the published runs, and of ours unless their name says otherwise
SLOWER = ", slower exploration"  # follows the algorithm of a run that explores for longer
WINDOW = 50_000  # steps that a number of the table is a mean over, those up to its step

# Win rates by step. 2s3z: SMAC's released curves, 5 runs. SMACv2 (5_vs_5): stated by LMAC's authors, 5 runs. The
# others: read off LMAC's curves at their end, 5 runs, within 3.
PUBLISHED: dict[str, dict[str, dict[int, float]]] = {
    "2s3z": {
        "qmix": {250_000: 0.52, 500_000: 0.90, 1_000_000: 0.98},
        "vdn": {250_000: 0.48, 500_000: 0.80, 1_000_000: 0.92},
        "iql": {250_000: 0.25, 500_000: 0.33, 1_000_000: 0.43},
    },
    "bane_vs_hM": {
        "qmix_state": {2_000_000: 0.81},
        "lmac_qmix": {2_000_000: 0.73},
        "fullcomm": {2_000_000: 0.23},
        "qmix": {2_000_000: 0.20},
    },
    "1o_10b_vs_1r": {
        "qmix_state": {2_000_000: 0.93},
        "lmac_qmix": {2_000_000: 0.96},
        "qmix": {2_000_000: 0.42},
    },
    "5z_vs_1ul": {
        "qmix_state": {5_000_000: 0.88},
        "lmac_qmix": {5_000_000: 0.88},
        "fullcomm": {5_000_000: 0.59},
        "qmix": {5_000_000: 0.78},
    },
    "terran_5_vs_5": {
        "qmix_state": {3_000_000: 0.65},
        "lmac_qmix": {3_000_000: 0.68},
        "fullcomm": {3_000_000: 0.18},
        "qmix": {3_000_000: 0.62},
    },
    "protoss_5_vs_5": {
        "qmix_state": {3_000_000: 0.56},
        "lmac_qmix": {3_000_000: 0.58},
        "fullcomm": {3_000_000: 0.17},
        "qmix": {3_000_000: 0.48},
    },
    "zerg_5_vs_5": {
        "qmix_state": {3_000_000: 0.40},
        "lmac_qmix": {3_000_000: 0.42},
        "fullcomm": {3_000_000: 0.07},
        "qmix": {3_000_000: 0.35},
    },
}
# Steps of the first test above one half, in millions, first and last of SMAC's released runs.
PUBLISHED_HALF = {
    ("2s3z", "qmix"): "0.18 to 0.31",
    ("3s_vs_5z", "vdn"): "0.7 to 1.1",
    ("3s_vs_5z", "qmix"): "1.3 to 1.6",
}
AT = (100_000, 250_000, 500_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000, 5_000_000)  # steps of the table
PANELS = 3  # in one row of the figure
MANY = 7  # names that a legend inside a panel can hold
COLOURS = {
    "qmix": "#0072B2",
    "vdn": "#E69F00",
    "iql": "#009E73",
    "lmac_qmix": "#D55E00",
    "fullcomm": "#CC79A7",
    "qmix_state": "#555555",
}


class Curve(NamedTuple):
    """Tests of one run."""

    steps: np.ndarray
    win_rate: np.ndarray

    def at(self, step: int) -> float:
        """Returns the mean of the tests in the window that ends at a step.

        Tests come a little after their step, so those up to a tenth of the window later count too.
        """
        near = (self.steps > step - WINDOW) & (self.steps <= step + WINDOW // 10)
        return float(self.win_rate[near].mean()) if near.any() else float("nan")


Row = tuple[str, ...]
Key = tuple[str, str, str, str]  # map, simulator, algorithm, seed


def simulator_of(record: Mapping[str, Any]) -> str:
    """Returns the version of the embedded simulator that a run was played on.

    Raises:
        SystemExit: the run was resumed on another one.
    """
    rules = str(rules_of(record))
    found = set(re.findall(r"embedded (\d+)", rules)) or {"StarCraft II"}
    if len(found) > 1:
        raise SystemExit(f"The run {record['folder']} was played by several simulators ({rules}); it makes no curve.")
    return found.pop()


def explores_longer(record: Mapping[str, Any]) -> bool:
    """Returns whether a run explored for more steps than the published ones."""
    return int(record["settings"]["epsilon_anneal_time"]) > EXPLORING


def simulator_of_comparison(folder: Path) -> str:
    """Returns the version of the embedded simulator that all runs of a comparison were played on.

    Raises:
        SystemExit: its runs are not there, not all of one simulator, or explored for longer.
    """
    records = [read_run(run.parent) for run in folder.glob("runs/*/run.json")]
    if any(map(explores_longer, records)):
        raise SystemExit(f"Runs of {folder} have a longer epsilon_anneal_time; give the folders of the runs.")
    found = set(map(simulator_of, records))
    if len(found) != 1:
        said = f"are of the simulators {', '.join(sorted(found))}" if found else "are not there"
        raise SystemExit(f"The runs of {folder} {said}; give the folders of runs that share one simulator.")
    return found.pop()


def read(path: Path, simulator: str = "") -> dict[Key, list[Row]]:
    """Returns the rows of a file of curves; ``simulator`` is that of a file without such a column."""
    found: dict[Key, list[Row]] = {}
    if not path.exists():
        return found
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = row["environment"].removeprefix("sc2:").removeprefix("sc2v2:")
            key = (name, row.get("simulator", simulator), row["algorithm"], row["seed"])
            found.setdefault(key, []).append((*key, row["t_env"], f"{float(row[KEY]):.4f}"))
    return found


def read_folder(folder: Path) -> dict[Key, list[Row]]:
    """Returns the rows of a run or of a comparison."""
    if (folder / "run.json").is_file():
        return read_one(folder)
    return read(folder / "curves.csv", simulator_of_comparison(folder))


def read_one(run: Path) -> dict[Key, list[Row]]:
    """Returns the rows of one run."""
    record = read_run(run)
    task = record["task"].removeprefix("sc2_").removeprefix("sc2v2_")
    algorithm = record["algorithm"] + (SLOWER if explores_longer(record) else "")
    key = (task, simulator_of(record), algorithm, str(record["seed"]))
    tests = [row for row in read_metrics(run) if row.key == KEY]
    return {key: [(*key, str(row.t_env), f"{row.value:.4f}") for row in tests]}


def merged(folders: list[Path]) -> dict[Key, Curve]:
    """Adds comparisons and runs to the file of curves and returns all of them."""
    rows = read(CURVES)
    for folder in folders:
        rows.update(read_folder(folder))
    with CURVES.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key in sorted(rows):
            writer.writerows(rows[key])
    return {
        key: Curve(np.array([int(row[4]) for row in of]), np.array([float(row[5]) for row in of]))
        for key, of in sorted(rows.items())
    }


def print_table(curves: dict[Key, Curve]) -> None:
    """Prints win rates at some steps; published values stand in brackets.

    Several seeds are followed by their mean, up to the step that all of them reached.
    """
    means = [f"{step // 1000}k" for step in AT]
    heads = ["map", "simulator", "algorithm", "seed", *means, "first test above 0.5", "at 0.9"]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    together: dict[tuple[str, str, str], list[Curve]] = {}
    for (name, simulator, algorithm, _), curve in curves.items():
        together.setdefault((name, simulator, algorithm), []).append(curve)
    for (name, simulator, algorithm, seed), curve in curves.items():
        start, seeds = f"| {name} | {simulator} | `{algorithm}` | ", together[name, simulator, algorithm]
        half = _first(curve.steps[curve.win_rate > 0.5])
        if published := PUBLISHED_HALF.get((name, algorithm)):
            half += f" ({published}M)"
        cells = [*_cells(name, algorithm, [curve]), half, _first(curve.steps[curve.win_rate >= 0.9])]
        print(f"{start}{seed} | " + " | ".join(cells) + " |")
        if curve is seeds[-1] and len(seeds) > 1:
            print(f"{start}mean of {len(seeds)} | " + " | ".join([*_cells(name, algorithm, seeds), "", ""]) + " |")


def _cells(name: str, algorithm: str, seeds: list[Curve]) -> list[str]:
    """Returns the win rate at every step of ``AT``, the mean of some seeds, and the published one in brackets."""
    cells = []
    for step in AT:
        ours = float(np.mean([curve.at(step) for curve in seeds]))
        theirs = PUBLISHED.get(name, {}).get(algorithm, {}).get(step)
        shown = ["" if np.isnan(ours) else f"{ours:.2f}", "" if theirs is None else f"({theirs:.2f})"]
        cells.append(" ".join(filter(None, shown)))
    return cells


def _add_legend(axes: Axes) -> None:
    """Names the curves of a panel; many names stand to its right, where the last row has room."""
    many = len(axes.get_legend_handles_labels()[0]) > MANY
    legend = axes.legend(fontsize=7, **({"loc": "center left", "bbox_to_anchor": (1.03, 0.5)} if many else {}))
    legend.set_in_layout(not many)


def _first(steps: np.ndarray) -> str:
    return f"{steps[0]:,}" if len(steps) else "not reached"


def draw(curves: dict[Key, Curve], path: Path) -> None:
    """Draws one panel a map and simulator.

    Thin lines are the tests of each seed, thick ones means over a window and over seeds, as far as all of them went;
    crosses are published.
    """
    found: dict[tuple[str, str], dict[str, list[Curve]]] = {}
    for (name, simulator, algorithm, _), curve in curves.items():
        found.setdefault((name, simulator), {}).setdefault(algorithm, []).append(curve)
    maps = sorted(found, key=lambda key: len(found[key]) + len(PUBLISHED.get(key[0], {})) > MANY)  # room for its legend
    n_rows, n_columns = -(-len(maps) // PANELS), min(PANELS, len(maps))
    figure = Figure(figsize=(4.2 * n_columns, 3.3 * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    for axes in panels.flat[len(maps) :]:
        axes.set_visible(False)
    for axes, (name, simulator) in zip(panels.flat, maps, strict=False):
        for algorithm, seeds in found[name, simulator].items():
            colour, style = COLOURS[algorithm.removesuffix(SLOWER)], "--" if algorithm.endswith(SLOWER) else "-"
            for curve in seeds:
                axes.plot(curve.steps / 1000, curve.win_rate, color=colour, alpha=0.3, linewidth=0.6)
            steps = np.arange(0, min(curve.steps[-1] for curve in seeds) + 1, WINDOW // 5)
            means = [np.mean([curve.at(step) for curve in seeds]) for step in steps]
            axes.plot(steps / 1000, means, style, color=colour, label=algorithm, linewidth=1.6)
        for algorithm, points in PUBLISHED.get(name, {}).items():
            if points:
                thousands = [step / 1000 for step in points]
                axes.plot(
                    thousands, list(points.values()), "x", color=COLOURS[algorithm], label=f"{algorithm}, published"
                )
        axes.set(title=f"{name}, simulator {simulator}", xlabel="environment steps, thousands", ylim=(-0.03, 1.03))
        _add_legend(axes)
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel("win rate in tests")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    options = parser.parse_args()
    for folder in options.folders:
        if not any((folder / name).is_file() for name in ("curves.csv", "run.json")):
            parser.error(
                f"{folder} has no curves.csv and no run.json; give a folder of `epymarl-lmac compare` or of a run."
            )
    curves = merged(options.folders)
    print_table(curves)
    draw(curves, HERE / "learning_curves.png")


if __name__ == "__main__":
    main()
