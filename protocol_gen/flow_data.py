"""What all messages of a design carry: waste, found on recorded episodes, and who tells whom, from the flow map.

``profile`` is the one function that the rest of the package calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from epymarl_lmac.awareness.inputs import Episodes, extended_obs, messages
from epymarl_lmac.errors import BundleError
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.protocol import Program
from epymarl_lmac.protocol.analysis.flow import flow_map
from epymarl_lmac.protocol.analysis.profile import FLOAT_BITS, profile_program

MAX_WINDOWS = 512  # histories on which bits are counted


def _columns_equal(a_RC: Tensor, b_RK: Tensor) -> Tensor:
    """Returns which columns of b equal each column of a in every row, bool (C, K)."""
    return torch.stack([(a_RC[:, c : c + 1] == b_RK).all(0) for c in range(a_RC.shape[1])])


def _duplicates(received: Tensor, named: Sequence[str]) -> list[dict[str, Any]]:
    same = _columns_equal(received, received)
    found = []
    for column in range(received.shape[1]):
        first = int(same[column].float().argmax())
        if first < column:
            found.append({"column": named[column], "of": named[first]})
    return found


def _influence(program: Program) -> list[list[int]]:
    """Returns for every sender and receiver how many message columns depend on the sender's x.

    A program whose flow is too large to be followed is taken to tell everything to everybody.
    """
    N = program.spec.n_agents
    try:
        return flow_map(program).senders().sum(1).T.tolist()
    except BundleError:
        return [[program.message_dim] * N for _ in range(N)]


def _bits(program: Program, x_PND: Tensor, packing: Packing, layout: XLayout) -> int:
    """Returns the bits a step of the receiver that gets most, as a profile counts them."""
    data = x_PND
    if program.spec.history is not None:
        chosen = torch.randperm(len(x_PND), generator=torch.Generator().manual_seed(6))[:MAX_WINDOWS]
        data = layout.histories(x_PND, packing.history(program.spec.history)[chosen])
    try:
        return int(profile_program(program, data).bits.sum(0).max())
    except BundleError:
        return program.message_dim * FLOAT_BITS


def profile(
    programs: Sequence[Program], episodes: Episodes, layout: XLayout, steps: Sequence[int] | None = None
) -> dict[str, Any]:
    """Returns what the messages of some programs carry on recorded episodes.

    Args:
        programs: k = 0 first.
        episodes: a few dozen recorded episodes.
        layout: of x.
        steps: the k of every program; None is 0, 1, ...

    Returns:
        Plain values: ``steps``, ``columns`` a receiver and program gets, ``bits_per_step`` of the receiver that gets
        most,
        ``constant`` columns, ``duplicate`` columns (with the one they repeat, of any program), ``already_known``
        columns (the receiver's own x has them, for every receiver), and ``influence``: for every program a sender x
        receiver table of columns that depend on the sender.
    """
    steps = list(range(len(programs))) if steps is None else list(steps)
    packing = episodes.packing()
    with torch.no_grad():
        x = extended_obs(episodes, packing, layout)
        P, N, D = x.shape
        parts = [messages([program], x, packing, layout) for program in programs]
        names = [f"k{k}[{c}]" for k, part in zip(steps, parts, strict=True) for c in range(part.shape[-1])]
        heard = torch.cat(parts, dim=-1) if parts else x.new_zeros(P, N, 0)
        flat, own = heard.reshape(P * N, -1), x.reshape(P * N, D)
        constant = [names[c] for c in range(len(names)) if bool((flat[:, c] == flat[0, c]).all())]
        varying = [c for c in range(len(names)) if names[c] not in set(constant)]
        kept, kept_names = flat[:, varying], [names[c] for c in varying]
        known = _columns_equal(kept, own) if varying else torch.zeros(0, D, dtype=torch.bool)
    return {
        "steps": steps,
        "columns": [part.shape[-1] for part in parts],
        "bits_per_step": [_bits(program, x, packing, layout) for program in programs],
        "constant": constant,
        "duplicate": _duplicates(kept, kept_names) if varying else [],
        "already_known": [
            {"column": kept_names[c], "x": int(row.float().argmax())} for c, row in enumerate(known) if row.any()
        ],
        "influence": [_influence(program) for program in programs],
    }


def describe_profile(found: dict[str, Any], x_names: Sequence[str]) -> str:
    """Returns a profile in words, for prompts."""
    if not found["columns"]:
        return "Nothing is sent yet."
    sizes = ", ".join(f"k = {k}: {n}" for k, n in zip(found["steps"], found["columns"], strict=True))
    lines = [f"Numbers that each receiver gets a step: {sizes}."]
    duplicates = [f"{d['column']} repeats {d['of']}" for d in found["duplicate"]]
    known = [f"{d['column']} is the receiver's own {x_names[d['x']]}" for d in found["already_known"]]
    for title, items in (
        ("Columns that never change (they tell nothing)", found["constant"]),
        ("Columns that repeat another column", duplicates),
        ("Columns that every receiver already has", known),
    ):
        shown = ", ".join(items[:40]) + (f" and {len(items) - 40} more" if len(items) > 40 else "")
        lines.append(f"{title}: {shown or 'none'}.")
    for k, table in zip(found["steps"], found["influence"], strict=True):
        lines.append(f"k = {k}, columns of a receiver that depend on a sender's x:")
        lines += [
            f"  sender {s}: " + ", ".join(f"to {r}: {n}" for r, n in enumerate(row)) for s, row in enumerate(table)
        ]
    return "\n".join(lines)
