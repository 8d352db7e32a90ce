"""What a design found, read from its work folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epymarl_lmac.awareness.ceiling import ALONE, LEARNED, SHARE, TOGETHER, Ceiling
from epymarl_lmac.awareness.measure import Recovery
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.protocol import Bundle
from epymarl_lmac.protocol.engine.signature import MESSAGE
from epymarl_lmac.tasks.posterior import EXACT, SAMPLED
from protocol_gen.flow_data import profile
from protocol_gen.ledger import read_json
from protocol_gen.score import Measured
from protocol_gen.trajectories import read as read_trajectories

STEPS = MESSAGE.numbers
NONE = "no messages"
ASKED = "ceiling_episodes"  # in ceiling.json: the number that was asked for
PROFILED_EPISODES = 32


def kind_of(steps: Sequence[int]) -> str:
    """Returns what decoders hear, in words: "k = 0, 2"."""
    return f"k = {', '.join(map(str, steps))}" if steps else NONE


def results(work: Path) -> list[tuple[str, Recovery, dict[str, Any] | None]]:
    """Returns what was measured, step by step: what decoders hear, the metrics, and the choice made.

    A step that was left out stands in its place, with what was measured of it.

    Args:
        work: the work folder of a finished design.
    """
    none = Measured.from_dict(read_json(work / "none.json")).confirming
    found: list[tuple[str, Recovery, dict[str, Any] | None]] = [(NONE, none, None)]
    kept: list[int] = []
    for k in STEPS:
        choice = read_json(work / f"k{k}" / "chosen.json")
        left_out = " (left out)" if choice["dropped"] else ""
        found.append((kind_of([*kept, k]) + left_out, Recovery.from_dict(choice["recovery"]), choice))
        kept += [] if choice["dropped"] else [k]
    return found


def ceiling_from(values: Mapping[str, Any]) -> Ceiling:
    """Returns what can be known from the content of ``ceiling.json``."""
    return Ceiling.from_dict({key: value for key, value in values.items() if key != ASKED})


def ceiling(work: Path) -> Ceiling | None:
    """Returns what can be known; None where it was not asked for."""
    path = work / "ceiling.json"
    return ceiling_from(read_json(path)) if path.is_file() else None


def stage_seconds(work: Path) -> dict[str, float]:
    """Returns the seconds of collection, decoder training, and everything else."""
    seconds = read_json(work / "stages.json")
    decoders = sum(s for name, s in seconds.items() if name.endswith("/measure"))
    collection = seconds.get("collect", 0.0)
    return {"collection": collection, "decoders": decoders, "the rest": sum(seconds.values()) - collection - decoders}


def summary(work: Path) -> str:
    """Returns the metrics of all steps, and of what can be known, as a markdown table."""
    head = ["hears", "success", "recall off the majority value", "imbalance", "imbalance off the majority value", "R2"]
    head += ["share of what can be known", "converged", "attempts"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    known = ceiling(work)
    ends = [] if known is None else [(ALONE, known.alone, None), (TOGETHER + bound(known), known.together, None)]
    for kind, r, choice in [*results(work), *ends]:
        attempts = "" if choice is None else str(choice["attempts"])
        cells = [
            kind,
            f"{r.success:.3f} +- {r.success_spread:.3f}",
            f"{r.recall:.3f} +- {r.recall_spread:.3f}",
            f"{r.imbalance:.5f} +- {r.imbalance_spread:.5f}",
            f"{r.recall_imbalance:.5f}",
            f"{r.r2:.3f} +- {r.r2_spread:.3f}",
            "" if known is None else percent(known.share(r)),
            "yes" if r.converged else f"no ({r.n_unconverged} decoders)",
            attempts,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    parts = ", ".join(f"{name} {s:.0f} s" for name, s in stage_seconds(work).items())
    return "\n".join([*lines, "", f"time by part: {parts}"])


def percent(share: float) -> str:
    """Returns a share for a table."""
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def bound(known: Ceiling) -> str:
    """Returns what must be said of a ceiling that is not exact."""
    return {EXACT: "", SAMPLED: " (sampled)", LEARNED: " (lower bound)"}[known.form]


def profile_of(bundle: Bundle, trajectories: Path, layout: XLayout) -> dict[str, Any]:
    """Returns what a bundle's messages carry on recorded episodes."""
    train, _, _ = read_trajectories(trajectories)
    return profile(bundle.programs, train.spread(PROFILED_EPISODES), layout, bundle.steps)


def known_scores(known: Ceiling | None, recoveries: Mapping[str, Recovery]) -> dict[str, Any]:
    """Returns the part of a manifest's scores that says what can be known, and how much of it is told."""
    if known is None:
        return {}
    conditions = {
        "form": known.form,
        "note": known.note,
        "episodes_alone_and_together": [known.n_alone, known.n_together],
    }
    shares = {
        kind: {
            "R2": _rounded(known.share(r)),
            "recall_off_majority": _rounded(known.share_of_recall(r)),
            **{f"R2 {name}": _rounded(value) for name, value in known.share_by_group(r).items()},
        }
        for kind, r in recoveries.items()
    }
    return {
        ALONE: known.alone.summary(),
        TOGETHER: known.together.summary(),
        SHARE: {"conditions": conditions, **shares},
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
