"""Runs of a grid as tasks of Ray Core: on a cluster that runs, or on a Ray that is started on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from epymarl_lmac.compare.remote import RemoteRun, missing_paths, needed_paths, require_package, run_there
from epymarl_lmac.errors import RecordError, SettingsError

OPTION = "--ray"
KNOCK_S = 5.0
CHECK_S = 120.0  # for every node's answer; a worker that starts imports the project
PASSED_ON = "EPYMARL_LMAC_"  # settings in the environment, e.g. the MongoDB address, travel with the run


def _passed_variables() -> dict[str, str]:
    """Returns the environment variables that a run elsewhere needs from here."""
    return {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}


def _knock(address: str) -> None:
    """Tries an address before Ray does, which tries for minutes.

    Raises:
        OSError: nobody answers there.
        ValueError: it is no address.
    """
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.scheme not in ("", "ray") or not place.hostname or not place.port:
        raise ValueError("no such form of address")
    socket.create_connection((place.hostname, place.port), timeout=KNOCK_S).close()


class RayRun(RemoteRun):
    """A run as a Ray task.

    Args:
        ray: the package.
        options: what the task needs, for ``options`` of a remote function.
        command: what to start.
        log: file for its output, in the shared folder.
    """

    def __init__(self, ray: Any, options: dict[str, Any], command: Sequence[str], log: Path) -> None:
        super().__init__(command, log)
        self._ray = ray
        task = ray.remote(run_there).options(name=log.stem, **options)
        try:
            self._task = task.remote(*self._arguments, _passed_variables())
        except Exception as err:  # the connection has classes of its own
            raise RecordError(
                f"The Ray cluster no longer answers ({type(err).__name__}); then the same command goes on from "
                "the last checkpoints."
            ) from err

    def _result(self) -> int | None:
        ready, _ = self._ray.wait([self._task], timeout=0)
        return int(self._ray.get(self._task)) if ready else None

    def _cancel(self) -> None:
        self._ray.cancel(self._task, force=True)

    def _explain(self, err: Exception) -> str:
        cause = getattr(err, "cause", None)
        if isinstance(cause, RecordError):
            return str(cause)
        return f"its Ray worker was lost ({type(err).__name__})"


class RayLauncher:
    """Starts runs on Ray.

    Args:
        out: the comparison's folder; every node must see it under the same path.
        address: ``ray://host:10001``, ``host:6379``, "auto" (the cluster of this machine); "" starts a Ray here.
        cpus: cores of a run.
        gpus: GPUs of a run; a part of one lets runs share it.
        n_local: cores to offer where a Ray is started here.

    Raises:
        SettingsError: Ray is missing, there is no such cluster, or none of its nodes has what a run needs.
        RecordError: a node does not see the folder, the project or its Python.
    """

    def __init__(self, out: Path, address: str = "", cpus: int = 1, gpus: float = 0.0, n_local: int = 1) -> None:
        self._ray = require_package("ray", OPTION)
        # A lost worker is the schedule's matter: only it knows the checkpoint to go on from.
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
        self._connect(address, n_local)
        try:
            self._nodes = self._useful_nodes(address, cpus, gpus)
            self._check_paths(needed_paths(out))
        except BaseException:
            self.close()
            raise

    def _connect(self, address: str, n_local: int) -> None:
        quiet = {"log_to_driver": False, "logging_level": "error"}
        # A run is a process of its own with its own GPU setting; without any it shall see no GPU.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
        try:
            if address not in ("", "auto"):
                _knock(address)
            if address:
                self._ray.init(address=address, **quiet)
            else:
                self._ray.init(address="local", num_cpus=n_local, include_dashboard=False, **quiet)
        except Exception as err:  # Ray has many classes for it, some without a name of their own
            lines = [line for line in str(err).splitlines() if line.strip()] or [type(err).__name__]
            reason = " ".join(dict.fromkeys((lines[0].strip(), lines[-1].strip())))  # a server's traceback lies between
            what = f"no Ray cluster answers at {address!r}" if address else "Ray cannot be started on this machine"
            raise SettingsError(
                f"{what} ({reason}); give ray://HOST:10001, HOST:6379 or auto, the same Ray and Python as there "
                f"(here Ray {self._ray.__version__}), and RAY_AUTH_MODE=token with RAY_AUTH_TOKEN if it wants one; or "
                f"{OPTION} alone to start one here.",
                OPTION,
            ) from err

    def _useful_nodes(self, address: str, cpus: int, gpus: float) -> list[dict[str, Any]]:
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        useful = [
            node
            for node in alive
            if node["Resources"].get("CPU", 0) >= cpus and node["Resources"].get("GPU", 0) >= gpus
        ]
        if not useful:
            most = {kind: max((n["Resources"].get(kind, 0) for n in alive), default=0) for kind in ("CPU", "GPU")}
            raise SettingsError(
                f"No node of the Ray cluster {address or 'here'} has the {cpus} cores and {gpus:g} GPUs of a run; the "
                f"largest have {most['CPU']:g} and {most['GPU']:g}. Lower --cpus-per-run or --gpus-per-run.",
                OPTION,
            )
        return useful

    def _check_paths(self, paths: Sequence[str]) -> None:
        """Asks every node that may get a run whether it sees what runs need."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        look = self._ray.remote(missing_paths)
        asked = {}
        for node in self._nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[look.options(num_cpus=0, scheduling_strategy=there).remote(list(paths))] = node["NodeManagerHostname"]
        ready, silent = self._ray.wait(list(asked), num_returns=len(asked), timeout=CHECK_S)
        if silent:
            raise RecordError(f"The Ray node {asked[silent[0]]} did not answer within {CHECK_S:.0f} s; see its log.")
        for task in ready:
            try:
                missing = self._ray.get(task)
            except Exception as err:
                raise RecordError(
                    f"The Ray node {asked[task]} cannot run the project ({str(err).strip().splitlines()[-1]}); install "
                    "the same epymarl-lmac there."
                ) from err
            if missing:
                raise RecordError(
                    f"The Ray node {asked[task]} does not see {', '.join(missing)}; --out, the project and its Python "
                    "must lie under the same paths on every node, e.g. in a shared folder."
                )

    def capacity(self, n_cells: int) -> int:
        """Returns how many runs the cluster holds at a time."""
        total = 0
        for node in self._nodes:
            fits = [
                node["Resources"].get(kind, 0) // need
                for kind, need in (("CPU", self._options["num_cpus"]), ("GPU", self._options["num_gpus"]))
                if need
            ]
            total += int(min(fits))
        return max(1, min(total, n_cells))

    def start(self, command: Sequence[str], log: Path, gpu: str | None) -> RayRun:
        """Starts a run as a task; which GPU it gets is Ray's choice."""
        return RayRun(self._ray, self._options, command, log)

    def close(self) -> None:
        """Leaves the cluster; a Ray that was started here ends."""
        self._ray.shutdown()
