"""What a result depends on besides its settings: versions, code state, machine, rules, update ratio."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import epymarl_lmac
from epymarl_lmac.errors import RecordError
from epymarl_lmac.learning import products
from epymarl_lmac.paths import source_root
from epymarl_lmac.record.files import write_json as write_json  # protocol_gen imports it from here
from epymarl_lmac.tasks.entries import completed

PACKAGES = ("torch", "numpy", "numba", "sacred", "safetensors", "lbforaging", "gymnasium", "setuptools")
FILE_NAME = "run.json"


def package_versions() -> dict[str, str | None]:
    """Returns the installed versions of the packages that results depend on; None where absent."""
    versions: dict[str, str | None] = {"epymarl-lmac": epymarl_lmac.__version__}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def git_state() -> dict[str, Any]:
    """Returns the commit of the source tree and whether it has uncommitted changes; empty outside a checkout."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(source_root()), *words],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"commit": commit, "changed_files": len((git("status", "--porcelain") or "").splitlines())}


def machine() -> dict[str, Any]:
    """Returns what the run ran on."""
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "cuda": cuda,
        "matrix_products": products.description(),
    }


def read_run(folder: str | Path) -> dict[str, Any]:
    """Returns what ``run.json`` of a run's folder says, its settings completed by options that came later.

    Raises:
        RecordError: there is none, or it is damaged.
    """
    path = Path(folder) / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise RecordError(f"{folder} is no run folder: it has no {FILE_NAME}.") from err
    except (OSError, ValueError) as err:
        raise RecordError(f"{path} cannot be read: {err}") from err
    if not isinstance(content, dict):
        raise RecordError(f"{path} is damaged: it must hold names and values, not a {type(content).__name__}.")
    if isinstance(content.get("settings"), dict):
        content["settings"] = completed(content["settings"])
    return content
