"""Runs our programs as ``subprocess.run`` does, but forked from a process that has imported the large packages already.

Importing PyTorch, numba and our own modules takes a program three seconds, and the tests start some two hundred. Every
process of tests has one process, started when first needed, that imports and then does nothing but fork: what a program
leaves behind in memory reaches no other. Tests of starting itself (signals, workers, a run from a bare shell) use
``subprocess``.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 12  # characters of an answer
LARGE = (
    "torch", "safetensors.torch", "typer", "rich", "run", "main", "learners.value_learner", "modules.comm.lmac",
    "runners.vector_runner",
)  # fmt: skip

_server: subprocess.Popen[str] | None = None


def run_python(words: Sequence[object], timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Returns what ``subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT)`` would.

    The environment is that of the tests, with one thread for PyTorch and wide lines. Variables that Python reads when
    it starts, as PYTHONPATH, count only if they were set before the first call.

    Args:
        words: a script or ``-m module`` or ``-c code``, then its arguments.
        timeout: seconds, after which the program is killed.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    command = [str(word) for word in words]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [str(Path(folder) / name) for name in ("stdout", "stderr")]
        request = {"words": command, "environment": _environment(), "outputs": outputs}
        server = _running()
        assert server.stdin is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        pid = _answer(server)
        try:
            code = _answer(server, timeout)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            _answer(server)
            raise subprocess.TimeoutExpired([sys.executable, *command], timeout) from None
        said = [Path(output).read_text() for output in outputs]
    return subprocess.CompletedProcess([sys.executable, *command], code, *said)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def _running() -> subprocess.Popen[str]:
    """Returns the process that forks, which is started if there is none."""
    global _server
    if _server is None or _server.poll() is not None:
        command = [sys.executable, "-m", "tests.preloaded"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        _server = subprocess.Popen(command, cwd=ROOT, env=_environment(), **pipes)
        atexit.register(_server.communicate)  # the end of its input ends it
    return _server


def _answer(server: subprocess.Popen[str], timeout: float = 600) -> int:
    """Returns the next number that the process says."""
    assert server.stdout is not None
    if not select.select([server.stdout], [], [], timeout)[0]:
        raise TimeoutError
    said = os.read(server.stdout.fileno(), WIDTH)
    if not said:
        raise ChildProcessError("the process that forks has ended; its error stands above")
    return int(said)


def serve() -> None:
    """Forks a program for every request on standard input; says its number, and its exit code once it has ended."""
    sys.path.insert(0, str(ROOT / "src"))
    _import()
    gc.freeze()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads must not fork"
    answers = os.dup(1)
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            _become(json.loads(line))
            return
        os.write(answers, f"{pid:{WIDTH}}".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(answers, f"{code:{WIDTH}}".encode())


def _import() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sacred imports pkg_resources
        import sacred  # noqa: F401
    for name in LARGE:
        importlib.import_module(name)
    mlp_kernels = importlib.import_module("epymarl_lmac.learning.mlp_kernels")
    array = np.zeros((1, 1), dtype=np.float32)
    mlp_kernels.add_bias(array, array[0], False)  # the first compiled loop has numba import the rest of itself


def _become(request: dict[str, Any]) -> None:
    """Does what a request asks for, as this process's main program."""
    for number, path in enumerate([os.devnull, *request["outputs"]]):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["environment"])
    first, *rest = request["words"]
    folder = str(Path(first).resolve().parent) if not first.startswith("-") else str(ROOT)
    sys.path[:2] = [folder]  # in place of src and of where this module was found
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = [first, *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = request["words"]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    serve()
