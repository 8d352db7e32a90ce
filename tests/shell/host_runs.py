"""Starts the host's command line and ``epymarl-lmac``, with settings small enough for a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from epymarl_lmac.record.metrics import PERF, read_metrics
from tests.preloaded import ROOT, run_python

__all__ = ["ROOT", "argv", "command", "figures", "host", "host_alone", "run_folders", "start_and_stop"]

SMALL = [
    "hidden_dim=8", "batch_size=4", "batch_size_run=4", "buffer_size=40", "test_nepisode=4", "test_interval=200",
    "runner_log_interval=0", "learner_log_interval=0", "log_interval=200", "epsilon_anneal_time=200",
    "updates_per_episode=0.5", "use_cuda=False",
]  # fmt: skip


def argv(alg: str, results: Path, env: str = "lookout", **updates: object) -> list[str]:
    """Returns the words of a small run's command line."""
    changes = [f"{key.replace('__', '.')}={value}" for key, value in updates.items()]
    return [
        f"--config={alg}",
        f"--env-config={env}",
        "with",
        *SMALL,
        f"local_results_path={results}",
        *changes,
    ]


def host(arguments: list[str]) -> subprocess.CompletedProcess:
    """Runs ``python src/main.py`` to its end."""
    return run_python([ROOT / "src" / "main.py", *arguments])


def command(*arguments: object) -> subprocess.CompletedProcess:
    """Runs ``epymarl-lmac`` to its end."""
    return run_python(["-m", "epymarl_lmac.cli", *arguments])


def host_alone(arguments: list[str], **options) -> subprocess.CompletedProcess:
    """Runs ``python src/main.py`` to its end as a shell does, in a process that has imported nothing."""
    return subprocess.run(
        [sys.executable, str(ROOT / "src" / "main.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        **options,
    )


def start_and_stop(arguments: list[str], results: Path, after_step: int, signum: int = signal.SIGTERM) -> int:
    """Starts a run, sends it a signal once it has passed a step, and returns its exit code."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "src" / "main.py"), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and process.poll() is None:
            folders = run_folders(results)
            if folders and (folders[0] / "metrics.jsonl").exists():
                rows = read_metrics(folders[0])
                if rows and rows[-1].t_env >= after_step:
                    process.send_signal(signum)
                    break
            time.sleep(0.02)
        return process.wait(timeout=600)


def run_folders(results: Path) -> list[Path]:
    """Returns the folders of recorded runs, the oldest first."""
    return sorted(path.parent for path in results.glob("*/run.json"))


def figures(folder: Path) -> list[tuple]:
    """Returns a run's rows without those that depend on the machine's speed."""
    return [tuple(row) for row in read_metrics(folder) if not row.key.startswith(PERF)]
