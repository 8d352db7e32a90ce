"""The controls of LBF: does what messages tell help the return?

    python docs/results/controls/controls.py train --results results/controls [--only qmix,fullcomm] [--seeds 1,2]
    python docs/results/controls/controls.py table --results results/controls

``train`` runs one training after another and goes on where it was stopped: a run that is finished is not run again, one
that was interrupted goes on from its last checkpoint. Start it on every core with other rows. ``table`` writes
``controls.md`` (final scores of finished runs and their differences; means by stage of all; what the last networks do
with messages changed),
``controls.csv`` (every test of every run), ``evaluations.csv`` (what ``epymarl-lmac evaluate RUN --controls --episodes
500`` measured, where it was run), ``controls.png`` (one point a finished seed) and ``curves.png`` (8x8, 2M steps)
beside this file. Runs that are in the CSV files and no longer under ``--results`` stay in all of them.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import ttest_ind

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from epymarl_lmac.compare.messages import INTACT, read_evaluation  # noqa: E402
from epymarl_lmac.compare.process import RunProcess, host_command  # noqa: E402
from epymarl_lmac.compare.statistics import final_score, on_grid, steps_to, t_interval  # noqa: E402
from epymarl_lmac.record.metrics import read_metrics  # noqa: E402
from epymarl_lmac.record.provenance import read_run  # noqa: E402

KEY, GOAL = "test_return_mean", 0.9
STAGE = 200_000  # steps whose tests are averaged in the second table
IS_DONE = 0.98  # share of a row's steps at which the last test of a finished run lies at the earliest
TESTS, EVALUATIONS = HERE / "controls.csv", HERE / "evaluations.csv"
HEADS = {TESTS: ("run", "seed", "t_env", KEY), EVALUATIONS: ("run", "seed", "control", "episodes", "return_mean", "r2")}
FORWARDING = "protocol_path=protocols/lbf/8x8-2p-2f-s1-coop/forwarding"
LARGE = ("env_args.players=6", "env_args.max_food=4", "env_args.field_size=11")
MORE_SEEDS = (1, 2, 3, 4)  # of the two rows that say whether messages help, as their intervals overlap with three
COMMON = ("use_cuda=False", "save_model_interval=100000")


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    says: str
    alg: str
    updates: tuple[str, ...] = ()
    t_max: int = 2_000_000
    seeds: tuple[int, ...] = (1, 2, 3)


ROWS = {
    "lmac_qmix": Row("`lmac_qmix`", "lmac_qmix", seeds=MORE_SEEDS),
    "forwarding": Row("with the forwarding bundle", "lmac_qmix", (FORWARDING,)),
    "no_messages": Row("without messages", "lmac_qmix", ("comm_control=zero",)),
    "shuffled": Row(
        "messages of other episodes, in training too", "lmac_qmix", ("comm_control=shuffle",), seeds=MORE_SEEDS
    ),
    "qmix": Row("`qmix`", "qmix"),
    # 163,260 parameters of the agents; lmac_qmix has 162,254. The mixers are the same.
    "qmix_wide": Row("`qmix`, as many parameters", "qmix", ("hidden_dim=161",)),
    "qmix_state": Row("`qmix_state`", "qmix_state"),
    "fullcomm": Row("`fullcomm`", "fullcomm"),
    "published_forms": Row("`lmac_qmix`, published forms", "lmac_qmix", ("preset=official",), 300_000, (1,)),
    "lmac_qmix_11x11": Row("11x11: `lmac_qmix`", "lmac_qmix", LARGE, 1_000_000, (1,)),
    "qmix_11x11": Row("11x11: `qmix`", "qmix", LARGE, 1_000_000, (1,)),
    "qmix_state_11x11": Row("11x11: `qmix_state`", "qmix_state", LARGE, 1_000_000, (1,)),
}


STEP_DRAWN = 50_000  # between two points of a drawn curve, as between two tests
COLOURS = {  # of the rows whose curves are drawn
    "lmac_qmix": "#D55E00",
    "shuffled": "#E69F00",
    "no_messages": "#56B4E9",
    "qmix": "#0072B2",
    "fullcomm": "#CC79A7",
    "qmix_state": "#009E73",
}
STAGE_ENDS = range(STAGE, max(row.t_max for row in ROWS.values()) + 1, STAGE)


def newest_run(folder: Path) -> Path | None:
    """Returns the folder of the newest run under a folder that has a record."""
    return max((path.parent for path in folder.glob("*/run.json")), default=None)


def steps_of(run: Path) -> int:
    """Returns the environment steps of a run's last test."""
    return max((row.t_env for row in read_metrics(run) if row.key == KEY), default=0)


