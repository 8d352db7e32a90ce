"""The child process in which a protocol's text runs: fresh interpreter, no environment, limits, a deadline.

``isolation.py`` has what the kernel adds: no network, no files but the interpreter's own, no new privileges. What is
in force is found by ``detect``; without it a child still runs, unless the request asks for ``strict``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from epymarl_lmac.errors import ProtocolRejected

CHILD = Path(__file__).with_name("child.py")
ISOLATION = Path(__file__).with_name("isolation.py")
LAYER = "sandbox"


@dataclass(frozen=True)
class ChildLimits:
    """What one child may use."""

    wall_s: float = 60.0  # seconds until the whole process group is killed
    cpu_s: int = 60  # processor seconds
    memory_bytes: int = 12 * 2**30  # address space; PyTorch alone maps several GiB
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
            "RLIMIT_CORE": 0,
        }


def _read_answer(fd: int, deadline: float, limit: int) -> bytes:
    """Returns all that the child writes; raises ProtocolRejected at the deadline or past the limit."""
    chunks: list[bytes] = []
    size = 0
    while True:
        left = deadline - time.monotonic()
        ready = select.select([fd], [], [], max(0.0, left))[0] if left > 0 else []
        if not ready:
            raise ProtocolRejected(LAYER, "the protocol did not finish in time; look for endless or very long loops.")
        chunk = os.read(fd, 1 << 20)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise ProtocolRejected(LAYER, f"the program is larger than {limit} bytes.")


def detect() -> dict[str, bool]:
    """Returns which measures of isolation this machine offers, by trying them in a process of their own."""
    with tempfile.TemporaryDirectory(prefix="protocol-") as folder:
        done = subprocess.run(
            [sys.executable, "-I", "-B", str(ISOLATION)],
            cwd=folder,
            env={},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    return json.loads(done.stdout) if done.returncode == 0 else {"isolation": False}


def run_child(request: dict[str, Any], limits: ChildLimits) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Runs one request in a fresh child.

    Args:
        request: what ``child.py`` expects.
        limits: what it may use.

    Returns:
        The child's header and its tensors.

    Raises:
        ProtocolRejected: the child refused the text, died, or broke a limit. No process is left behind.
    """
    read_end, write_end = os.pipe()
    deadline = time.monotonic() + limits.wall_s
    with tempfile.TemporaryDirectory(prefix="protocol-") as folder, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-I", "-B", str(CHILD), str(write_end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=(write_end,),
            env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HOME": folder, "TMPDIR": folder},
            cwd=folder,
            start_new_session=True,
        )
        os.close(write_end)
        try:
            assert child.stdin is not None
            try:
                child.stdin.write(json.dumps({**request, "limits": limits.resource_limits()}).encode())
                child.stdin.close()
            except BrokenPipeError:
                pass  # it died; its answer or exit says why
            answer = _read_answer(read_end, deadline, limits.answer_bytes)
        finally:
            os.close(read_end)
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        if len(answer) < 16:
            errors.seek(0)
            last = errors.read()[-400:].decode(errors="replace").strip().split("\n")[-1]
            reason = f"the child ended with status {child.returncode} and no answer. {last}"
            raise ProtocolRejected(LAYER, reason)
    head_size, data_size = struct.unpack("<QQ", answer[:16])
    if len(answer) != 16 + head_size + data_size:
        raise ProtocolRejected(LAYER, "the child's answer is incomplete.")
    header = json.loads(answer[16 : 16 + head_size])
    if not header.get("ok"):
        raise ProtocolRejected(str(header["layer"]), str(header["reason"]), header.get("line"))
    return header, safetensors.torch.load(answer[16 + head_size :])
