"""What a design found, read from its work folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from epymarl_lmac.awareness.inputs import XLayout
from epymarl_lmac.awareness.measure import Recovery
from epymarl_lmac.protocol import Bundle
from protocol_gen.flow_data import profile
from protocol_gen.ledger import read_json
from protocol_gen.trajectories import read as read_trajectories

STEPS = (0, 1, 2)
NONE = "no messages"
KINDS = ("k = 0", "k = 0, 1", "k = 0, 1, 2")  # what decoders hear after each step
PROFILED_EPISODES = 32


def results(work: Path) -> list[tuple[str, Recovery, dict[str, Any] | None]]:
    """Returns what was measured, step by step: what decoders hear, the figures, and the choice made.

    Args:
        work: the work folder of a finished design.
    """
    found: list[tuple[str, Recovery, dict[str, Any] | None]] = []
    found.append((NONE, Recovery.from_dict(read_json(work / "none.json")), None))
    for k in STEPS:
        choice = read_json(work / f"k{k}" / "chosen.json")
        found.append((KINDS[k], Recovery.from_dict(choice["recovery"]), choice))
    return found


def stage_seconds(work: Path) -> dict[str, float]:
    """Returns the seconds of collection, decoder training, and everything else."""
    seconds = read_json(work / "stages.json")
    decoders = sum(s for name, s in seconds.items() if name.endswith("/measure"))
    collection = seconds.get("collect", 0.0)
    return {"collection": collection, "decoders": decoders, "the rest": sum(seconds.values()) - collection - decoders}


def summary(work: Path) -> str:
    """Returns the figures of all steps as a markdown table."""
    lines = ["| hears | success | off the mode | imbalance | off the mode | skill | converged | attempts |"]
    lines.append("|" + " --- |" * 8)
    for kind, r, choice in results(work):
        attempts = "" if choice is None else str(choice["attempts"]) + (" (dropped)" if choice["dropped"] else "")
        cells = [
            kind,
            f"{r.success:.3f} +- {r.success_spread:.3f}",
            f"{r.success_off_mode:.3f} +- {r.success_off_mode_spread:.3f}",
            f"{r.imbalance:.5f} +- {r.imbalance_spread:.5f}",
            f"{r.imbalance_off_mode:.5f}",
            f"{r.skill:.3f} +- {r.skill_spread:.3f}",
            "yes" if r.converged else f"no ({r.n_unconverged} decoders)",
            attempts,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    parts = ", ".join(f"{name} {s:.0f} s" for name, s in stage_seconds(work).items())
    return "\n".join([*lines, "", f"time by part: {parts}"])


def profile_of(bundle: Bundle, trajectories: Path, layout: XLayout) -> dict[str, Any]:
    """Returns what a bundle's messages carry on recorded episodes."""
    train, _, _ = read_trajectories(trajectories)
    return profile(bundle.programs, train.spread(PROFILED_EPISODES), layout)
