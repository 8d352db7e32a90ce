"""Tables of recorded runs: ``python docs/results/tables.py SOURCE...`` prints markdown.

A source is a run's folder, or a CSV file that ``--curves`` wrote. Figures are means over the records of the last tenth
of the steps up to ``--at``, as the final scores of ``epymarl-lmac compare`` are. A test of that step comes up to a
hundredth later, and counts.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from epymarl_lmac.record.metrics import RENAMED, read_metrics
from epymarl_lmac.record.provenance import read_run

WINDOW = 0.1  # of the steps
LATE = 0.01  # of the steps: how much later than planned a test may come
KEYS = ("test_return_mean", "return_mean", "recon_r2", "latent_std")
HEAD = ("algorithm", "label", "task", "seed", "t_env", "key", "value")


class Who(NamedTuple):
    """A run."""

    algorithm: str
    label: str
    task: str
    seed: int


class Point(NamedTuple):
    """One record of a figure."""

    t_env: int
    key: str
    value: float


def read(source: Path) -> Iterator[tuple[Who, list[Point]]]:
    """Yields the runs of a source and what they recorded of the figures in KEYS."""
    if source.is_dir():
        run = read_run(source)
        points = [Point(row.t_env, row.key, row.value) for row in read_metrics(source) if row.key in KEYS]
        yield Who(run["algorithm"], run["settings"]["label"], run["task"], run["seed"]), points
        return
    runs: dict[Who, list[Point]] = {}
    with source.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            who = Who(line["algorithm"], line["label"], line["task"], int(line["seed"]))
            key = RENAMED.get(line["key"], line["key"])
            runs.setdefault(who, []).append(Point(int(line["t_env"]), key, float(line["value"])))
    yield from runs.items()


def mean_before(points: Sequence[Point], key: str, at: int) -> float:
    """Returns the mean of a figure over the last tenth of the steps up to ``at``; NaN where there is none."""
    values = [p.value for p in points if p.key == key and (1 - WINDOW) * at <= p.t_env <= (1 + LATE) * at]
    return sum(values) / len(values) if values else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE")
    parser.add_argument("--at", type=int, nargs="*", help="steps; default: each run's last")
    parser.add_argument("--curves", type=Path, help="also write all values of these figures to this CSV file")
    options = parser.parse_args()
    runs = [run for source in options.sources for run in read(source)]
    if options.curves:
        write_curves(runs, options.curves)
    print("| run | seed | steps | " + " | ".join(KEYS) + " |")
    print("|" + " --- |" * (3 + len(KEYS)))
    for who, points in runs:
        name = who.algorithm + (f", {who.label}" if who.label else "")
        last = max(point.t_env for point in points)
        for at in options.at or [last]:
            if (1 - WINDOW) * at > last:
                continue
            cells = [mean_before(points, key, at) for key in KEYS]
            shown = " | ".join("" if math.isnan(value) else f"{value:.3f}" for value in cells)
            print(f"| {name} | {who.seed} | {min(at, last):,} | {shown} |")


def write_curves(runs: Sequence[tuple[Who, list[Point]]], path: Path) -> None:
    """Writes every value of the figures in KEYS, one row a value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for who, points in runs:
            writer.writerows([*who, point.t_env, point.key, f"{point.value:.4f}"] for point in points)


if __name__ == "__main__":
    main()
