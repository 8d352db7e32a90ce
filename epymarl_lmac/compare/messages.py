"""What messages cost and what they are worth: numbers that a run's record has about its communication."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from epymarl_lmac.compare import statistics as st

FLOAT_BITS = 32  # of a number that is not quantised
EVALUATION_FILE = "evaluation.json"  # written by epymarl-lmac evaluate
INTACT = "intact"  # the control that leaves messages as they are
NAN = math.nan
SAME_STEP = 0.05  # networks of steps that lie within this share of each other are pooled; seeds end some steps apart


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


def _kind(cost: MessageCost) -> tuple[bool | None, int, int]:
    return cost.sends, cost.n_agents, cost.bits_per_float


def mean_cost(costs: Sequence[MessageCost]) -> MessageCost:
    """Returns the mean cost of an algorithm's runs on a task; NaN and None where a run does not say, or runs differ
    in agents or in bits a number."""
    if any(_kind(cost) != _kind(costs[0]) for cost in costs):
        return MessageCost(None)
    return replace(
        costs[0],
        floats=float(np.mean([cost.floats for cost in costs])),
        bits=float(np.mean([cost.bits for cost in costs])),
        links_open=float(np.mean([cost.links_open for cost in costs])),
        uplink=float(np.mean([cost.uplink for cost in costs])),
        downlink=float(np.mean([cost.downlink for cost in costs])),
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
    left_out: tuple[str, ...] = ()  # evaluations of another score, number of episodes or step, see ``alike``


@dataclass(frozen=True)
class Awareness:
    """How well an algorithm's runs estimate the state in evaluation mode; a run is a replicate."""

    alg: str
    env: str
    control: str  # how messages were treated
    r2: st.Estimate  # of the estimated state: 1 - MSE / variance over its columns
    recall: st.Estimate  # off the majority value
    by_column: Mapping[str, float]  # R2 of every column, mean over runs; NaN for columns that never vary
    left_out: tuple[str, ...] = ()  # evaluations of another score, number of episodes or step, see ``alike``


def alike(evaluations: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], tuple[str, ...]]:
    """Returns the evaluations that may be pooled, and a description of each that is left out.

    Pooled are those of one score, one number of episodes and networks of one step (to ``SAME_STEP``): the largest such
    group, of equally large ones the one of the latest step, then of most episodes.

    Args:
        evaluations: of an algorithm's runs on a task, see ``read_evaluation``.
    """
    groups = [[one for one in evaluations if _is_like(one, anchor)] for anchor in evaluations]
    if not groups:
        return [], ()
    chosen = max(groups, key=lambda group: (len(group), _step(group[0]), int(group[0]["episodes"])))
    others = [one for one in evaluations if all(one is not member for member in chosen)]
    return chosen, tuple(
        f"{one.get('run', 'a run')} ({one['score']}, {one['episodes']} episodes, step {_step(one):,})" for one in others
    )


def _step(evaluation: Mapping[str, Any]) -> int:
    return int(evaluation.get("t_env") or 0)


def _is_like(one: Mapping[str, Any], anchor: Mapping[str, Any]) -> bool:
    same_score = (one["score"], one["episodes"]) == (anchor["score"], anchor["episodes"])
    return same_score and abs(_step(one) - _step(anchor)) <= SAME_STEP * _step(anchor)


def awareness_rows(alg: str, env: str, evaluations: Sequence[Mapping[str, Any]]) -> list[Awareness]:
    """Returns one row for every control under which all evaluations that are ``alike`` judged the estimated state."""
    found: list[Awareness] = []
    evaluations, left_out = alike(evaluations)
    tables = [{row["control"]: row.get("awareness") for row in one["rows"]} for one in evaluations]
    for control in tables[0] if tables else ():
        states = [table.get(control) for table in tables]
        judged = [state for state in states if state is not None]
        if len(judged) < len(states):
            continue
        columns = list(judged[0]["r2_by_column"])
        if any(list(state["r2_by_column"]) != columns for state in judged):
            continue
        by_column = np.array([[_number(state["r2_by_column"][name]) for name in columns] for state in judged])
        found.append(
            Awareness(
                alg,
                env,
                control,
                st.t_interval(np.array([_number(state["r2"]) for state in judged])),
                st.t_interval(np.array([_number(state["recall"]) for state in judged])),
                dict(zip(columns, by_column.mean(0).tolist(), strict=True)),
                left_out,
            )
        )
    return found


def _number(value: float | None) -> float:
    return NAN if value is None else float(value)


def read_evaluation(folder: str | Path) -> dict[str, Any] | None:
    """Returns what ``epymarl-lmac evaluate`` wrote beside a run, or None where it was not evaluated or the file is
    damaged."""
    try:
        content = json.loads((Path(folder) / EVALUATION_FILE).read_text(encoding="utf-8"))
        rows = content["rows"]
        is_evaluation = bool(rows) and all({"control", "score_mean"} <= set(row) for row in rows)
        return content if is_evaluation and {"score", "episodes"} <= set(content) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def control_rows(alg: str, env: str, evaluations: Sequence[Mapping[str, Any]]) -> list[ControlRow]:
    """Returns one row for every control that all evaluations that are ``alike`` have; the run is the replicate.

    Evaluations without controls give none.

    Args:
        alg: the algorithm.
        env: the task.
        evaluations: of its runs, see ``read_evaluation``.
    """
    evaluations, left_out = alike(evaluations)
    if not evaluations:
        return []
    tables = [{row["control"]: float(row["score_mean"]) for row in one["rows"]} for one in evaluations]
    first = evaluations[0]
    shared = [control for control in tables[0] if all(control in table for table in tables)]
    if len(shared) < 2:
        return []
    return [
        ControlRow(
            alg,
            env,
            control,
            str(first["score"]),
            int(first["episodes"]),
            st.t_interval(np.array([table[control] for table in tables])),
            left_out,
        )
        for control in shared
    ]