def is_finished(run: Path | None, row: Row) -> bool:
    """Returns whether a run has reached its last step."""
    return run is not None and read_run(run)["status"] == "finished" and steps_of(run) >= IS_DONE * row.t_max


def train(results: Path, names: Sequence[str], seeds: Sequence[int]) -> None:
    """Runs what is missing, seed by seed."""
    for seed in seeds:
        for name in names:
            row = ROWS[name]
            folder = results / name / f"seed{seed}"
            run = newest_run(folder)
            if seed not in row.seeds or is_finished(run, row):
                continue
            folder.mkdir(parents=True, exist_ok=True)
            settings = [f"seed={seed}", f"t_max={row.t_max}", f"label={name}", *COMMON, *row.updates]
            argv = ["--no-sacred", f"--config={row.alg}", "--env-config=lbf", "with", *settings]
            is_saved = run is not None and (run / "checkpoint.json").is_file()
            failed = RunProcess(host_command(argv, folder, run if is_saved else None), folder / "log").run_to_end()
            print(f"{name}, seed {seed}: {'; '.join(failed) or 'done'}", flush=True)


@dataclass(frozen=True)
class Curve:
    """The tests of one run, and what its last network was found to do (``epymarl-lmac evaluate``)."""

    steps: np.ndarray
    values: np.ndarray
    evaluation: dict[str, dict[str, str]]  # how messages were treated -> a line of evaluations.csv

    def is_finished(self, row: Row) -> bool:
        """Returns whether it was tested to the end."""
        return bool(self.steps[-1] >= IS_DONE * row.t_max)

    @property
    def r2(self) -> str:
        """R2 of the estimated state in evaluation mode; empty where it was not measured."""
        return self.evaluation[INTACT]["r2"] if INTACT in self.evaluation else ""


def collect(results: Path) -> None:
    """Writes what runs under a folder say over the lines of the same run and seed in the two CSV files.

    Lines of runs that are not there stay, and so do those of a run that was tested further than the one there. A run
    made again that does not repeat the tests recorded before is named: code, settings or the processor differ.
    """
    tests, evaluations = _read(TESTS), _read(EVALUATIONS)
    for name, row in ROWS.items():
        for seed in row.seeds:
            run, before = newest_run(results / name / f"seed{seed}"), tests.get((name, seed), [])
            if run is None or steps_of(run) < max((int(line["t_env"]) for line in before), default=0):
                continue
            now = [
                {"run": name, "seed": str(seed), "t_env": str(line.t_env), KEY: f"{line.value:.4f}"}
                for line in read_metrics(run)
                if line.key == KEY
            ]
            if now[: len(before)] != before:
                print(f"{name}, seed {seed}: the tests differ from those recorded before.", file=sys.stderr)
            tests[name, seed] = now
            if found := _evaluation(run):
                evaluations[name, seed] = [{"run": name, "seed": str(seed), **line} for line in found]
    _write(TESTS, tests)
    _write(EVALUATIONS, evaluations)


def _evaluation(run: Path) -> list[dict[str, str]]:
    evaluation: Any = read_evaluation(run)
    lines = []
    for row in evaluation["rows"] if evaluation else []:
        awareness = row.get("awareness")
        lines.append(
            {
                "control": row["control"],
                "episodes": str(evaluation["episodes"]),
                "return_mean": f"{row['score_mean']:.4f}",
                "r2": f"{awareness['r2']:.4f}" if awareness else "",
            }
        )
    return lines


def _read(file: Path) -> dict[tuple[str, int], list[dict[str, str]]]:
    """Returns the lines of a CSV file by run and seed."""
    runs: dict[tuple[str, int], list[dict[str, str]]] = {}
    if file.is_file():
        with file.open(newline="", encoding="utf-8") as opened:
            for line in csv.DictReader(opened):
                runs.setdefault((line["run"], int(line["seed"])), []).append(line)
    return runs


