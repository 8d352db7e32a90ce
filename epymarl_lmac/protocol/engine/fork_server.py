"""The process that makes children: it has loaded PyTorch, has never seen a text, and forks one child for each request.

Started as a script in a fresh interpreter. Requests come over a socket on standard input, each with the descriptor
that its answer goes to. A child sees what this process saw before the first text, so nothing passes from one text to
the next. It ends with its parent: the socket closes then.

Protocol of the socket: the parent sends a length (8 bytes), the request as JSON and the descriptor; this process
answers with a line of JSON ``{"pid": ...}``; the parent sends one byte when it has read enough; this process kills
whatever is left of the child, waits for it and answers ``{"status": ...}``.
"""

import ctypes
import gc
import importlib.machinery
import json
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import time
import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

GRACE_S = 0.1  # seconds for ending by itself after the answer
IDLE_S = 600.0  # seconds without a request after which this process ends
_PDEATHSIG, _CHILD_SUBREAPER = 1, 36


def load(name: str) -> types.ModuleType:
    """Returns a module beside this file."""
    path = Path(__file__).resolve().with_name(f"{name}.py")
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = types.ModuleType(name)
    module.__file__ = str(path)
    loader.exec_module(module)
    return module


def set_limits(limits: Mapping[str, int], without: Collection[str]) -> None:
    """Lowers this process's limits for good.

    Args:
        limits: values by the name of the limit; RLIMIT_AS counts from what is mapped already.
        without: limits to leave out.
    """
    for name, value in limits.items():
        if name in without:
            continue
        if name == "RLIMIT_AS":
            value += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def live(child: types.ModuleType, isolation: types.ModuleType, request: dict[str, Any], answer_fd: int) -> None:
    """Runs in the child: locks it in, answers, and ends without running anything that the text left behind."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.dup2(answer_fd, 3)
    os.closerange(4, 65536)
    os.environ.clear()
    os.chdir(request["folder"])
    without = request.get("without", [])
    set_limits(request["limits"], without)
    sys.setrecursionlimit(3000)
    in_force = isolation.isolate(request["folder"], without)
    data = memoryview(child.answer(request, sorted(name for name, ok in in_force.items() if not ok)))
    while data:
        data = data[os.write(3, data) :]


def clear_away(pid: int) -> int | None:
    """Kills the child's group and every process that came out of it; returns the child's status, None if it ran on."""
    end = time.monotonic() + GRACE_S
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < end:
        time.sleep(0.002)
    ran_on = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    status = None
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)  # it did not get as far as its own group
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        # Orphans of the child became children of this process.
        for other in children.read_text().split() if children.exists() else []:
            os.kill(int(other), signal.SIGKILL)
        try:
            ended, code = os.waitpid(-1, 0)
        except ChildProcessError:
            return status
        if ended == pid:
            status = None if ran_on else os.waitstatus_to_exitcode(code)


def read_exactly(connection: socket.socket, size: int) -> bytes | None:
    """Returns so many bytes, or None if the parent is gone."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            return None
        data += piece
    return data


def serve(connection: socket.socket, child: types.ModuleType, isolation: types.ModuleType) -> None:
    """Answers requests until the parent is gone or has been silent for long."""
    while True:
        connection.settimeout(IDLE_S)
        try:
            head, fds, _, _ = socket.recv_fds(connection, 8, 1)
        except TimeoutError:
            return
        connection.settimeout(None)
        if len(head) < 8:
            return
        body = read_exactly(connection, struct.unpack("<Q", head)[0])
        if body is None:
            return
        pid = os.fork()
        if pid == 0:
            try:
                live(child, isolation, json.loads(body), fds[0])
            finally:
                os._exit(0)
        os.close(fds[0])
        connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        over = connection.recv(1)
        status = clear_away(pid)
        if not over:
            return
        connection.sendall(json.dumps({"status": status}).encode() + b"\n")


def main() -> None:
    ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    connection = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    child, isolation = load("child"), load("isolation")
    with tempfile.TemporaryDirectory(prefix="protocol-") as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # PyTorch's compiler makes a folder when it is loaded
        child.warm_up()
    gc.collect()
    gc.freeze()  # the collector of a child leaves alone what it shares with this process
    connection.sendall(b'{"ready": true}\n')
    serve(connection, child, isolation)


if __name__ == "__main__":
    main()
