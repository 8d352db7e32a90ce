"""What messages cost and what they are worth: numbers that a run's record has about its communication."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epymarl_lmac.compare import statistics as st

FLOAT_BITS = 32  # of a number that is not quantised
EVALUATION_FILE = "evaluation.json"  # written by epymarl-lmac evaluate
NAN = math.nan


@dataclass(frozen=True)
class MessageCost:
    """What was sent in the run's last tests, means over them; NaN where it was not recorded or does not apply."""

    sends: bool | None  # None: the record does not say
    floats: float = NAN  # numbers an ordered pair of agents and step
    bits: float = NAN  # the same in bits
    links_open: float = NAN  # share of ordered pairs that carried anything
    uplink: float = NAN  # numbers an agent tells a central messenger at a step
    downlink: float = NAN  # numbers a central messenger tells an agent at a step
    n_agents: int = 0
    bits_per_float: int = FLOAT_BITS

    @property
    def bits_per_agent(self) -> float:
        """Bits that an agent sends at a step; those of a central messenger are counted in both directions."""
        if self.sends is False:
            return 0.0
        if not math.isnan(self.uplink):
            return (self.uplink + self.downlink) * self.bits_per_float
        return self.bits * (self.n_agents - 1)

    def __str__(self) -> str:
        if self.sends is False:
            return "sends nothing"
        if not math.isnan(self.uplink):
            return f"{self.uplink:.3g} floats to and {self.downlink:.3g} from a messenger, an agent and step"
        if math.isnan(self.floats):
            return "not recorded"
        links = "" if math.isnan(self.links_open) else f", {self.links_open:.0%} of links"
        return f"{self.floats:.3g} floats ({self.bits:.4g} bits) a pair and step{links}"


def message_cost(run: Mapping[str, Any]) -> MessageCost:
    """Returns what a record says about the cost of messages.

    Args:
        run: content of ``run.json``.
    """
    metrics = run.get("end_metrics") or {}
    settings = run.get("settings") or {}
    numbers = {
        name: float(metrics[f"test_{key}"])
        for name, key in (
            ("floats", "message_floats"),
            ("bits", "message_bits"),
            ("links_open", "links_open"),
            ("uplink", "uplink_floats"),
            ("downlink", "downlink_floats"),
        )
        if f"test_{key}" in metrics
    }
    sends: bool | None = True if numbers else None
    if not numbers and metrics and "communication" in run:
        sends = False
    return MessageCost(
        sends=sends,
        **numbers,
        n_agents=int(settings.get("n_agents") or 0),
        bits_per_float=int(settings.get("channel_bits") or FLOAT_BITS),
    )


def pair_floats(run: Mapping[str, Any]) -> np.ndarray | None:
    """Returns the numbers that every ordered pair told each other at a step of the last tests, (N, N), receiver by
    sender; None where the record has none."""
    table = (run.get("messages") or {}).get("floats")
    return None if table is None else np.asarray(table, dtype=float)


@dataclass(frozen=True)
class ControlRow:
    """A way to treat messages, and what an algorithm's runs on a task reached with it."""

    alg: str
    env: str
    control: str
    score: str  # name of the score
    episodes: int  # of every run
    mean: st.Estimate  # over the runs


def read_evaluation(folder: str | Path) -> dict[str, Any] | None:
    """Returns what ``epymarl-lmac evaluate`` wrote beside a run, or None where it was not evaluated or the file is
    damaged."""
    try:
        content = json.loads((Path(folder) / EVALUATION_FILE).read_text(encoding="utf-8"))
        return content if len(content["rows"]) > 1 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def control_rows(alg: str, env: str, evaluations: Sequence[Mapping[str, Any]]) -> list[ControlRow]:
    """Returns one row for every control that all given evaluations have; the run is the replicate.

    Args:
        alg: the algorithm.
        env: the task.
        evaluations: of its runs, see ``read_evaluation``.
    """
    if not evaluations:
        return []
    tables = [{row["control"]: float(row["score_mean"]) for row in one["rows"]} for one in evaluations]
    first = evaluations[0]
    shared = [control for control in tables[0] if all(control in table for table in tables)]
    return [
        ControlRow(
            alg,
            env,
            control,
            str(first["score"]),
            int(first["episodes"]),
            st.t_interval(np.array([table[control] for table in tables])),
        )
        for control in shared
    ]
