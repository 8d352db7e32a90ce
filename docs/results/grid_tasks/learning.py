"""The learning check: short trainings on every task of the environment table, beside floors and ceilings.

Runs what is missing, one training at a time, and writes ``learning.md`` and ``learning.json`` beside this file. What is
finished is not run again, and what was stopped goes on from its last checkpoint. A row whose package or bundle is
missing is named and left out.

    python docs/results/grid_tasks/learning.py --only hallway,simple_spread     # train, then write the table
    python docs/results/grid_tasks/learning.py --table-only
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from epymarl_lmac.compare.gather import read_tests  # noqa: E402
from epymarl_lmac.compare.plan import Cell, make_cell  # noqa: E402
from epymarl_lmac.compare.process import RunProcess, host_command  # noqa: E402
from epymarl_lmac.compare.records import Record, best_record, read_records  # noqa: E402
from epymarl_lmac.compare.statistics import final_score  # noqa: E402
from epymarl_lmac.errors import UserError  # noqa: E402
from epymarl_lmac.paths import protocols_root  # noqa: E402
from epymarl_lmac.tasks import task_id  # noqa: E402

T_MAX, SEED = 50_000, 1
ALGS = ("qmix", "fullcomm", "lmac_qmix", "qmix_state")
REFERENCES = (HERE / "optimum.json", HERE.parent / "engines" / "references.json")
COMMON = ("epsilon_anneal_time=30000", "use_cuda=False", "save_model_interval=25000")
# A few hundred updates are all that these short runs have: larger steps, and a target that follows faster.
FEW_UPDATES = ("lr=0.001", "target_update_interval_or_tau=0.02")
QUARTER = ("updates_per_episode=0.25",)
RANDOM = ("env_args.random_lengths=True", "env_args.time_slack=0", "standardise_rewards=False", *QUARTER)
ENGINE_TESTS = ("test_interval=5000", "test_nepisode=48")
FORAGING = ("env_args.key=lbforaging:Foraging-2s-8x8-2p-2f-coop-v3", "env_args.time_limit=50")
WAREHOUSE = ("env_args.key=rware:rware-tiny-2ag-v2", "env_args.time_limit=500")


@dataclass(frozen=True)
class Row:
    """One task of the check."""

    env: str  # name of a file in config/envs
    key: str  # metric that is compared
    updates: tuple[str, ...]  # settings beside COMMON

    def cell(self, alg: str) -> Cell:
        """Returns the run of an algorithm on this task."""
        return make_cell(alg, self.env, SEED, T_MAX, [*COMMON, *self.updates])


def particle(name: str) -> Row:
    """Returns the row of a task of the particle world."""
    key = f"env_args.key=mpe2.{name}"
    return Row("pettingzoo", "test_return_mean", (key, *QUARTER, *FEW_UPDATES, *ENGINE_TESTS))


ROWS = (
    Row("hallway", "test_return_mean", RANDOM),
    Row("hallway_group", "test_return_mean", RANDOM),
    Row("predator_prey", "test_return_mean", (*QUARTER, *FEW_UPDATES)),
    Row("traffic_junction", "test_success_mean", (*QUARTER, *FEW_UPDATES)),
    particle("simple_speaker_listener_v4"),
    Row("gymma", "test_return_mean", (*FORAGING, "updates_per_episode=0.5", *FEW_UPDATES, *ENGINE_TESTS)),
    Row(
        "smaclite",
        "test_return_mean",
        ("env_args.map_name=2s3z", "updates_per_episode=0.5", *FEW_UPDATES, "test_interval=5000", "test_nepisode=16"),
    ),
    particle("simple_reference_v3"),
    particle("simple_spread_v3"),
    Row("gymma", "test_return_mean", (*WAREHOUSE, *FEW_UPDATES, "test_interval=5000", "test_nepisode=8")),
    Row(
        "gfootball",
        "test_return_mean",
        (
            "env_args.map_name=academy_3_vs_1_with_keeper",
            "updates_per_episode=0.5",
            *FEW_UPDATES,
            "test_interval=10000",
            "test_nepisode=32",
        ),
    ),
)


def task_of(row: Row) -> str:
    """Returns e.g. ``hallway 6x6-random-slack0``."""
    settings = row.cell("qmix").settings
    return f"{row.env} {task_id(row.env, settings['env_args'])}"


def lacks(row: Row, alg: str) -> str:
    """Returns what is missing for a run, or an empty text."""
    try:
        task = task_of(row)
    except UserError as err:
        return str(err)
    bundle = protocols_root() / task.replace(" ", "/") / "default"
    return f"no bundle {bundle.relative_to(protocols_root())}" if alg == "lmac_qmix" and not bundle.is_dir() else ""


def train(cell: Cell, record: Record | None, results: Path) -> list[str]:
    """Runs or resumes one training; returns its last lines if it fails, else nothing."""
    results.mkdir(parents=True, exist_ok=True)
    log = results / "learning.log"
    argv = ("--no-sacred", *cell.argv)
    resumed = record.folder if record and record.resumable else None
    return RunProcess(host_command(argv, results, resumed), log).run_to_end()


def train_all(rows: Sequence[Row], algs: Sequence[str], results: Path) -> dict[str, str]:
    """Runs what is missing; returns why a run is absent, by its name."""
    absent: dict[str, str] = {}
    for row in rows:
        for alg in algs:
            name = f"{alg} on {row.env} {' '.join(row.updates[:1])}"
            missing = lacks(row, alg)
            cell = row.cell(alg)
            record = best_record(cell, read_records([results])[0])
            if missing or (record is not None and record.complete(T_MAX)):
                absent.update({name: missing} if missing else {})
                continue
            started = time.monotonic()
            failed = train(cell, record, results)
            absent.update({name: failed[-1]} if failed else {})
            print(f"{name}: {'failed' if failed else 'done'} after {time.monotonic() - started:.0f} s", flush=True)
    return absent


def references() -> dict[str, dict[str, Any]]:
    """Returns floors and ceilings by task."""
    return {row["task"]: row for path in REFERENCES if path.is_file() for row in json.loads(path.read_text())}


def measured(row: Row, algs: Sequence[str], records: Sequence[Record]) -> dict[str, Any]:
    """Returns what each algorithm reached on a task: mean of the tests in the last tenth of the steps."""
    reached = {}
    for alg in algs:
        cell = row.cell(alg)
        record = best_record(cell, records)
        if record is not None and record.complete(T_MAX):
            run = read_tests(record, cell, row.key)
            curve = run.up_to(T_MAX)
            tests = [[int(step), round(float(value), 4)] for step, value in zip(*curve, strict=True)]
            reached[alg] = {"score": round(float(final_score(*curve, T_MAX)), 4), "steps": record.t_env, "tests": tests}
    return {"task": task_of(row), "measure": row.key, "seed": SEED, "settings": [*COMMON, *row.updates], **reached}


def with_earlier(row: dict[str, Any], algs: Sequence[str]) -> dict[str, Any]:
    """Returns a measured row with the algorithms that only ``learning.json`` still knows, of the same settings."""
    path = HERE / "learning.json"
    before = json.loads(path.read_text()) if path.is_file() else []
    for old in before:
        if all(old[key] == row[key] for key in ("task", "measure", "seed", "settings")):
            return {**row, **{alg: old[alg] for alg in algs if alg in old and alg not in row}}
    return row


def shown(value: Any) -> str:
    """Returns a number, a range or a bound as text."""
    if value is None:
        return ""
    if isinstance(value, list):
        low, high = value
        if low is None:
            return f"at most {high:.4g}"
        if high is None:
            return f"at least {low:.4g}"
        return f"{low:.4g}" if abs(high - low) < 1e-9 else f"{low:.4g} to {high:.4g}"
    return f"{value:.4g}"


def write_tables(rows: Sequence[Row], algs: Sequence[str], results: Path) -> None:
    """Writes ``learning.json`` and ``learning.md`` from the finished runs; rows without one are left out.

    What the file has of runs that are no longer in the folder stays, if the settings were the same.
    """
    records, known = read_records([results])[0], references()
    found = [with_earlier(measured(row, algs, records), algs) for row in rows if not lacks(row, "qmix")]
    found = [row for row in found if any(alg in row for alg in algs)]
    lines = ["# Learning check: scores after 50,000 steps", ""]
    lines.append(f"| task | measure | floor | without communication | with communication | {' | '.join(algs)} |")
    lines.append("|" + " --- |" * (5 + len(algs)))
    for row in found:
        bounds = known.get(row["task"], {})
        cells = [shown(bounds.get(key)) for key in ("floor", "alone", "together")]
        cells += [f"{row[alg]['score']:.3g}" if alg in row else "" for alg in algs]
        measure = row["measure"].removeprefix("test_").removesuffix("_mean")
        lines.append(f"| {row['task']} | {measure} | {' | '.join(cells)} |")
    (HERE / "learning.md").write_text("\n".join(lines) + "\n")
    text = ",\n".join(json.dumps(row) for row in found)
    (HERE / "learning.json").write_text(f"[\n{text}\n]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="tasks to train on, by parts of their names; default: all")
    parser.add_argument("--algs", default=",".join(ALGS[:3]), help="algorithms to train; default: %(default)s")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "learning_check", help="folder of the runs")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else [""]
    chosen = [row for row in ROWS if any(word in " ".join((row.env, *row.updates)) for word in wanted)]
    absent = {} if args.table_only else train_all(chosen, args.algs.split(","), args.results)
    write_tables(ROWS, ALGS, args.results)
    for name, why in absent.items():
        print(f"left out  {name}: {why}")


if __name__ == "__main__":
    main()
