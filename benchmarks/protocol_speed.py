"""Speed of the protocol engine, one core: from text to callable, and rebuilt programs against the eager originals.

    python benchmarks/protocol_speed.py [--archive FOLDER] [--repeats 15]

Rows: the LBF bundles `forwarding` at B*T = 32*26 rows; a protocol of this file with N = 22 agents and D = 200 at
32*26 and 32*121 rows; and, if --archive names a folder of published modules, those of 2o_20b_vs_2r at these sizes. The
eager original is the text itself, executed here: these texts are trusted. ``messages`` is what training runs: the
program without the receivers' own columns. ``cold`` includes the start of a process and of PyTorch in it, ``warm``
finds them started; the cache of programs is off.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from timing import quartile
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from epymarl_lmac.paths import protocols_root  # noqa: E402
from epymarl_lmac.protocol import Program, ProtocolSpec, build_program  # noqa: E402
from epymarl_lmac.protocol.engine.build import Limits  # noqa: E402
from epymarl_lmac.protocol.engine.sandbox import close_fork_server  # noqa: E402

LIMITS = replace(Limits(), cache=False)
LARGE_SPEC, LARGE_ROWS = ProtocolSpec(22, 200, None), 32 * 121
LBF_ROWS = 32 * 26
HISTORY = 10
LARGE = """
import torch as th


def message_design_instruction():
    return "The nearest three team mates' columns, and the mean of what everybody sees."


def communication(o):
    B, N, D = o.shape
    place = o[..., :2]
    apart = (place.unsqueeze(2) - place.unsqueeze(1)).square().sum(dim=-1) + 1e6 * th.eye(N)
    nearest = apart.argsort(dim=-1)[..., :3]
    rows = nearest.reshape(B, 3 * N, 1).expand(B, 3 * N, 40)
    told = o[..., 10:50].gather(1, rows).reshape(B, N, 120)
    seen = (o[..., 50:150] > 0.5).to(o.dtype)
    mean = seen.mean(dim=1, keepdim=True).expand(B, N, 100)
    return th.cat([o, told, mean], dim=-1)
"""


def eager(text: str) -> Callable[[Tensor], Tensor]:
    """Returns ``communication`` of a trusted text."""
    scope: dict = {}
    exec(compile(text, "<protocol>", "exec"), scope)
    return scope["communication"]


def side_by_side(name: str, text: str, spec: ProtocolSpec, rows: int, repeats: int) -> None:
    """Prints one row: build, eager and rebuilt, in turns so that both see the same machine."""
    start = time.perf_counter()
    program: Program = build_program(text, spec, LIMITS)
    built = time.perf_counter() - start
    original = eager(text)
    o = (torch.rand(spec.input_shape(rows), generator=torch.Generator().manual_seed(0)) > 0.7).float()
    with torch.no_grad():
        if not torch.allclose(program(o), original(o), rtol=1e-5, atol=1e-5):
            raise SystemExit(f"{name}: the rebuilt program differs from its text.")
        theirs, ours, messages = [], [], []
        for _ in range(5):
            theirs.append(quartile(lambda: original(o), repeats))
            ours.append(quartile(lambda: program(o), repeats))
            messages.append(quartile(lambda: program.message(o), repeats))
    a, b, c = 1e3 * min(theirs), 1e3 * min(ours), 1e3 * min(messages)
    print(
        f"{name:34} {rows:6} {spec.n_agents:3} {spec.x_dim:4} {a:10.2f} {b:10.2f} {a / b:6.2f}x {c:10.2f} {built:8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help="folder of published modules, one folder a task")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    start = time.perf_counter()
    build_program(LARGE, LARGE_SPEC, LIMITS)
    cold = time.perf_counter() - start
    start = time.perf_counter()
    build_program(LARGE, LARGE_SPEC, LIMITS)
    warm = time.perf_counter() - start
    print(f"text to callable: cold {cold:.2f} s, warm {warm:.2f} s (budget and contract included)\n")
    names = [("rows", 6), ("N", 3), ("D", 4), ("eager, ms", 10), ("ours, ms", 10), ("ratio", 7)]
    names += [("messages", 10), ("built, s", 8)]
    print(f"{'protocol':34} " + " ".join(name.rjust(width) for name, width in names))
    for task, spec in (("8x8-2p-2f-s1-coop", (2, 35)), ("11x11-6p-4f-s1-coop", (6, 39))):
        for k in range(3):
            text = (protocols_root() / "lbf" / task / "forwarding" / f"k{k}.py").read_text(encoding="utf-8")
            sizes = ProtocolSpec(*spec, HISTORY if k == 2 else None)
            side_by_side(f"lbf {task} k={k}", text, sizes, LBF_ROWS, options.repeats)
    few = max(4, options.repeats // 3)
    for rows in (LBF_ROWS, LARGE_ROWS):
        side_by_side("nearest three (this file)", LARGE, LARGE_SPEC, rows, few)
    if options.archive is None:
        print("published 2o_20b_vs_2r: skipped, no --archive FOLDER")
    else:
        for name in ("comm_init", "comm_update", "comm_update_timestep_wise2"):
            path = options.archive / "2o_20b_vs_2r" / f"{name}.py"
            sizes = ProtocolSpec(22, 200, HISTORY if name.endswith("wise2") else None)
            for rows in (LBF_ROWS, LARGE_ROWS) if sizes.history is None else (LBF_ROWS,):
                side_by_side(f"2o_20b_vs_2r {name[5:]}"[:34], path.read_text(encoding="utf-8"), sizes, rows, few)
    close_fork_server()


if __name__ == "__main__":
    main()
