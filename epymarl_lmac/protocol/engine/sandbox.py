"""The child process in which a protocol's text runs: used once, no environment, limits, a deadline.

``fork_server.py`` makes the children, ``child.py`` is what one does, ``isolation.py`` and ``syscalls.py`` have what the
kernel adds: no network, no files but the interpreter's own, no calls but those that computing needs. ``detect`` finds
which of these this machine offers; where one is missing a child still runs, unless the request asks for ``strict``.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from epymarl_lmac.errors import ProtocolRejected, UserError

FORK_SERVER = Path(__file__).with_name("fork_server.py")
ISOLATION = Path(__file__).with_name("isolation.py")
LAYER = "sandbox"
_log = logging.getLogger(__name__)
START_S = 300.0  # seconds that loading PyTorch may take; a minute was seen on two cores with sixteen busy processes
END_S = 10.0  # seconds that clearing a child away may take
DETECT_S = 60.0  # seconds that trying the measures of isolation may take


class SandboxUnavailable(UserError):
    """This machine cannot run a text as asked, whatever the text says: no child starts, or a measure is missing."""


@dataclass(frozen=True)
class ChildLimits:
    """What one child may use."""

    # Seconds until the whole process group is killed. What a text may compute is bounded by cpu_s; this bounds waiting,
    # its own and that for a busy machine.
    wall_s: float = 180.0
    cpu_s: int = 60  # processor seconds
    memory_bytes: int = 3 * 2**30  # address space beyond what PyTorch itself maps
    file_bytes: int = 2**20  # size of any file it writes
    open_files: int = 64  # descriptors
    answer_bytes: int = 256 * 2**20  # length of the answer

    def resource_limits(self) -> dict[str, int]:
        """Returns the kernel's limits by name."""
        return {
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_NPROC": 0,  # no processes and threads; not kept by the kernel for root, whom seccomp stops
            "RLIMIT_CORE": 0,
        }


def _read_answer(fd: int, deadline: float, limit: int) -> bytes:
    """Returns what the child writes, up to the length that it announces.

    Raises:
        ProtocolRejected: at the deadline or past the limit.
    """
    data = bytearray()
    expected = 16
    while len(data) < expected:
        left = deadline - time.monotonic()
        ready = select.select([fd], [], [], max(0.0, left))[0] if left > 0 else []
        if not ready:
            raise ProtocolRejected(LAYER, "the protocol did not finish in time; look for endless or very long loops.")
        chunk = os.read(fd, min(1 << 20, expected - len(data)))
        if not chunk:
            break
        data += chunk
        if len(data) == 16:
            expected += sum(struct.unpack("<QQ", data))
            if expected > limit:
                raise ProtocolRejected(LAYER, f"the program is larger than {limit} bytes.")
    return bytes(data)


def detect() -> dict[str, bool]:
    """Returns which measures of isolation this machine offers, by trying them in a process of their own.

    Raises:
        SandboxUnavailable: that process cannot be started, or does not end.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="protocol-") as folder:
            done = subprocess.run(
                [sys.executable, "-I", "-B", str(ISOLATION)],
                cwd=folder,
                env={},
                capture_output=True,
                text=True,
                timeout=DETECT_S,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise SandboxUnavailable(
            f"The measures of isolation cannot be tried on this machine: {err}. No text was run; try again when the "
            "machine is less busy, and look at its free memory and the space in its temporary folder."
        ) from err
    return json.loads(done.stdout) if done.returncode == 0 else {"isolation": False}


def _no_child(reason: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        f"No child can be started on this machine to run a protocol's text. {reason.strip()} The text was not judged; "
        "look at free memory, the limit of processes and the space in the temporary folder, then run it again."
    )


@functools.cache
def missing_measures() -> tuple[str, ...]:
    """Returns which measures of isolation this machine lacks; says so once, where there are any."""
    missing = tuple(sorted(name for name, ok in detect().items() if not ok))
    if missing:
        _log.warning(
            "PROTOCOL TEXTS RUN WITHOUT FULL ISOLATION: this machine does not offer %s. Run texts of strangers "
            "elsewhere, or refuse them with strict mode; `epymarl-lmac doctor` lists every measure.",
            ", ".join(missing),
        )
    return missing


class ForkServer:
    """A process that has loaded PyTorch and forks a child for each request; see ``fork_server.py``.

    Not for use by several threads at once; ``run_child`` takes care of that.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.owner = os.getpid()
        self.connection = ours
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            try:
                errors = stack.enter_context(tempfile.TemporaryFile())
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-B", str(FORK_SERVER)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as err:
                ours.close()
                raise _no_child(str(err)) from err
            theirs.close()
            if self._line(START_S) is None:
                is_late = self.process.poll() is None
                self.close()
                errors.seek(0)
                last = errors.read()[-400:].decode(errors="replace").strip().split("\n")[-1]
                if is_late:
                    last = f"PyTorch was not loaded in {START_S:g} s; try again when the machine is less busy. {last}"
                raise _no_child(last)

    def _line(self, seconds: float) -> dict[str, Any] | None:
        """Returns the next line that the process says, None if it is gone or silent."""
        data = b""
        self.connection.settimeout(seconds)
        try:
            while not data.endswith(b"\n"):
                piece = self.connection.recv(1)
                if not piece:
                    return None
                data += piece
        except OSError:
            return None
        return json.loads(data)

    def run(self, request: dict[str, Any], limits: ChildLimits) -> tuple[bytes, int | None]:
        """Returns a child's answer and its status; raises ProtocolRejected at a limit. The child is gone then."""
        read_end, write_end = os.pipe()
        body = json.dumps(request).encode()
        try:
            deadline = time.monotonic() + limits.wall_s
            try:
                socket.send_fds(self.connection, [struct.pack("<Q", len(body))], [write_end])
                self.connection.sendall(body)
            finally:
                os.close(write_end)
            if self._line(END_S) is None:
                raise BrokenPipeError
            status = None
            try:
                answer = _read_answer(read_end, deadline, limits.answer_bytes)
            finally:
                self.connection.sendall(b".")
                ended = self._line(END_S)
                if ended is None:
                    self.close()
                else:
                    status = ended["status"]
            return answer, status
        finally:
            os.close(read_end)

    def close(self) -> None:
        """Ends the process; a child that still runs ends with it."""
        self.connection.close()
        if self.owner == os.getpid():  # a forked copy of this process must leave it alone
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


