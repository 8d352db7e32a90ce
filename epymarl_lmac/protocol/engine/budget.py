"""What a program may use: time and memory for a large batch, part of the contract.

Two small runs come first. A program that needs far too much is refused after them, before the large run could use up
the machine's memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol.engine.constant_values import MEMORY_BYTES, tensors_of
from epymarl_lmac.protocol.engine.program import Program

BATCH = 4096  # inputs on which time and memory are measured
_SMALL, _LARGE = 16, 32  # inputs of the runs before


@dataclass(frozen=True)
class ProgramBudget:
    """What a program may use for BATCH inputs."""

    seconds: float = 20.0
    bytes: int = MEMORY_BYTES  # of constants and intermediate tensors that live at the same time


class _OverBudget(Exception):
    """Ends a run that uses too much memory."""


def _bytes(values: list[Any]) -> dict[int, int]:
    """Returns the size of every storage behind the values, views counted once."""
    storages = [tensor.untyped_storage() for value in values for tensor in tensors_of(value)]
    return {storage._cdata: storage.nbytes() for storage in storages}


@torch.no_grad()
def _measure(program: Program, batch: int, limit: float) -> tuple[float, int]:
    """Returns seconds of one run and the most bytes that its intermediate tensors had at the same time.

    The seconds are those of the clock or of the processor, whichever are fewer: on a busy machine the clock counts what
    others compute, with several threads the processor counts each of them.

    The program's steps are applied one after the other, as in any run. A dispatch mode of PyTorch could count the bytes
    instead, but it would load PyTorch's compiler.
    """
    plan = program.plan
    values = plan.values.copy()
    if plan.input_index >= 0:
        values[plan.input_index] = torch.zeros(program.spec.input_shape(batch), device=plan.device)
    given = set(_bytes(values))
    peak, seconds = 0, 0.0
    for step in plan.steps:
        clock, processor = time.perf_counter(), time.process_time()
        values[step.result] = step.apply(values)
        seconds += min(time.perf_counter() - clock, time.process_time() - processor)
        peak = max(peak, sum(size for storage, size in _bytes(values).items() if storage not in given))
        if peak > limit:
            raise _OverBudget
        for ref in step.dead:
            values[ref] = None
    return seconds, peak


def check_budget(program: Program, budget: ProgramBudget | None = None) -> tuple[float, int]:
    """Refuses a program that needs too much time or memory.

    Returns:
        Seconds and bytes for BATCH inputs.

    Raises:
        ProtocolRejected: layer "contract", with what may be used and what to do.
    """
    budget = budget or ProgramBudget()
    allowed = (
        f"{budget.seconds:g} s and {budget.bytes / 2**30:.3g} GiB of memory are accepted for {BATCH} inputs. "
        "Send fewer columns; expand, not repeat."
    )
    constant = sum(_bytes(program.plan.values).values())
    room = budget.bytes - constant
    try:
        if room < 0:
            raise _OverBudget
        _, fewer_bytes = _measure(program, _SMALL, room)
        seconds, more_bytes = _measure(program, _LARGE, room)
        factor = BATCH / _LARGE
        if more_bytes > 3 * fewer_bytes:  # it grows with the square of the batch
            expected = more_bytes * factor**2
        else:
            slope = (more_bytes - fewer_bytes) / (_LARGE - _SMALL)
            expected = more_bytes + slope * (BATCH - _LARGE)
        if expected > 1.1 * room:
            raise _OverBudget
        if seconds * factor <= 50 * budget.seconds:  # else not even tried: small runs are relatively slow
            seconds, used = _measure(program, BATCH, room)
        else:
            seconds, used = seconds * factor, more_bytes
    except _OverBudget as err:
        raise ProtocolRejected("contract", f"the program needs too much memory: {allowed}") from err
    if seconds > budget.seconds:
        raise ProtocolRejected("contract", f"the program needs {seconds:.1f} s: {allowed}")
    return seconds, used + constant
