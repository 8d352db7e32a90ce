"""A tiny recorded run of the host."""

from __future__ import annotations

from pathlib import Path

from tests.preloaded import ROOT, run_python

__all__ = ["ROOT", "small_run", "train"]


def train(alg: str, results: Path, *updates: str) -> Path:
    """Trains for a moment; returns the run's folder."""
    small = ["hidden_dim=8", "batch_size=4", "batch_size_run=4", "buffer_size=40", "test_nepisode=4", "t_max=200"]
    small += ["use_cuda=False", f"local_results_path={results}", *updates]
    words = [ROOT / "src" / "main.py", f"--config={alg}", "--env-config=lookout", "with", *small]
    run_python(words, timeout=240).check_returncode()
    return next(results.glob("*/run.json")).parent


def small_run(results: Path) -> Path:
    """Returns a recorded qmix run."""
    return train("qmix", results)
