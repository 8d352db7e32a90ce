"""Many texts in a row: quick, and nothing is left behind."""

import os
import resource
import tempfile
import time
from pathlib import Path

import pytest
from hostile_rows import CHILD, GRAMMAR, D, N, text

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol import ProtocolSpec, build_program
from epymarl_lmac.protocol.engine import sandbox
from epymarl_lmac.protocol.engine.build import Limits
from epymarl_lmac.protocol.engine.sandbox import ChildLimits, close_fork_server

LIMITS = Limits(child=ChildLimits(wall_s=20.0, cpu_s=1), cache=False)
GOOD = text("heard = o.flip(1)\nreturn th.cat([o, heard[..., :2]], dim=-1)")


def processes():
    """Returns the processes under this one, by walking down."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def refuse(row):
    with pytest.raises(ProtocolRejected):
        build_program(row.source, ProtocolSpec(N, D, row.history), LIMITS)


def test_a_thousand_rejected_texts_leave_no_process_file_or_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    close_fork_server()
    others = processes()  # of other tests in this process, e.g. a fork server of environment workers
    in_child = [row for row in CHILD if row.kind in ("raises", "wrong shape", "data-dependent", "mix-up", "wrong type")]
    small = [row for row in GRAMMAR if len(row.source) < 2_000]
    for row in [*in_child[:6], *small]:  # what is loaded on first use
        refuse(row)
    before_bytes, before, descriptors = resident_bytes(), processes(), len(list(Path("/proc/self/fd").iterdir()))
    for number in range(1_000):
        refuse(in_child[number // 50 % len(in_child)] if number % 50 == 0 else small[number % len(small)])
    assert processes() == before and len(set(before) - set(others)) <= 1
    assert list(tmp_path.iterdir()) == [] and len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert resident_bytes() - before_bytes < 30 * 2**20
    close_fork_server()
    assert processes() == others


def test_text_to_callable_is_quick():
    """The bars are 10 s for the first text and 3 s for the next; a busy machine is given more."""
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) * 2)
    close_fork_server()
    seconds = []
    for number in range(3):
        start = time.perf_counter()
        build_program(GOOD.replace("[..., :2]", f"[..., :{number + 1}]"), ProtocolSpec(N, D, None), LIMITS)
        seconds.append(time.perf_counter() - start)
    assert seconds[0] < 10 * busy and max(seconds[1:]) < 3 * busy, seconds


def test_missing_measures_are_said_once_and_loudly(monkeypatch, caplog):
    monkeypatch.setattr(sandbox, "detect", lambda: {"files_locked": False, "no_network": True})
    sandbox.missing_measures.cache_clear()
    try:
        assert sandbox.missing_measures() == sandbox.missing_measures() == ("files_locked",)
    finally:
        sandbox.missing_measures.cache_clear()
    assert caplog.text.count("WITHOUT FULL ISOLATION: this machine does not offer files_locked") == 1
