"""How long the messages of one step take: what a bundle adds to acting."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from epymarl_lmac.protocol import Program

NUM_ENVS = 16
REPEATS = 20


def message_milliseconds(programs: Sequence[Program], num_envs: int = NUM_ENVS, repeats: int = REPEATS) -> list[float]:
    """Returns the median time of one message step of every program, in milliseconds.

    Args:
        programs: as acting runs them, each on its own input of zeros.
        num_envs: environments that act side by side.
        repeats: runs that are timed, after one that is not.
    """
    found = []
    for program in programs:
        x = torch.zeros(program.spec.input_shape(num_envs))
        seconds = []
        with torch.no_grad():
            program.message(x)
            for _ in range(repeats):
                began = time.perf_counter()
                program.message(x)
                seconds.append(time.perf_counter() - began)
        found.append(1000 * statistics.median(seconds))
    return found


def describe_cost(steps: Sequence[int], programs: Sequence[Program]) -> str:
    """Returns a line that says how long a message step takes on this machine.

    Args:
        steps: the k of every program.
        programs: in the same order.
    """
    times = message_milliseconds(programs)
    parts = ", ".join(f"k = {k} {ms:.2f} ms" for k, ms in zip(steps, times, strict=True))
    threads = torch.get_num_threads()
    return f"time of a message step in {NUM_ENVS} environments side by side, {threads} thread(s): {parts}"
