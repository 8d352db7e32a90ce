"""Tables of recorded runs: ``python docs/results/tables.py RUN...`` prints markdown.

Figures are means over the records of the last 50,000 steps up to ``--at``.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

from epymarl_lmac.record.metrics import Row, read_metrics
from epymarl_lmac.record.provenance import read_run

WINDOW = 50_000  # steps
KEYS = ("test_return_mean", "return_mean", "recon_r2", "latent_std")


def mean_before(rows: Sequence[Row], key: str, at: int) -> float:
    """Returns the mean of a figure over the last WINDOW steps up to ``at``; NaN where there is none."""
    values = [row.value for row in rows if row.key == key and at - WINDOW <= row.t_env <= at]
    return sum(values) / len(values) if values else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--at", type=int, nargs="*", help="steps; default: each run's last")
    parser.add_argument("--curves", type=Path, help="also write all values of these figures to this CSV file")
    options = parser.parse_args()
    if options.curves:
        write_curves(options.runs, options.curves)
    print("| run | seed | steps | " + " | ".join(KEYS) + " |")
    print("|" + " --- |" * (3 + len(KEYS)))
    for folder in options.runs:
        run, rows = read_run(folder), read_metrics(folder)
        label = run["settings"]["label"]
        name = run["algorithm"] + (f", {label}" if label else "")
        last = max(row.t_env for row in rows)
        for at in options.at or [last]:
            if at - WINDOW > last:
                continue
            cells = [mean_before(rows, key, at) for key in KEYS]
            shown = " | ".join("" if math.isnan(value) else f"{value:.3f}" for value in cells)
            print(f"| {name} | {run['seed']} | {min(at, last):,} | {shown} |")


def write_curves(folders: list[Path], path: Path) -> None:
    """Writes every value of the figures in KEYS, one row a value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["algorithm", "label", "task", "seed", "t_env", "key", "value"])
        for folder in folders:
            run = read_run(folder)
            who = [run["algorithm"], run["settings"]["label"], run["task"], run["seed"]]
            for row in read_metrics(folder):
                if row.key in KEYS:
                    writer.writerow([*who, row.t_env, row.key, f"{row.value:.4f}"])


if __name__ == "__main__":
    main()
