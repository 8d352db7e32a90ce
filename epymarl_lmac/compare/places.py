"""Which machines a comparison's runs go to, as the command line says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from epymarl_lmac.compare.launch import Launcher, LocalLauncher
from epymarl_lmac.cores import n_cores
from epymarl_lmac.errors import SettingsError

LOCAL, RAY, SLURM = "local", "ray", "slurm"


@dataclass(frozen=True)
class Place:
    """Where runs are started and what each gets there."""

    kind: str = LOCAL
    address: str = ""  # of a Ray cluster; "" starts a Ray on this machine
    cpus: int = 1  # cores of a run
    gpus: float = 0.0  # GPUs of a run
    slurm: dict[str, Any] = field(default_factory=dict)  # submitit's parameters


def choose_place(
    ray: bool, cluster: str, slurm: bool, slurm_options: Sequence[str], cpus: int, gpus: float, devices: Sequence[str]
) -> Place:
    """Returns the place that the command line's options name.

    Args:
        ray: whether ``--ray`` is given.
        cluster: address of a Ray cluster, or "".
        slurm: whether ``--slurm`` is given.
        slurm_options: ``KEY=VALUE`` texts.
        cpus: cores of a run.
        gpus: GPUs of a run.
        devices: GPUs of this machine to share out.

    Raises:
        SettingsError: the options contradict each other.
    """
    from epymarl_lmac.compare.slurm_launcher import parse_slurm_options

    kind = RAY if ray or cluster else SLURM if slurm else LOCAL
    if slurm and kind == RAY:
        raise SettingsError("--slurm and --ray (or --cluster) are two ways to start runs; give one.", "--slurm")
    if slurm_options and kind != SLURM:
        raise SettingsError("--slurm-option is for jobs of Slurm; give --slurm too, or leave it out.", "--slurm-option")
    if devices and kind != LOCAL:
        raise SettingsError(
            f"--gpus {','.join(devices)} names devices of this machine; on a cluster give --gpus-per-run 1.", "--gpus"
        )
    if kind == LOCAL and (cpus != 1 or gpus):
        raise SettingsError(
            "--cpus-per-run and --gpus-per-run are for --ray, --cluster and --slurm; on this machine give --gpus and "
            "with n_threads=N.",
            "--cpus-per-run",
        )
    return Place(kind, cluster, cpus, gpus, parse_slurm_options(slurm_options))


def make_launcher(place: Place, out: Path, jobs: int) -> Launcher:
    """Returns what starts runs at a place.

    Args:
        place: where.
        out: the comparison's folder.
        jobs: runs at a time, or 0 where the user did not say.

    Raises:
        UserError: the place cannot be used; the message says why.
    """
    if place.kind == RAY:
        from epymarl_lmac.compare.ray_launcher import RayLauncher

        return RayLauncher(out, place.address, place.cpus, place.gpus, jobs * place.cpus or n_cores())
    if place.kind == SLURM:
        from epymarl_lmac.compare.slurm_launcher import SlurmLauncher

        return SlurmLauncher(out, place.slurm, place.cpus, place.gpus)
    return LocalLauncher()