def _write(file: Path, runs: dict[tuple[str, int], list[dict[str, str]]]) -> None:
    """Writes them, in the order of ROWS."""
    names = list(ROWS)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, HEADS[file])
        writer.writeheader()
        for key in sorted(runs, key=lambda key: (names.index(key[0]), key[1])):
            writer.writerows(runs[key])


def curves() -> dict[str, dict[int, Curve]]:
    """Returns the curves in the CSV files by row and seed."""
    found: dict[str, dict[int, Curve]] = {}
    evaluations = _read(EVALUATIONS)
    for (name, seed), lines in _read(TESTS).items():
        steps, values = np.array([(line["t_env"], line[KEY]) for line in lines], dtype=float).T
        evaluation = {line["control"]: line for line in evaluations.get((name, seed), [])}
        found.setdefault(name, {})[seed] = Curve(steps, values, evaluation)
    return found


def table(results: Path) -> None:
    """Writes the tables, the curves and the picture."""
    collect(results)
    found = curves()
    finished = {
        name: {seed: curve for seed, curve in runs.items() if curve.is_finished(ROWS[name])}
        for name, runs in found.items()
    }
    finished = {name: runs for name, runs in finished.items() if runs}
    lines = ["# Controls of LBF", "", "Finished runs.", "", *_final_scores(finished), ""]
    lines += [
        "How far `lmac_qmix` ends above other rows: difference of the means, 95 % interval and p (Welch's t-test).",
        "",
    ]
    lines += [*_differences(finished), ""]
    lines += [
        "Every run, also unfinished ones: mean of the tests of each stage, which ends at the steps named above it.",
        "",
    ]
    lines += [*_by_stage(found), ""]
    lines += ["The same over the seeds of finished runs, mean and 95 % interval (Student's t).", ""]
    lines += [*_stages_over_seeds(finished), ""]
    lines += [
        "Return of the last networks with messages changed in tests only. Intact: as in training, so for the row with "
        "messages of other episodes these.",
        "",
    ]
    lines += _with_messages_changed(finished)
    (HERE / "controls.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    draw({_label(name): _scores(ROWS[name], runs) for name, runs in finished.items()})
    draw_curves({name: list(runs.values()) for name, runs in finished.items() if name in COLOURS})


def _final_scores(finished: dict[str, dict[int, Curve]]) -> Iterator[str]:
    heads = ("run", "seeds", "steps", "test return, mean and 95 % interval", "each seed", "steps to 0.9", "R2")
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for name, runs in finished.items():
        row = ROWS[name]
        scores = _scores(row, runs)
        estimate = t_interval(np.array(scores))
        shown = f"{estimate.value:.3f}"
        if estimate.has_interval:
            shown += f" [{estimate.low:.3f}, {estimate.high:.3f}]"
        reached = [steps_to(curve.steps, curve.values, GOAL) for curve in runs.values()]
        cells = [
            row.says,
            ", ".join(str(seed) for seed in runs),
            f"{row.t_max:,}",
            shown,
            ", ".join(f"{score:.3f}" for score in scores),
            ", ".join("not reached" if not math.isfinite(step) else f"{step:,.0f}" for step in reached),
            ", ".join(f"{float(curve.r2):.3f}" for curve in runs.values() if curve.r2),
        ]
        yield "| " + " | ".join(cells) + " |"


def _differences(finished: dict[str, dict[int, Curve]]) -> Iterator[str]:
    yield "| above | difference | p |"
    yield "| --- | --- | --- |"
    own = _scores(ROWS["lmac_qmix"], finished["lmac_qmix"])
    for name, runs in finished.items():
        row = ROWS[name]
        if name == "lmac_qmix" or row.t_max != ROWS["lmac_qmix"].t_max or len(runs) < 2:
            continue
        others = _scores(row, runs)
        test = ttest_ind(own, others, equal_var=False)
        low, high = test.confidence_interval()
        p = "below 0.001" if test.pvalue < 0.001 else f"{test.pvalue:.3f}"
        yield f"| {row.says} | {np.mean(own) - np.mean(others):+.3f} [{low:+.3f}, {high:+.3f}] | {p} |"


def _scores(row: Row, runs: dict[int, Curve]) -> list[float]:
    return [final_score(curve.steps, curve.values, row.t_max) for curve in runs.values()]


def _stage_means(curve: Curve) -> np.ndarray:
    """Returns the mean of the tests of every stage; NaN where there are none."""
    of_stage = [curve.values[(curve.steps > end - STAGE) & (curve.steps <= end)] for end in STAGE_ENDS]
    return np.array([values.mean() if len(values) else np.nan for values in of_stage])


def _by_stage(found: dict[str, dict[int, Curve]]) -> Iterator[str]:
    yield "| run | seed | " + " | ".join(f"{end / 1e6:.1f}M" for end in STAGE_ENDS) + " |"
    yield "|" + " --- |" * (2 + len(STAGE_ENDS))
    for name, runs in found.items():
        for seed, curve in runs.items():
            cells = ["" if np.isnan(mean) else f"{mean:.3f}" for mean in _stage_means(curve)]
            yield f"| {ROWS[name].says} | {seed} | " + " | ".join(cells) + " |"


def _stages_over_seeds(finished: dict[str, dict[int, Curve]]) -> Iterator[str]:
    """Rows of one seed, which have no interval, are left out."""
    yield "| run | seeds | " + " | ".join(f"{end / 1e6:.1f}M" for end in STAGE_ENDS) + " |"
    yield "|" + " --- |" * (2 + len(STAGE_ENDS))
    for name, runs in finished.items():
        if len(runs) < 2:
            continue
        estimates = [t_interval(means) for means in np.transpose([_stage_means(curve) for curve in runs.values()])]
        cells = [f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in estimates]
        yield f"| {ROWS[name].says} | {len(runs)} | " + " | ".join(cells) + " |"


def _with_messages_changed(finished: dict[str, dict[int, Curve]]) -> Iterator[str]:
    evaluated = {
        (name, seed): curve.evaluation
        for name, runs in finished.items()
        for seed, curve in runs.items()
        if len(curve.evaluation) > 1
    }
    controls = list(dict.fromkeys(control for rows in evaluated.values() for control in rows))
    yield "| run | seed | episodes each | " + " | ".join(controls) + " |"
    yield "|" + " --- |" * (3 + len(controls))
    for (name, seed), rows in evaluated.items():
        cells = [f"{float(rows[control]['return_mean']):.3f}" if control in rows else "" for control in controls]
        yield f"| {ROWS[name].says} | {seed} | {rows[INTACT]['episodes']} | " + " | ".join(cells) + " |"


def _label(name: str) -> str:
    return ROWS[name].says.replace("`", "")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def draw(points: dict[str, list[float]]) -> None:
    """Draws one point a seed and a bar at the mean."""
    figure, axes = _figure(7, 0.6 + 0.4 * len(points))
    for y, scores in enumerate(points.values()):
        axes.plot(scores, [y] * len(scores), "o", color="#0072B2", alpha=0.7)
        axes.plot([np.mean(scores)] * 2, [y - 0.25, y + 0.25], color="#D55E00", lw=2)
    axes.set_yticks(range(len(points)), list(points))
    axes.invert_yaxis()
    axes.set_xlabel("test return, mean of the last tenth of the tests")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(HERE / "controls.png", dpi=130)


def draw_curves(runs: dict[str, list[Curve]]) -> None:
    """Draws the mean of the seeds over steps, and the range from the lowest to the highest."""
    figure, axes = _figure(8, 4.5)
    for name, curves_of in runs.items():
        steps = np.arange(0, ROWS[name].t_max + 1, STEP_DRAWN)
        values = np.array([on_grid(curve.steps, curve.values, steps) for curve in curves_of])
        label = f"{_label(name)}, {len(curves_of)} seeds"
        axes.plot(steps / 1e6, values.mean(0), color=COLOURS[name], lw=1.4, label=label)
        axes.fill_between(steps / 1e6, values.min(0), values.max(0), color=COLOURS[name], alpha=0.15, lw=0)
    axes.set(xlabel="environment steps, millions", ylabel="test return", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(HERE / "curves.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "table"))
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--only", default=",".join(ROWS), help="rows, separated by commas")
    parser.add_argument("--seeds", default=",".join(map(str, MORE_SEEDS)))
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"--only names {', '.join(unknown)}; rows are {', '.join(ROWS)}")
    if options.action == "table":
        table(options.results)
    else:
        train(options.results, names, [int(seed) for seed in options.seeds.split(",")])


if __name__ == "__main__":
    main()
