"""Runs jobs in forked processes, one a core: decoders of several seeds, trained at the same time on shared memory.

Written by hand because a forked child inherits the collected episodes, which may be gigabytes, where joblib pickles
them for every worker; and because a child here ends with its parent, however that ends.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import traceback
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

import torch

T = TypeVar("T")
_PDEATHSIG = 1


def _work(job: Callable[[], T], answer: Connection, parent: int) -> None:
    """Runs in the child: does one job and sends its result, or the text of its error."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # ends with its parent
    if os.getppid() != parent:
        os._exit(1)
    torch.set_num_threads(1)  # the threads of the parent did not come along
    try:
        content = pickle.dumps((True, job()))
    except Exception:
        content = pickle.dumps((False, traceback.format_exc()))
    answer.send_bytes(content)
    answer.close()


def side_by_side(jobs: Sequence[Callable[[], T]], n_processes: int) -> list[T]:
    """Returns the results of all jobs, in their order.

    Args:
        jobs: functions without arguments whose results can be pickled. Children inherit what they refer to.
        n_processes: at most so many at a time; with 1, or one job, everything runs in this process.

    Raises:
        RuntimeError: a job failed, with its traceback, or its process was killed (for memory, most often).
    """
    if n_processes <= 1 or len(jobs) <= 1:
        return [job() for job in jobs]
    context = multiprocessing.get_context("fork")
    results: dict[int, T] = {}
    waiting = list(enumerate(jobs))[::-1]
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < n_processes:
                index, job = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_work, args=(job, theirs, os.getpid()))
                with warnings.catch_warnings():
                    # Python 3.12 warns of forks beside threads; PyTorch's idle ones are not used by the child.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    process.start()
                theirs.close()
                running[ours] = (index, process)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                index, process = running[ready]
                try:
                    good, value = pickle.loads(ready.recv_bytes())  # from a child of ours
                except EOFError:
                    process.join()
                    raise RuntimeError(
                        f"Job {index} of {len(jobs)} ended early (exit code {process.exitcode}), most often for lack "
                        "of memory: set OMP_NUM_THREADS=1 to have one at a time."
                    ) from None
                process.join()
                del running[ready]
                ready.close()
                if not good:
                    raise RuntimeError(f"Job {index} of {len(jobs)} failed:\n{value}")
                results[index] = value
    finally:
        for connection, (_, process) in running.items():
            process.kill()
            process.join()
            connection.close()
    return [results[index] for index in range(len(jobs))]
