"""Runs of a grid as Slurm jobs, submitted through submitit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epymarl_lmac.compare.remote import RemoteRun, require_package, run_there
from epymarl_lmac.errors import SettingsError

OPTION = "--slurm"
MINUTES = 24 * 60  # of a job, unless timeout_min says otherwise; submitit's own default is 5
PLAIN = ("timeout_min", "mem_gb", "nodes")  # submitit's own names; the others are Slurm's and get the prefix slurm_


def parse_slurm_options(texts: Sequence[str]) -> dict[str, Any]:
    """Returns submitit's parameters for texts such as ``partition=gpu`` or ``timeout_min=600``.

    Raises:
        SettingsError: a text is no ``key=value``.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise SettingsError(
                f"--slurm-option {text!r}: write KEY=VALUE, e.g. partition=gpu, account=mine, timeout_min=600.",
                "--slurm-option",
            )
        found[key if key in PLAIN else f"slurm_{key.removeprefix('slurm_')}"] = int(value) if value.isdigit() else value
    return found


class SlurmRun(RemoteRun):
    """A run as a job.

    Args:
        executor: submitit's executor.
        command: what to start.
        log: file for its output, in the shared folder.
    """

    def __init__(self, executor: Any, command: Sequence[str], log: Path) -> None:
        super().__init__(command, log)
        # No variables: Slurm passes this environment on, and submitit would write them to a file.
        self._job = executor.submit(run_there, *self._arguments, {})

    def _result(self) -> int | None:
        return int(self._job.result()) if self._job.done() else None

    def _cancel(self) -> None:
        self._job.cancel()

    def _explain(self, err: Exception) -> str:
        last = (str(err).strip().splitlines() or [""])[-1]
        folder = self._job.paths.folder
        return (
            f"the job {self._job.job_id} ended without a result ({type(err).__name__}: {last}); its output is in "
            f"{folder}, if its node sees that folder"
        )


class SlurmLauncher:
    """Starts runs as Slurm jobs.

    Args:
        out: the comparison's folder; every node must see it under the same path.
        options: submitit's parameters, see ``parse_slurm_options``.
        cpus: cores of a run.
        gpus: GPUs of a run.
        cluster: submitit's executor, "slurm"; "local" starts the jobs as processes of this machine.

    Raises:
        SettingsError: submitit or Slurm is missing, or a parameter is unknown.
    """

    def __init__(
        self, out: Path, options: Mapping[str, Any], cpus: int = 1, gpus: float = 0.0, cluster: str = "slurm"
    ) -> None:
        if gpus != int(gpus):
            raise SettingsError(f"--gpus-per-run {gpus:g}: Slurm gives whole GPUs only.", "--gpus-per-run")
        submitit = require_package("submitit", OPTION)
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise SettingsError(f"{OPTION}: there is no Slurm here (no program sbatch); use its head node.", OPTION)
        try:
            self._executor = submitit.AutoExecutor(folder=(out / "logs" / "jobs").absolute(), cluster=cluster)
            wanted = {"name": "epymarl-lmac", "timeout_min": MINUTES, "cpus_per_task": cpus, **options}
            self._executor.update_parameters(**wanted, **({"gpus_per_node": int(gpus)} if gpus else {}))
        except (NameError, TypeError, ValueError) as err:  # submitit reports an unknown parameter as NameError
            raise SettingsError(f"--slurm-option: {str(err).strip().splitlines()[0]}", "--slurm-option") from err

    def capacity(self, n_cells: int) -> int:
        """Returns all runs: the queue is Slurm's matter."""
        return max(1, n_cells)

    def start(self, command: Sequence[str], log: Path, gpu: str | None) -> SlurmRun:
        """Submits a run as a job; which GPU it gets is Slurm's choice."""
        return SlurmRun(self._executor, command, log)

    def close(self) -> None:
        """Does nothing: every job has ended or was told to."""
