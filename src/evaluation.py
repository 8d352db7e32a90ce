"""Plays the networks of a recorded run in tests, with its messages intact and with controls.

A task that is solved just as well with its messages zeroed shows no use of communication. Every row plays the same test
episodes; the interval is over these episodes of one trained policy, so it says nothing about other training seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epymarl_lmac import checkpoint as ckpt
from epymarl_lmac.compare.statistics import t_interval
from epymarl_lmac.errors import CheckpointError, SettingsError
from epymarl_lmac.record.provenance import read_run, write_json
from epymarl_lmac.seeding import derive_seed
from epymarl_lmac.settings import load_settings, recorded_run
from epymarl_lmac.tasks import task_score
from modules.comm.link import LinkSettings
from run import Experiment
from utils.logging import Logger, get_logger

FILE_NAME = "evaluation.json"
INTACT = "intact"


@dataclass(frozen=True)
class Request:
    """What is evaluated, and how."""

    folder: Path  # of the run
    episodes: int = 100  # test episodes of every row, at least 2
    checkpoint: int | None = None  # saved step; None: the last
    controls: bool = False  # whether messages are tampered with as well
    sender: int = 0  # whose messages the control "sender ... replaced" exchanges
    delay: int = 1  # steps, of the control "delayed"


@dataclass(frozen=True)
class Row:
    """One way to treat messages, and what the policy reached with it."""

    control: str
    return_mean: float
    return_interval: tuple[float, float]  # 95 %, over episodes
    score_mean: float
    score_interval: tuple[float, float]
    metrics: dict[str, float]  # means of everything the environment reports, and what messages cost


@dataclass(frozen=True)
class Evaluation:
    """The result of a request."""

    run: str
    algorithm: str
    task: str
    seed: int
    t_env: int  # training steps of the networks
    episodes: int
    score: str  # name of the score
    rows: list[Row]


def controls_of(request: Request, n_agents: int) -> dict[str, dict[str, Any]]:
    """Returns the link's settings of every control by name.

    Raises:
        SettingsError: the sender does not exist.
    """
    if request.sender >= n_agents:
        raise SettingsError(f"--sender {request.sender} is no agent; the {n_agents} agents count from 0.", "--sender")
    return {
        "zeroed": {"comm_control": "zero"},
        "shuffled across episodes": {"comm_control": "shuffle"},
        f"delayed by {request.delay}": {"channel_delay": request.delay},
        f"sender {request.sender} replaced": {"comm_control": "replace", "comm_control_sender": request.sender},
    }


def evaluate_run(request: Request) -> Evaluation:
    """Evaluates a run and writes ``evaluation.json`` into its folder.

    Raises:
        CheckpointError: no such run, or no networks of that step.
        SettingsError: controls of a method that sends nothing.
    """
    if not request.folder.is_dir():
        raise CheckpointError(f"{request.folder} is no folder; give the folder of a run.")
    record = read_run(request.folder)
    t_env, networks = ckpt.load_networks(request.folder, request.checkpoint)
    experiment = _experiment(record, request.episodes)
    try:
        experiment.mac.load_state_dict(networks)
        treatments: dict[str, dict[str, Any]] = {INTACT: {}}
        if request.controls:
            _refuse_silent(experiment)
            treatments |= controls_of(request, experiment.args.n_agents)
        score = task_score(experiment.args.env, experiment.args.env_args).key
        rows = [_row(experiment, name, changes, score) for name, changes in treatments.items()]
    finally:
        experiment.runner.close_env()
    result = Evaluation(
        run=request.folder.name,
        algorithm=record["algorithm"],
        task=record["task"],
        seed=record["seed"],
        t_env=t_env,
        episodes=request.episodes,
        score=score,
        rows=rows,
    )
    write_json(request.folder / FILE_NAME, dataclasses.asdict(result))
    return result


def _experiment(record: dict[str, Any], episodes: int) -> Experiment:
    """Builds the recorded run again, ready to test."""
    alg, env, values = recorded_run(record["settings"])
    updates = {**values, "test_nepisode": episodes, "checkpoint_path": "", "evaluate": False, "save_model": False}
    return Experiment(load_settings(alg, env, updates), Logger(get_logger()))


def _refuse_silent(experiment: Experiment) -> None:
    """Raises SettingsError where nothing travels between agents."""
    comm = experiment.mac.comm
    if comm is None or not comm.sends:
        raise SettingsError(
            f"{experiment.args.name} sends no messages, so there is nothing to control; leave out --controls.",
            "--controls",
        )


def _row(experiment: Experiment, control: str, changes: dict[str, Any], score: str) -> Row:
    """Plays the test episodes with one treatment of messages."""
    comm = experiment.mac.comm
    before = LinkSettings() if comm is None else comm.link.settings
    if comm is not None and changes:
        comm.link.settings = dataclasses.replace(
            before, **{"comm_control_when": "test", "channel_when": "test", **changes}
        )
    try:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(derive_seed(experiment.args.seed, f"evaluation {control}"))
            episodes = experiment.runner.evaluate()
        costs = experiment.mac.take_message_metrics()
    finally:
        if comm is not None:
            comm.link.settings = before
    returns, scores = episodes["return"], episodes[score.removesuffix("_mean")]
    return Row(
        control=control,
        return_mean=float(returns.mean()),
        return_interval=_interval(returns),
        score_mean=float(scores.mean()),
        score_interval=_interval(scores),
        metrics={**{f"{key}_mean": float(values.mean()) for key, values in episodes.items()}, **costs},
    )


def _interval(values: np.ndarray) -> tuple[float, float]:
    estimate = t_interval(values)
    return float(estimate.low), float(estimate.high)


def report(result: Evaluation) -> Iterator[str]:
    """Yields the lines of a table for people."""
    yield (
        f"{result.algorithm} on {result.task}, seed {result.seed}, networks of step {result.t_env:,}; "
        f"{result.episodes} episodes a row, 95 % intervals over episodes"
    )
    width = max(len(row.control) for row in result.rows)
    yield f"{'messages':{width}}  {'return':>8}  {'interval':>18}  {result.score:>16}  {'interval':>18}"
    for row in result.rows:
        yield (
            f"{row.control:{width}}  {row.return_mean:8.3f}  {_span(row.return_interval):>18}  "
            f"{row.score_mean:16.3f}  {_span(row.score_interval):>18}"
        )
    costs = result.rows[0].metrics
    for key in ("message_floats", "message_bits", "links_open", "uplink_floats", "downlink_floats"):
        if key in costs:
            yield f"{key}: {costs[key]:.3f}"


def _span(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"
