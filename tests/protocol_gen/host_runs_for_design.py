"""A tiny recorded run of the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def train(alg: str, results: Path, *updates: str) -> Path:
    """Trains for a moment; returns the run's folder."""
    small = ["hidden_dim=8", "batch_size=4", "batch_size_run=4", "buffer_size=40", "test_nepisode=4", "t_max=200"]
    small += ["use_cuda=False", f"local_results_path={results}", *updates]
    words = [sys.executable, str(ROOT / "src" / "main.py"), f"--config={alg}", "--env-config=lookout", "with", *small]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=240, env=environment)
    return next(results.glob("*/run.json")).parent


def small_run(results: Path) -> Path:
    """Returns a recorded qmix run."""
    return train("qmix", results)
