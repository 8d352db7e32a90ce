"""What differs between two protocols or bundles: texts, message sizes, flow."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.analysis.flow import FlowMap, flow_map
from epymarl_lmac.protocol.analysis.profile import profile_program
from epymarl_lmac.protocol.engine.build import build_program
from epymarl_lmac.protocol.engine.bundle import Bundle
from epymarl_lmac.protocol.engine.program import Program
from epymarl_lmac.protocol.engine.spec import ProtocolSpec

Side = dict[int, tuple[str, Program | None]]  # k -> text and program; None where its sizes are not known


@dataclass
class Change:
    """The differences of one protocol step. Pair arrays are (sender, receiver)."""

    k: int
    lines: list[str] = field(default_factory=list)  # unified diff of the texts
    message_dim: tuple[int | None, int | None] = (None, None)
    floats: tuple[np.ndarray, np.ndarray] | None = None
    bits: tuple[np.ndarray, np.ndarray] | None = None
    inputs: tuple[np.ndarray, np.ndarray] | None = None
    flow: str = ""  # what can be said about the maps as a whole

    @property
    def different(self) -> bool:
        """Returns whether the texts or what they do differ."""
        return bool(self.lines) or self.message_dim[0] != self.message_dim[1] or bool(self.pairs())

    def pairs(self) -> list[dict[str, int]]:
        """Returns the ordered pairs whose figures differ."""
        if (
            self.floats is None
            or self.bits is None
            or self.inputs is None
            or self.floats[0].shape != self.floats[1].shape
        ):
            return []
        figures = {"floats": self.floats, "bits": self.bits, "inputs": self.inputs}
        changed = np.zeros(self.floats[0].shape, dtype=bool)
        for before, after in figures.values():
            changed |= before != after
        return [
            {
                "sender": int(s),
                "receiver": int(r),
                **{
                    f"{name}_{side}": int(pair[i][s, r])
                    for name, pair in figures.items()
                    for i, side in enumerate("ab")
                },
            }
            for s, r in np.argwhere(changed)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "k": self.k,
            "different": self.different,
            "text": self.lines,
            "message_dim": list(self.message_dim),
            "flow": self.flow,
            "pairs": self.pairs(),
        }

    def as_text(self, a: str, b: str) -> str:
        """Returns the differences for people."""
        out = [f"k={self.k}: {'different' if self.different else 'equal'}"]
        if self.lines:
            out += [line.rstrip("\n") for line in self.lines]
        before, after = self.message_dim
        if before is not None or after is not None:
            out.append(f"numbers a receiver gets: {before} -> {after}")
        if self.flow:
            out.append(f"flow: {self.flow}")
        out += [
            f"  {p['sender']} to {p['receiver']}: floats {p['floats_a']} -> {p['floats_b']}, "
            f"bits {p['bits_a']} -> {p['bits_b']}, inputs that reach it {p['inputs_a']} -> {p['inputs_b']}"
            for p in self.pairs()
        ]
        return "\n".join(out)


def _step(path: Path) -> int | None:
    """Returns the k in a name like k1.py."""
    found = re.fullmatch(r"k(\d+)", path.stem)
    return int(found.group(1)) if found else None


def side_of(a: Path, b: Path, k: int | None, sizes: tuple[int, int] | None, history: int | None) -> list[Side]:
    """Reads both sides of a comparison.

    Args:
        a: folder of a bundle, or a text.
        b: the same.
        k: which protocol of a bundle a text is compared with; None takes it from a name like k1.py, else 0.
        sizes: N and D for texts; None takes them from the other side's bundle, if it is one.
        history: L for texts, if not taken from a bundle.

    Raises:
        BundleError: something cannot be read, or the bundle has no protocol k.
        ProtocolRejected: a text is refused.
    """
    bundles = [Bundle.load(path, None) if path.is_dir() else None for path in (a, b)]
    sides: list[Side] = []
    texts = [path for path in (a, b) if not path.is_dir()]
    steps = [step for step in map(_step, texts) if step is not None]
    number = k if k is not None else (steps[0] if steps else 0)
    for path, bundle, other in ((a, bundles[0], bundles[1]), (b, bundles[1], bundles[0])):
        if bundle is not None:
            pairs = dict(zip(bundle.steps, zip(bundle.texts, bundle.programs, strict=True), strict=True))
            if texts and number not in pairs:
                raise BundleError(f"{path} has no protocol k={number}; it has {', '.join(map(str, pairs))}.")
            sides.append({number: pairs[number]} if texts else dict(pairs))
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise BundleError(f"{path} is neither a bundle's folder nor a text: {err}.") from err
        spec = None
        if sizes is not None:
            spec = ProtocolSpec(*sizes, history)
        elif other is not None and number in other.steps:
            spec = other.programs[other.steps.index(number)].spec
        sides.append({number: (text, None if spec is None else build_program(text, spec))})
    return sides


def _whole(a: FlowMap, b: FlowMap) -> str:
    """Returns a sentence on two maps of the same task."""
    if (a.n_agents, a.x_dim) != (b.n_agents, b.x_dim):
        return f"for other sizes, N={a.n_agents}, D={a.x_dim} -> N={b.n_agents}, D={b.x_dim}"
    counts = [int(m.inputs().sum()) for m in (a, b)]
    ages = [sorted({int(m.steps - 1 - s) for s in np.argwhere(m.history())[:, 2]}) for m in (a, b)]
    oldest = [f"{max(age)}" if age else "none" for age in ages]
    return f"inputs that reach a receiver {counts[0]} -> {counts[1]}, oldest step used {oldest[0]} -> {oldest[1]} ago"


def compare(a: Side, b: Side) -> list[Change]:
    """Returns the differences, by protocol step. A step that one side lacks counts as different."""
    changes = []
    for k in sorted({*a, *b}):
        text_a, program_a = a.get(k, ("", None))
        text_b, program_b = b.get(k, ("", None))
        lines = difflib.unified_diff(
            text_a.splitlines(), text_b.splitlines(), f"a/k{k}.py", f"b/k{k}.py", n=2, lineterm=""
        )
        change = Change(k, list(lines))
        programs = (program_a, program_b)
        change.message_dim = tuple(None if p is None else p.message_dim for p in programs)  # type: ignore[assignment]
        if program_a is not None and program_b is not None:
            maps = flow_map(program_a), flow_map(program_b)
            one, two = (profile_program(p, flow=m) for p, m in zip((program_a, program_b), maps, strict=True))
            change.flow = _whole(*maps)
            change.floats, change.bits = (one.floats, two.floats), (one.bits, two.bits)
            change.inputs = one.inputs, two.inputs
        changes.append(change)
    return changes
