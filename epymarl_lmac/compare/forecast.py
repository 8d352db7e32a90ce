"""Time and disk of a comparison, forecast from a short run of every algorithm on every environment.

The short runs go side by side like the real ones, so that what they cost each other is in the forecast. What they told
is kept in ``calibration.json`` in the comparison's folder and not measured again.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from epymarl_lmac.compare.launch import Launcher, LocalLauncher, StartedRun
from epymarl_lmac.compare.plan import Cell
from epymarl_lmac.compare.process import host_command
from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.files import write_json
from epymarl_lmac.record.metrics import TimedRow, read_timed_metrics

STEPS = 12_000  # of a calibration run; enough for updates to have begun where episodes have up to 120 steps
ROUNDS = 6  # of training episodes at least; fewer tell too little
LIMIT_S = 60.0  # a calibration run is stopped this long after that many rounds
POLL_S = 0.2
ROW_BYTES = 110  # of a line in the metrics file
FILE_NAME = "calibration.json"


@dataclass(frozen=True)
class Cost:
    """What a run of one algorithm on one environment costs."""

    steps_per_s: float  # training, updates included
    test_s: float  # one test
    start_s: float  # from the command to the first step
    checkpoint_bytes_per_episode: float
    episode_steps: float
    metric_keys: int


@dataclass(frozen=True)
class Forecast:
    """What a plan will take."""

    wall_s: float
    disk_bytes: float
    free_bytes: float

    @property
    def fits(self) -> bool:
        """Whether the disk has room."""
        return self.disk_bytes <= self.free_bytes


def measure(rows: Sequence[TimedRow], started: float, checkpoint_bytes: float) -> Cost:
    """Returns the cost that a calibration run's record shows.

    Args:
        rows: its metrics; training metrics were logged after every round of episodes.
        started: clock when the command was given, seconds since 1970.
        checkpoint_bytes: size of its checkpoint.

    Raises:
        RecordError: it is too short to tell, or the clock went back meanwhile.
    """
    training = [(r.time, r.row.t_env) for r in rows if r.time is not None and r.row.key == "return_mean"]
    if len(training) < 3 or training[-1][1] <= training[0][1]:
        raise RecordError("the calibration run played fewer than three rounds of episodes")
    middle = len(training) // 2  # the first half has rounds without updates, and compiles
    (t0, n0), (t1, n1) = training[middle - 1], training[-1]
    if t1 < t0:
        raise RecordError("the clock went back during the calibration; give the same command again")
    tests = [r.time for r in rows if r.time is not None and r.row.key == "test_return_mean"]
    last_round = max(r.time for r in rows if r.time is not None and not r.row.key.startswith("test_"))
    test_s = max(0.0, tests[-1] - last_round) if len(tests) > 1 else 0.0
    lengths = [r.row.value for r in rows if r.row.key == "ep_length_mean"]
    episode_steps = sum(lengths) / len(lengths) if lengths else 1.0
    return Cost(
        steps_per_s=(n1 - n0) / max(t1 - t0, 1e-3),
        test_s=test_s,
        start_s=max(0.0, training[0][0] - started),
        checkpoint_bytes_per_episode=checkpoint_bytes / max(1.0, n1 / episode_steps),
        episode_steps=episode_steps,
        metric_keys=len({r.row.key for r in rows}),
    )


def run_seconds(cell: Cell, cost: Cost, steps: int) -> float:
    """Returns the seconds that the last ``steps`` of a cell's budget take."""
    n_tests = math.ceil(steps / cell.settings["test_interval"]) + 1
    return cost.start_s + steps / cost.steps_per_s + n_tests * cost.test_s


def run_bytes(cell: Cell, cost: Cost) -> float:
    """Returns the bytes of a cell's record at its end: its last checkpoint with the replay buffer, and its metrics."""
    episodes = min(cell.settings["buffer_size"], cell.t_max / max(1.0, cost.episode_steps))
    interval = max(1, min(cell.settings["runner_log_interval"], cell.settings["learner_log_interval"]))
    rows = cost.metric_keys * cell.t_max / max(interval, cell.settings["batch_size_run"] * cost.episode_steps)
    return episodes * cost.checkpoint_bytes_per_episode + rows * ROW_BYTES


def forecast(left: Sequence[tuple[Cell, int]], costs: Mapping[str, Cost], jobs: int, free_bytes: float) -> Forecast:
    """Returns what is still to come.

    Args:
        left: runs that are not done, each with the steps it lacks.
        costs: by ``pair_name``.
        jobs: runs at a time.
        free_bytes: room on the disk.

    Returns:
        Time by list scheduling in the order of the plan. The disk needs the records and, for every run in progress,
        room to write a second checkpoint beside the first.
    """
    free_at = [0.0] * jobs
    sizes = []
    for cell, steps in left:
        cost = costs[pair_name(cell)]
        first = free_at.index(min(free_at))
        free_at[first] += run_seconds(cell, cost, steps)
        sizes.append(run_bytes(cell, cost))
    second_copies = sum(sorted(sizes, reverse=True)[:jobs])
    return Forecast(max(free_at), sum(sizes) + second_copies, free_bytes)


