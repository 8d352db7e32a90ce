"""Plays the networks of a recorded run in tests, with its messages intact and with controls.

A task that is solved just as well with its messages zeroed shows no use of communication. Every row plays the same test
episodes, but for engines in processes of their own: under the controls "shuffled across episodes" and "sender ...
replaced" all episodes must be at the same step, so the main process chooses the actions and the engines draw other
episodes than in the rows that the processes play themselves. The interval is over these episodes of one trained policy,
so it says nothing about other training seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.episode_buffer import EpisodeBatch
from epymarl_lmac import checkpoint as ckpt
from epymarl_lmac.awareness.measure import TOLERANCE, Rows, groups_of
from epymarl_lmac.awareness.measure import evaluate as judge
from epymarl_lmac.compare.messages import EVALUATION_FILE, INTACT
from epymarl_lmac.compare.statistics import t_interval
from epymarl_lmac.errors import CheckpointError, SettingsError
from epymarl_lmac.protocol.engine.locate import kept_bundle
from epymarl_lmac.record.provenance import read_run, write_json
from epymarl_lmac.seeding import derive_seed
from epymarl_lmac.settings import load_settings, recorded_run
from epymarl_lmac.tasks import has_card, task_card, task_score
from modules.comm.link import LinkSettings
from modules.comm.steps import TEST
from run import Experiment
from utils.logging import Logger, get_logger


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
    awareness: dict[str, Any] | None = None  # how well the state is estimated, where the method estimates it


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
    experiment, t_env = experiment_of(request.folder, record, request.episodes, request.checkpoint)
    try:
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
    write_json(request.folder / EVALUATION_FILE, dataclasses.asdict(result))
    return result


def experiment_of(
    folder: Path, record: dict[str, Any], episodes: int, checkpoint: int | None
) -> tuple[Experiment, int]:
    """Builds a recorded run again, ready to test, and returns it with the training steps of its networks.

    Its runner counts these steps as played: where ``test_greedy`` is off they set the exploration of tests.

    Args:
        folder: of the run.
        record: content of its ``run.json``.
        episodes: test episodes.
        checkpoint: saved step; None: the last.

    Raises:
        CheckpointError: no networks of that step.
    """
    t_env, networks = ckpt.load_networks(folder, checkpoint)
    alg, env, values = recorded_run(record["settings"])
    updates = {**values, "test_nepisode": episodes, "checkpoint_path": "", "evaluate": False, "save_model": False}
    updates |= kept_bundle(folder)
    experiment = Experiment(load_settings(alg, env, updates), Logger(get_logger()))
    try:
        experiment.mac.load_state_dict(networks)
        experiment.runner.t_env = t_env
    except BaseException:
        experiment.runner.close_env()
        raise
    return experiment, t_env


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
            columns_I = None if comm is None else comm.estimated_columns()
            watcher = None if columns_I is None else _Watcher(experiment, columns_I)
            episodes = experiment.runner.evaluate(watcher)
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
        awareness=None if watcher is None else watcher.awareness(),
    )


class _Watcher:
    """Sees the episodes of an evaluation and judges what agents believe of the state, dropout off.

    Args:
        experiment: whose networks play.
        columns_I: state columns that they estimate.
    """

    def __init__(self, experiment: Experiment, columns_I: Tensor) -> None:
        self._experiment, self._columns_I = experiment, columns_I
        self._rows: list[Rows] = []

    def __call__(self, batch: EpisodeBatch) -> None:
        """Takes the episodes of a round, all their steps in one call.

        Where the channel or a control is random it is drawn anew, without changing what later rounds draw.
        """
        mac = self._experiment.mac
        steps = mac.steps(batch, TEST)
        with torch.random.fork_rng(), mac.comm.link.uncounted():
            estimate_RNI = mac.comm.state_estimate(mac.unroll(batch, steps).kept)
        truth_RI = steps.stored("state")[:, self._columns_I]
        self._rows.append(Rows(estimate_RNI.cpu(), truth_RI.cpu(), list(steps.counts)))

    def awareness(self) -> dict[str, Any]:
        """Returns R2 and recall off the majority value, in all, by group and by column."""
        args, columns = self._experiment.args, self._columns_I.tolist()
        names = [f"state[{column}]" for column in columns]
        if has_card(args.env):
            state = task_card(args.env, args.env_args).state
            names = [state[column].name for column in columns]
        recovery = judge([(lambda u, counts: u, True)], self._rows, TOLERANCE, groups_of(names))
        r2_I = _r2_by_column(recovery.mse_NI, recovery.variance_I)
        plain = recovery.as_dict()  # None for what never varies
        kept = {key: plain[key] for key in ("r2", "r2_by_group", "recall", "recall_by_group")}
        return {**kept, "r2_by_column": dict(zip(names, r2_I, strict=True)), "tolerance": TOLERANCE}


def _r2_by_column(mse_NI: Sequence[Sequence[float]], variance_I: Sequence[float]) -> list[float | None]:
    """Returns 1 - MSE / variance of every column, mean over agents; None where the column never varies."""
    error_I = np.mean(np.asarray(mse_NI), axis=0)
    return [None if v == 0 else round(1 - float(e) / v, 4) for e, v in zip(error_I, variance_I, strict=True)]


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
    for row in result.rows:
        if row.awareness is not None:
            groups = ", ".join(f"{name} {_number(value)}" for name, value in row.awareness["r2_by_group"].items())
            yield (
                f"{row.control:{width}}  R2 of the estimated state {_number(row.awareness['r2'])} ({groups}), "
                f"recall off the majority value {_number(row.awareness['recall'])}"
            )
    costs = result.rows[0].metrics
    for key in ("message_floats", "message_bits", "links_open", "uplink_floats", "downlink_floats"):
        if key in costs:
            yield f"{key}: {costs[key]:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _span(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"
