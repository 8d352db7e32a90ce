"""Profiles and verdicts as tables and lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from epymarl_lmac.protocol.analysis.profile import FEW, Profile
from epymarl_lmac.protocol.commands.check import Verdict
from epymarl_lmac.protocol.engine.bundle import Bundle
from epymarl_lmac.protocol.engine.spec import ProtocolSpec

KINDS = ("constant", "own", "duplicate", "single", "aggregate")
MEANINGS = {
    "constant": "always the same value",
    "own": "the receiver has it already",
    "duplicate": "equal to an earlier column",
    "single": "from one other agent",
    "aggregate": "from several other agents",
}


def summary_table(bundle: Bundle, profiles: Sequence[Profile]) -> Table:
    """Returns a bundle in one table."""
    schema = bundle.manifest["task_schema"]
    size = f"N={schema['n_agents']}, D={bundle.programs[0].spec.x_dim}"
    title = f"{schema['env']} {schema['task']}: {size}"
    table = Table(title=title, title_justify="left")
    for name in ("protocol", "sees", "operations", "numbers a receiver", "floats a step", "bits a step"):
        table.add_column(name, justify="left" if name in ("protocol", "sees") else "right")
    for k, program, profile in zip(bundle.steps, bundle.programs, profiles, strict=True):
        steps = program.spec.history
        table.add_row(
            f"k={k}",
            "current step" if steps is None else f"last {steps} steps",
            str(len(program.operations)),
            str(profile.message_dim),
            str(int(profile.floats.sum())),
            str(int(profile.bits.sum())),
        )
    return table


def kind_table(name: str, profile: Profile) -> Table:
    """Returns how many message columns are of which kind, over all receivers."""
    title = f"{name}: message columns of all receivers, {profile.rows} rows, {profile.data}"
    table = Table(title=title, title_justify="left")
    for head in ("kind", "columns", "meaning"):
        table.add_column(head, justify="right" if head == "columns" else "left")
    for kind in KINDS:
        table.add_row(kind, str(profile.count(kind)), MEANINGS[kind])
    return table


def pair_table(name: str, profile: Profile) -> Table:
    """Returns floats and bits a step of every ordered pair; many agents are summed up by sender."""
    if profile.n_agents > 8:
        table = Table(title=f"{name}: by sender, to all receivers", title_justify="left")
        for head in ("sender", "receivers", "floats", "raw floats", "bits"):
            table.add_column(head, justify="right")
        for s in range(profile.n_agents):
            sums = (profile.floats[s].sum(), profile.raw_floats[s].sum(), profile.bits[s].sum())
            table.add_row(str(s), str(int((profile.floats[s] > 0).sum())), *(str(int(value)) for value in sums))
        return table
    table = Table(title=f"{name}: floats / bits a step, sender in rows, receiver in columns", title_justify="left")
    table.add_column("from")
    for r in range(profile.n_agents):
        table.add_column(f"to {r}", justify="right")
    for s in range(profile.n_agents):
        cells = ["" if s == r else f"{profile.floats[s, r]} / {profile.bits[s, r]}" for r in range(profile.n_agents)]
        table.add_row(str(s), *cells)
    return table


def column_table(name: str, profile: Profile, history: int | None) -> Table:
    """Returns every message column of every receiver."""
    table = Table(title=f"{name}: message columns", title_justify="left")
    for head in ("receiver", "column", "kind", "senders", "steps ago", "values", "bits", "equal to"):
        table.add_column(head)
    for c in profile.columns:
        ages = ", ".join(map(str, c.steps)) if history is not None else ("0" if c.steps else "")
        values = f"more than {FEW}" if c.distinct > FEW else str(c.distinct)
        senders = ", ".join(map(str, c.senders))
        table.add_row(str(c.receiver), str(c.column), c.kind, senders, ages, values, str(c.bits), c.equal_to)
    return table


def verdict_lines(verdict: Verdict, name: str, spec: ProtocolSpec, text: str) -> list[str]:
    """Returns a verdict in words, with the line it is about."""
    shape = ", ".join(map(str, spec.input_shape(1)[1:]))
    timings = ", ".join(f"{part} {value:.2f} s" for part, value in verdict.seconds.items())
    if verdict.accepted:
        head = f"accepted: {name} for input (B, {shape}), {verdict.message_dim} numbers a receiver"
        lines = [head, f"{verdict.explanation} {verdict.operations} operations.", f"time: {timings}"]
        return [*lines, f"no profile: {verdict.no_profile}"] if verdict.no_profile else lines
    place = "" if verdict.line is None else f", line {verdict.line}"
    place += "" if verdict.column is None else f", column {verdict.column}"
    lines = [f"rejected: {name} at layer {verdict.layer}{place}", verdict.explanation]
    source = text.splitlines()
    if verdict.line is not None and 0 < verdict.line <= len(source):
        lines.append(f"  {verdict.line} | {source[verdict.line - 1].strip()[:200]}")
    shown = f"{verdict.snippet!r}: " if verdict.snippet else ""
    return [*lines, f"reason: {shown}{verdict.reason}", f"time: {timings}"]