_lock = threading.Lock()
_server: ForkServer | None = None


def close_fork_server() -> None:
    """Ends the process that makes children, if there is one; the next request starts another."""
    global _server
    with _lock:
        if _server is not None:
            _server.close()
            _server = None


atexit.register(close_fork_server)


def _run_in_fork_server(request: dict[str, Any], limits: ChildLimits) -> tuple[bytes, int | None]:
    global _server
    with _lock:
        for attempt in range(2):
            if _server is None or _server.owner != os.getpid() or _server.process.poll() is not None:
                if _server is not None:
                    _server.close()
                _server = ForkServer()
            try:
                return _server.run(request, limits)
            except OSError as err:  # it had just ended, being idle
                _server.close()
                _server = None
                if attempt:
                    raise _no_child(f"The process that makes children ended: {err}.") from err
    raise AssertionError("unreachable")


def _ending(status: int | None, limits: ChildLimits) -> str:
    """Returns why a child gave no answer."""
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return (
            f"the protocol used more than {limits.cpu_s} s of processor time, or the machine ran out of memory; "
            "look for very long loops and huge sizes."
        )
    if status is not None and status < 0:
        return f"the child was ended by {signal.Signals(-status).name}; look for deep recursion and huge sizes."
    if status is None:
        return "the child gave no answer."
    return f"the child ended with status {status} and no answer."


def run_child(request: dict[str, Any], limits: ChildLimits) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Runs one request in a child of its own.

    Args:
        request: text, shape, probes and strict, as ``child.py`` expects; "without" names measures and limits to
            leave out, for tests.
        limits: what it may use.

    Returns:
        The child's header and its tensors.

    Raises:
        ProtocolRejected: the child refused the text, died, or broke a limit. No process of it is left behind.
        SandboxUnavailable: no child can be started, or one of the measures that the request wants is missing.
    """
    missing_measures()
    try:
        temporary = tempfile.TemporaryDirectory(prefix="protocol-")
    except OSError as err:
        raise _no_child(f"A temporary folder cannot be made: {err}.") from err
    with temporary as folder:
        answer, status = _run_in_fork_server({**request, "limits": limits.resource_limits(), "folder": folder}, limits)
    if len(answer) < 16:
        raise ProtocolRejected(LAYER, _ending(status, limits))
    head_size, data_size = struct.unpack("<QQ", answer[:16])
    if len(answer) != 16 + head_size + data_size:
        raise ProtocolRejected(LAYER, "the child's answer is incomplete.")
    try:
        header = json.loads(answer[16 : 16 + head_size])
        if not header["ok"] and header["layer"] == LAYER and request.get("strict", False):
            raise SandboxUnavailable(
                f"{str(header['reason'])[:1000]} The text was not run; use a machine that has every measure of "
                "isolation (`epymarl-lmac doctor` lists them), or do without strict mode."
            )
        if not header["ok"]:
            raise ProtocolRejected(str(header["layer"])[:20], str(header["reason"])[:1000], header["line"])
        return header, safetensors.torch.load(answer[16 + head_size :])
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as err:
        raise ProtocolRejected(LAYER, f"the child's answer cannot be read: {str(err)[:200]}") from err
