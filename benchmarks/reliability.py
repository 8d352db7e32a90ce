"""Kills a run with SIGKILL at random moments, resumes it, and compares the result with an uninterrupted run.

    python benchmarks/reliability.py --kills 100 --limit-s 1200 --json kills.json

Prints a table; ends with 1 if a metric differs from the uninterrupted run's, or a record is lost or doubled. Moments
are drawn from a fixed seed over the whole life of a process: start, episodes, updates, tests, metrics and checkpoints.
After ``--limit-s`` seconds no further kill is made; what was started is resumed to its end, and the table says how many
kills there were. ``mongo_outages.py`` does the same to MongoDB.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from epymarl_lmac.checkpoint import INDEX
from epymarl_lmac.compare.process import host_command
from epymarl_lmac.record.files import write_json
from epymarl_lmac.record.metrics import PERF, Row, read_metrics
from epymarl_lmac.record.provenance import read_run
from epymarl_lmac.record.status import DEAD, FINISHED, status_of

SMALL = (
    "hidden_dim=8 batch_size=4 batch_size_run=4 buffer_size=40 test_nepisode=4 test_interval=100 runner_log_interval=0 "
    "learner_log_interval=0 log_interval=100 epsilon_anneal_time=200 updates_per_episode=0.25 use_cuda=False "
    "save_model_interval=40"
).split()


def _command(alg: str, env: str, t_max: int, results: Path, resume: Path | None) -> list[str]:
    argv = ["--no-sacred", f"--config={alg}", f"--env-config={env}", "with", *SMALL, f"t_max={t_max}"]
    return host_command(argv, results, resume)


def _start(command: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def _folders(results: Path) -> list[Path]:
    return sorted(path.parent for path in results.glob("*/run.json"))


def _rows(folder: Path) -> list[Row]:
    return [row for row in read_metrics(folder) if not row.key.startswith(PERF)]


def _phase(folder: Path | None) -> str:
    """Returns what the killed process was doing, as far as its folder tells."""
    if folder is None:
        return "starting"
    if list(folder.glob("*.part")):
        return "writing a file"
    data = (folder / "metrics.jsonl").read_bytes() if (folder / "metrics.jsonl").exists() else b""
    if data and not data.endswith(b"\n"):
        return "writing a metric"
    last = json.loads(data.splitlines()[-1]).get("key", "") if data else ""
    return "after a test" if last.startswith("test_") else "playing and learning"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5, help="at most")
    parser.add_argument("--limit-s", type=float, default=math.inf, help="seconds after which no further kill is made")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--alg", default="iql")
    parser.add_argument("--env", default="lookout")
    parser.add_argument("--t-max", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        began = time.monotonic()
        if _start(_command(options.alg, options.env, options.t_max, whole, None)).wait() != 0:
            raise SystemExit("the uninterrupted run failed")
        life_s = time.monotonic() - began
        expected = _rows(_folders(whole)[0])
        phases: Counter[str] = Counter()
        n_runs = n_wrong = 0
        while sum(phases.values()) < options.kills and time.monotonic() - began < options.limit_s:
            results = Path(name) / f"killed{n_runs}"
            left = options.kills - sum(phases.values())
            phases += _kill_and_resume(options, results, rng, life_s, left, began + options.limit_s)
            print(f"{sum(phases.values())} kills after {time.monotonic() - began:.0f} s", flush=True)
            finished = [folder for folder in _folders(results) if status_of(folder) == FINISHED]
            good = len(finished) == 1 and _rows(finished[0]) == expected
            good = good and all(status_of(folder) in (FINISHED, DEAD) for folder in _folders(results))
            n_runs, n_wrong = n_runs + 1, n_wrong + (not good)
    print(f"{sum(phases.values())} kills in {n_runs} runs of {options.alg} on {options.env}, {options.t_max} steps")
    for phase, n in sorted(phases.items()):
        print(f"  {n:4} while {phase}")
    print(f"runs that differ from the uninterrupted one in any of its {len(expected)} metrics: {n_wrong}")
    if options.json is not None:
        numbers = {"kills": sum(phases.values()), "runs": n_runs, "runs_that_differ": n_wrong, "phases": dict(phases)}
        numbers |= {"alg": options.alg, "env": options.env, "t_max": options.t_max, "seed": options.seed}
        write_json(options.json, {**numbers, "metrics_compared": len(expected), "life_s": round(life_s, 1)})
    return 1 if n_wrong else 0


def _kill_and_resume(
    options, results: Path, rng: np.random.Generator, life_s: float, kills: int, until: float
) -> Counter[str]:
    """Starts a run and kills it again and again until it ends; returns what it was doing when killed.

    Args:
        options: of the command line.
        results: folder for its records.
        rng: draws the moments.
        life_s: how long an uninterrupted process lives, seconds.
        kills: at most so many.
        until: clock after which it is left alone.
    """
    phases: Counter[str] = Counter()
    while True:
        resumable = [folder for folder in _folders(results) if (folder / INDEX).exists()]
        process = _start(
            _command(options.alg, options.env, options.t_max, results, resumable[-1] if resumable else None)
        )
        if sum(phases.values()) < kills and time.monotonic() < until:
            try:
                process.wait(float(rng.uniform(0, life_s)))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            return phases
        if process.returncode != -signal.SIGKILL:
            states = [read_run(folder).get("error") for folder in _folders(results)]
            raise SystemExit(f"a resumed run ended with exit code {process.returncode}: {states}")
        found = _folders(results)
        phases[_phase(found[-1] if found else None)] += 1


if __name__ == "__main__":
    sys.exit(main())
