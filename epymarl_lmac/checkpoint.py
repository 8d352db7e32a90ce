"""Checkpoints: everything that later steps depend on, in one file that is whole or absent.

A run's folder holds ``checkpoint.json`` (file name, SHA-256, steps) and the file it names. A new checkpoint is
written beside the old one, then the small index is replaced, then the old file is removed: a run killed or a disk
filled at any moment leaves the last good one. Files hold tensors, numbers and texts only and are read with
``weights_only``, so loading one runs no code.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epymarl_lmac.errors import CheckpointError
from epymarl_lmac.record.files import whole_file, write_json
from epymarl_lmac.settings.fields import defaults_of
from epymarl_lmac.settings.renamed import current_names
from epymarl_lmac.settings.schema import RESUMABLE, RunSettings
from epymarl_lmac.tasks.entries import completed

INDEX = "checkpoint.json"
LOCK = "lock"


class RunLock:
    """Keeps a second process out of a run's folder for as long as it is held.

    Raises:
        CheckpointError: another process holds it.
    """

    ATTEMPTS, PAUSE_S = 10, 0.05  # ``is_locked`` of another process may hold the file for a moment

    def __init__(self, folder: Path) -> None:
        try:
            self._file = (folder / LOCK).open("w")
        except OSError as err:
            raise CheckpointError(f"Cannot write {folder / LOCK}: {err.strerror}.") from err
        for attempt in range(1, self.ATTEMPTS + 1):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as err:
                if attempt == self.ATTEMPTS:
                    self._file.close()
                    raise CheckpointError(
                        f"{folder} is in use by another process; wait for it or stop it first."
                    ) from err
                time.sleep(self.PAUSE_S)

    def release(self) -> None:
        """Lets others in; may be called again."""
        self._file.close()


def is_locked(folder: Path) -> bool:
    """Returns whether a process holds the lock of a run's folder; changes nothing there."""
    try:
        file = (folder / LOCK).open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def random_state(sampler: np.random.Generator) -> dict[str, Any]:
    """Returns the state of every process-wide generator and of the replay sampler."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": {"version": version, "words": list(words), "gauss": gauss},
        "numpy": {
            "name": str(name),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "sampler": json.dumps(sampler.bit_generator.state),
    }


def set_random_state(state: Mapping[str, Any], sampler: np.random.Generator) -> None:
    """Restores what ``random_state`` returned."""
    python, numpy_state = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"]), python["gauss"]))
    keys = numpy_state["keys"].numpy().astype(np.uint32)
    np.random.set_state(
        (numpy_state["name"], keys, numpy_state["position"], numpy_state["has_gauss"], numpy_state["cached"])
    )
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    sampler.bit_generator.state = json.loads(state["sampler"])


def _plain(value: Any) -> Any:
    """Returns numpy arrays as tensors and numpy scalars as numbers, so that files hold plain types."""
    if isinstance(value, np.ndarray):
        if value.dtype in (np.uint16, np.uint32, np.uint64):
            return {
                "__unsigned__": str(value.dtype),
                "bits": torch.from_numpy(value.view(f"i{value.itemsize}").copy()),
            }
        return {"__array__": torch.from_numpy(np.ascontiguousarray(value).copy())}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value) if type(value) in (list, tuple) else list(map(_plain, value))
    return value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict):
        if "__array__" in value:
            return value["__array__"].numpy()
        if "__unsigned__" in value:
            return value["bits"].numpy().view(value["__unsigned__"])
        return {key: _unplain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_unplain(item) for item in value)
    return value


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_checkpoint(folder: Path, state: Mapping[str, Any], t_env: int) -> Path:
    """Writes a checkpoint into a run's folder and removes the one before it.

    Args:
        folder: the run's folder.
        state: plain containers of tensors, arrays, numbers and texts.
        t_env: environment steps at this moment; part of the file name.

    Raises:
        CheckpointError: it could not be written; the one before it is untouched.
    """
    index = folder / INDEX
    failed = f"The checkpoint at t_env={t_env} could not be written to {folder}"
    try:
        before = json.loads(index.read_text())["file"] if index.exists() else None
        target = folder / f"checkpoint-{t_env}.pt"
        if target.name == before:  # stopped where it was resumed: the index must never name a file of other content
            target = folder / f"checkpoint-{t_env}-again.pt"
        with whole_file(target) as file:
            torch.save(_plain(state), file)
        write_json(index, {"file": target.name, "sha256": _sha256(target), "t_env": t_env})
    except Exception as err:  # torch.save reports a full disk as RuntimeError
        raise CheckpointError(f"{failed}: {err}. The one before it is untouched.") from err
    for other in folder.glob("checkpoint-*.pt*"):  # the one before, and what a killed process left behind
        if other.name != target.name:
            other.unlink(missing_ok=True)
    return target


def load_checkpoint(folder: str | Path) -> dict[str, Any]:
    """Reads the checkpoint of a run's folder.

    Its tensors are the file mapped into memory, privately: a replay buffer that is read from them takes no room twice,
    and writing to them changes no file.

    Raises:
        CheckpointError: there is none, or its content is not what was written.
    """
    folder = Path(folder)
    try:
        index = json.loads((folder / INDEX).read_text())
        path = folder / index["file"]
        expected = index["sha256"]
    except FileNotFoundError as err:
        raise CheckpointError(f"{folder} holds no checkpoint ({INDEX} is missing).") from err
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise CheckpointError(f"{folder / INDEX} is damaged: {err}.") from err
    if not path.is_file():
        raise CheckpointError(f"{folder / INDEX} names {path.name}, which is missing.")
    found = _sha256(path)
    if found != expected:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., expected {expected[:12]}.... "
            "Restore the file or start the run anew."
        )
    try:
        return _unplain(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except Exception as err:
        raise CheckpointError(f"{path} cannot be read: {err}") from err


def save_networks(folder: Path, networks: Mapping[str, Any], t_env: int) -> Path:
    """Writes the networks that act, small and kept for every checkpoint, so that any saved step can be evaluated.

    Args:
        folder: the run's folder.
        networks: state of the controller's networks by name.
        t_env: environment steps at this moment; part of the file name.

    Raises:
        CheckpointError: it could not be written.
    """
    target = folder / f"networks-{t_env}.pt"
    temporary = target.with_suffix(".pt.part")
    try:
        with temporary.open("wb") as file:
            torch.save(_plain(networks), file)
        temporary.replace(target)
    except Exception as err:  # torch.save reports a full disk as RuntimeError
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"The networks at t_env={t_env} could not be written to {folder}: {err}.") from err
    return target


def saved_steps(folder: Path) -> list[int]:
    """Returns the environment steps at which the networks of a run were saved, in order."""
    return sorted(int(path.stem.partition("-")[2]) for path in folder.glob("networks-*.pt"))


def load_networks(folder: Path, t_env: int | None = None) -> tuple[int, dict[str, Any]]:
    """Returns the step and the networks that a run saved at it.

    Args:
        folder: the run's folder.
        t_env: one of ``saved_steps``; None is the last.

    Raises:
        CheckpointError: nothing was saved, or not at that step.
    """
    steps = saved_steps(folder)
    if not steps:
        raise CheckpointError(f"{folder} holds no saved networks; was the run started with save_model=True?")
    chosen = steps[-1] if t_env is None else t_env
    if chosen not in steps:
        raise CheckpointError(f"{folder} has no networks of step {chosen}; saved are: {', '.join(map(str, steps))}.")
    path = folder / f"networks-{chosen}.pt"
    try:
        return chosen, _unplain(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as err:
        raise CheckpointError(f"{path} cannot be read: {err}") from err


def check_same_run(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Refuses to continue a run under other settings; those of ``RESUMABLE`` may differ.

    A setting that is newer than the checkpoint counts as its default, an option of the environment as what it was then.

    Raises:
        CheckpointError: naming every setting that differs with both values.
    """
    saved = completed(current_names(saved, "the checkpoint"))
    defaults = defaults_of(RunSettings)
    saved = {**{key: defaults[key] for key in current if key in defaults}, **saved}
    keys = sorted((set(saved) | set(current)) - RESUMABLE)
    different = [
        f"{key}: {saved.get(key)!r} there, {current.get(key)!r} here"
        for key in keys
        if saved.get(key) != current.get(key)
    ]
    if different:
        raise CheckpointError("The checkpoint is of another run. " + "; ".join(different) + ".")