def pair_name(cell: Cell) -> str:
    """Returns the name under which a cell's cost is kept: its algorithm, environment and what it learns with."""
    return f"{cell.alg} on {cell.env}"


def free_bytes(folder: Path) -> float:
    """Returns the room on the disk that holds ``folder``."""
    return float(shutil.disk_usage(folder).free)


def _representatives(cells: Sequence[Cell]) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    for cell in cells:
        found.setdefault(pair_name(cell), cell)
    return found


def _read_kept(path: Path, wanted: Mapping[str, Cell]) -> dict[str, Cost]:
    """Returns the kept costs that were measured with the same settings; a damaged file counts as none."""
    try:
        kept = json.loads(path.read_text())
        return {
            name: Cost(**kept[name]["cost"])
            for name, cell in wanted.items()
            if name in kept and kept[name]["run_id"] == cell.run_id
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def calibrate(
    cells: Sequence[Cell],
    out: Path,
    jobs: int,
    say: Callable[[str], None],
    gpus: Sequence[str] = (),
    launcher: Launcher | None = None,
) -> dict[str, Cost]:
    """Returns the cost of every algorithm on every environment of a plan, measured where it is not known.

    Args:
        cells: the plan.
        out: the comparison's folder.
        jobs: runs at a time.
        say: shows one line.
        gpus: devices to share out, or none.
        launcher: where the runs will be started; this machine if None.

    Raises:
        RecordError: a calibration run fails; its last lines are in the message.
    """
    launcher = LocalLauncher() if launcher is None else launcher
    wanted = _representatives(cells)
    path = out / FILE_NAME
    costs = _read_kept(path, wanted)
    missing = [(name, cell) for name, cell in wanted.items() if name not in costs]
    if missing:
        say(f"calibration: {len(missing)} short runs of at most {LIMIT_S:.0f} s, {jobs} at a time")
    for start in range(0, len(missing), jobs):
        group = missing[start : start + jobs]
        started = time.time()
        folders = [out / "calibration" / str(start + index) for index in range(len(group))]
        processes = []
        for index, ((_, cell), folder) in enumerate(zip(group, folders, strict=True)):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            gpu = gpus[index % len(gpus)] if gpus else None
            processes.append(launcher.start(host_command(_short(cell), folder, None), folder / "log", gpu))
        _wait(processes, folders)
        for (name, _), folder, process in zip(group, folders, processes, strict=True):
            costs[name] = _cost_of(name, folder, started, process)
            shutil.rmtree(folder, ignore_errors=True)
    kept = {name: {"run_id": cell.run_id, "cost": asdict(costs[name])} for name, cell in wanted.items()}
    write_json(path, kept)
    return costs


def _short(cell: Cell) -> list[str]:
    """Returns the arguments of a cell's calibration run: every round is logged, one test at the end."""
    steps = min(STEPS, cell.t_max)
    return [
        *cell.argv,
        f"t_max={steps}",
        f"test_interval={steps}",
        "runner_log_interval=0",
        "learner_log_interval=0",
        "save_model=True",
    ]


def _rounds(metrics: Path) -> int:
    """Returns how many rounds of training episodes a metrics file holds."""
    return metrics.read_bytes().count(b'"return_mean"')


def _wait(processes: Sequence[StartedRun], folders: Sequence[Path]) -> None:
    """Waits for the runs; one that still goes LIMIT_S after it had played ROUNDS is asked to stop."""
    first: dict[int, float] = {}  # run -> clock when it had
    try:
        while any(process.poll() is None for process in processes):
            for index, (process, folder) in enumerate(zip(processes, folders, strict=True)):
                if index not in first and any(_rounds(path) >= ROUNDS for path in folder.glob("*/metrics.jsonl")):
                    first[index] = time.monotonic()
                if time.monotonic() - first.get(index, math.inf) > LIMIT_S:
                    process.ask_to_stop()
            time.sleep(POLL_S)
    finally:
        for process in processes:
            process.kill()


def _cost_of(name: str, folder: Path, started: float, process: StartedRun) -> Cost:
    try:
        (run,) = [path.parent for path in folder.glob("*/run.json")]
        checkpoint = sum(path.stat().st_size for path in run.glob("checkpoint-*.pt"))
        return measure(read_timed_metrics(run), started, checkpoint)
    except (RecordError, ValueError) as err:
        lines = "\n  ".join(process.last_lines())
        raise RecordError(
            f"The calibration run of {name} told nothing ({err}). Its last lines:\n  {lines}\n"
            "Repair what they say, or skip the forecast with --no-calibration."
        ) from err
