"""Mirrors of a run's metrics for those who want them: TensorBoard and Weights & Biases. Both are off by default.

They follow the rules of every mirror (``sinks.py``): a missing package, a full disk or a server that is away costs two
warnings and nothing of the run.
"""

from __future__ import annotations

import hashlib
import importlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from epymarl_lmac.record.sinks import Mirror

PROJECT = "epymarl-lmac"  # at Weights & Biases, where the settings name none
INIT_S = 30.0  # for Weights & Biases to answer at the start
END_S = 10.0  # and to take the rest at the end


class TensorBoardSink:
    """Writes metrics as TensorBoard scalars.

    Args:
        folder: the run's folder; events go to its folder ``tensorboard``.
        t_env: environment steps at this start; what an earlier attempt wrote after them is hidden.

    Raises:
        ImportError: no writer is installed.
    """

    def __init__(self, folder: Path, t_env: int = 0) -> None:
        self._writer = _writer_class()(str(folder / "tensorboard"), purge_step=t_env + 1 if t_env else None)

    def write(self, key: str, value: float, t_env: int) -> None:
        """Adds one scalar."""
        self._writer.add_scalar(key, value, t_env)

    def close(self) -> None:
        """Writes what is buffered and ends."""
        self._writer.close()


def _writer_class() -> Any:
    """Returns the class of PyTorch, which needs the package tensorboard, or that of tensorboardX."""
    for module in ("torch.utils.tensorboard", "tensorboardX"):
        try:
            return importlib.import_module(module).SummaryWriter
        except ImportError:
            continue
    raise ImportError("use_tensorboard needs a package: pip install tensorboard")


class WandbSink:
    """Sends metrics to Weights & Biases, all of one step as one row with its ``t_env``.

    Args:
        settings: the run's settings; those that start with ``wandb_`` say where to.
        folder: the run's folder; its name is the run's name there, its folder ``wandb`` holds what is not sent.

    Raises:
        ImportError: the package is not installed.
        Exception: the service refuses or does not answer.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        try:
            import wandb
        except ImportError as err:
            raise ImportError("use_wandb needs a package: pip install wandb") from err
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, init_timeout=INIT_S)
        self._folder = folder
        self._run = wandb.init(
            entity=settings["wandb_team"],
            project=settings["wandb_project"] or PROJECT,
            mode=settings["wandb_mode"],
            config=dict(settings),
            name=folder.name,
            id=hashlib.sha256(folder.name.encode()).hexdigest()[:16],  # a resumed run goes on in the same place
            resume="allow",
            dir=str(folder),
            settings=quiet,
        )
        self._run.define_metric("t_env")
        self._run.define_metric("*", step_metric="t_env")
        self._row: dict[str, float] = {}

    def write(self, key: str, value: float, t_env: int) -> None:
        """Adds one metric; a row is sent when the next step begins."""
        if self._row.get("t_env") != t_env:
            self._send()
        self._row |= {"t_env": t_env, key: value}

    def _send(self) -> None:
        row, self._row = self._row, {}
        if row:
            self._run.log(row)

    def close(self) -> None:
        """Sends the last row and waits for the end, at most END_S.

        Raises:
            TimeoutError: not everything was taken by then; it is on disk.
        """
        self._send()
        failed: list[Exception] = []
        thread = threading.Thread(target=self._finish, args=(failed,), name="wandb", daemon=True)
        thread.start()
        thread.join(END_S)
        if failed:
            raise failed[0]
        if thread.is_alive():
            raise TimeoutError(
                f"not all was taken within {END_S:.0f} s; send it with: wandb sync {self._folder}/wandb/*"
            )

    def _finish(self, failed: list[Exception]) -> None:
        try:
            self._run.finish()
        except Exception as err:  # handed to close
            failed.append(err)


def board_mirrors(settings: Mapping[str, Any], folder: Path, t_env: int, warn: Callable[[str], None]) -> list[Mirror]:
    """Returns the mirrors that the settings ask for.

    Args:
        settings: the run's settings.
        folder: the run's folder.
        t_env: environment steps at this start (0 unless resumed).
        warn: shows one sentence to the user.
    """
    mirrors = []
    if settings["use_tensorboard"]:
        mirrors.append(Mirror("TensorBoard", lambda: TensorBoardSink(folder, t_env), warn))
    if settings["use_wandb"]:
        mirrors.append(Mirror("Weights & Biases", lambda: WandbSink(settings, folder), warn))
    return mirrors
