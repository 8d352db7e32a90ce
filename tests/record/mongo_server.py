"""A MongoDB server for tests: yours, or SecantusDB in an environment of its own (never imported here).

``EPYMARL_LMAC_TEST_MONGO_URL`` names a server to use. Otherwise ``EPYMARL_LMAC_SECANTUS`` may name the folder of a
virtual environment that has SecantusDB; without it one is made once under the user's cache folder.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PACKAGE = "secantusdb==0.7.0b3"


def _environment() -> Path:
    """Returns the program of SecantusDB; skips by its name where it cannot be installed."""
    given = os.environ.get("EPYMARL_LMAC_SECANTUS")
    folder = Path(given) if given else Path.home() / ".cache" / "epymarl-lmac-tests" / PACKAGE
    program = folder / "bin" / "secantusd-py"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name("making.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # tests in two processes must not make it at once
            if not program.exists():
                _make(folder)
    except (OSError, subprocess.SubprocessError):
        pytest.skip(f"{PACKAGE} is not installed")
    return program


def _make(folder: Path) -> None:
    """Makes a virtual environment with SecantusDB."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=300)
    pip = [str(folder / "bin" / "pip"), "install", "-q", PACKAGE]
    subprocess.run(pip, check=True, capture_output=True, timeout=900)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{PACKAGE} did not answer on port {port}")


@contextmanager
def mongo_server() -> Iterator[tuple[str, int]]:
    """Yields host and port of a server."""
    given = os.environ.get("EPYMARL_LMAC_TEST_MONGO_URL")
    if given:
        host, _, port = given.removeprefix("mongodb://").split("/")[0].rpartition("@")[2].partition(":")
        yield host, int(port or 27017)
        return
    port = _free_port()
    command = [str(_environment()), "--host", "127.0.0.1", "--port", str(port), "--storage-path", ":memory:"]
    with subprocess.Popen([*command, "--standalone"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield "127.0.0.1", port
        finally:
            process.kill()
