"""Plays the episodes that decoders learn from, while QMIX learns the task: from random to competent.

The embedded host trains; rounds of episodes are kept evenly over training. Every n-th kept round is held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from epymarl_lmac.awareness.inputs import Episodes
from epymarl_lmac.checkpoint import load_checkpoint
from epymarl_lmac.errors import RecordError, SettingsError
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.paths import make_host_importable
from epymarl_lmac.record.provenance import read_run
from epymarl_lmac.settings import load_settings, recorded_run
from epymarl_lmac.settings.command_line import read_updates
from epymarl_lmac.tasks import TaskCard
from protocol_gen.describe import check_card
from protocol_gen.trajectories import UNREADABLE, Writer, forecast_bytes

ROUND = 16  # episodes played side by side
EPSILONS = (1.0, 0.5, 0.2, 0.05)  # of a recorded run's networks, equal shares of rounds
RANDOM = (1.0,)
TRAINING_SHARE = 0.1  # of the environment's t_max, where no number of steps is given


def _arrays(batch: Any, t_env: int) -> dict[str, np.ndarray]:
    filled = batch["filled"].squeeze(-1)
    return {
        "obs": batch["obs"].numpy(),
        "state": batch["state"].numpy(),
        "actions": batch["actions"].squeeze(-1).numpy(),
        "reward": batch["reward"].squeeze(-1).numpy(),
        "terminated": batch["terminated"].squeeze(-1).numpy(),
        "length": filled.sum(1).numpy(),
        "t_env": np.full(len(filled), t_env),
    }


def _group(kept: Sequence[int], wanted: Sequence[int]) -> int:
    """Returns which group, 0 training or 1 held out, lags behind its share."""
    return int(kept[1] * wanted[0] < kept[0] * wanted[1]) if kept[0] < wanted[0] else 1


def collect(
    path: Path,
    card: TaskCard,
    env: str,
    updates: Sequence[str],
    n_episodes: int,
    n_heldout: int,
    t_max: int | None = None,
    record: Path | None = None,
    seed: int = 1,
    learns: bool = True,
) -> dict[str, Any]:
    """Plays episodes and writes them to an HDF5 file.

    Args:
        path: the file.
        card: the task.
        env: name of a file in ``config/envs``.
        updates: ``key=value`` settings that describe the task, and others of the QMIX run.
        n_episodes: training episodes to keep.
        n_heldout: held-out episodes to keep.
        t_max: environment steps of the QMIX run; None is a tenth of the environment's own. It goes on until enough
            episodes are kept.
        record: folder of a run whose networks play, at several rates of exploration, with the settings it was recorded
            with; None trains QMIX.
        seed: of the run.
        learns: False plays at random instead of training, where there is no record.

    Returns:
        How the episodes were made.

    Raises:
        SettingsError: a number below 1.
        TaskError: the card is not of this environment.
    """
    for name, value in (("--episodes", n_episodes), ("--heldout", n_heldout), ("--train-steps", t_max)):
        if value is not None and value < 1:
            raise SettingsError(f"{name}={value} must be at least 1.", name)
    make_host_importable()
    from run import Experiment
    from utils.logging import Logger, get_logger

    n_total = n_episodes + n_heldout
    size = forecast_bytes(card, n_total) / 2**20
    print(f"collect: {n_total:,} episodes of {card.env} {card.task}; at most {size:,.0f} MiB, less when compressed")
    fixed = _fixed_settings(seed)
    if record is None:
        settings = load_settings("qmix", env, [*updates, *fixed])
    else:
        settings = _recorded_settings(record, card, fixed)
    t_max = max(1, int(settings.t_max * TRAINING_SHARE)) if t_max is None else t_max
    experiment = Experiment(settings, Logger(get_logger()))
    check_card(card, vars(experiment.args))
    if record is not None:
        experiment.mac.load_state_dict(load_checkpoint(record)["learner"]["mac"])
    epsilons: Sequence[float] | None = None
    behaviour = f"QMIX learning over {t_max} steps"
    if record is not None:
        epsilons, behaviour = EPSILONS, f"networks of {record.name}"
    elif not learns:
        epsilons, behaviour = RANDOM, "random play"
    notes: dict[str, Any] = {"behaviour": behaviour, "seed": seed}
    writer, complete = Writer(path, card, notes), False
    try:
        _play(experiment, writer, (n_episodes, n_heldout), t_max, epsilons)
        complete = True
    finally:
        writer.close(complete)
        experiment.runner.close_env()
    return notes | {"t_env": experiment.runner.t_env, "episodes_played": experiment.episodes}


def _fixed_settings(seed: int) -> list[str]:
    """Returns the settings of every run that collects."""
    return ["use_cuda=False", "runner=auto", f"batch_size_run={ROUND}", f"seed={seed}"]


def _recorded_settings(record: Path, card: TaskCard, fixed: Sequence[str]) -> Any:
    """Returns the settings with which a recorded run's networks are made.

    Raises:
        SettingsError: the run is of another task.
    """
    saved = read_run(record)["settings"]
    if (saved["env"], saved["env_args"]) != (card.env, dict(card.settings)):
        raise SettingsError(
            f"--from-record {record} is a run of {saved['env']} with {saved['env_args']}; the design is for {card.env} "
            f"with {card.settings}.",
            "--from-record",
        )
    alg, env, values = recorded_run(saved)
    return load_settings(alg, env, {**values, **read_updates(fixed)})


def play_at_random(env: str, updates: Sequence[str], n_episodes: int, seed: int) -> tuple[Episodes, XLayout]:
    """Returns episodes played at random, kept in memory, and how x is made of them.

    Args:
        env: name of a file in ``config/envs``.
        updates: ``key=value`` settings that describe the task.
        n_episodes: how many.
        seed: of the environments and the actions.
    """
    make_host_importable()
    from run import Experiment
    from utils.logging import Logger, get_logger

    experiment = Experiment(load_settings("qmix", env, [*updates, *_fixed_settings(seed)]), Logger(get_logger()))
    try:
        rounds = [_arrays(_play_round(experiment, *RANDOM), 0) for _ in range(-(-n_episodes // ROUND))]
    finally:
        experiment.runner.close_env()
    longest = max(len(arrays["obs"][0]) for arrays in rounds)

    def joined(name: str) -> torch.Tensor:
        parts = [arrays[name] for arrays in rounds]
        if parts[0].ndim > 1:
            parts = [
                np.pad(part, [(0, 0), (0, longest - part.shape[1])] + [(0, 0)] * (part.ndim - 2)) for part in parts
            ]
        return torch.from_numpy(np.concatenate(parts)[:n_episodes])

    episodes = Episodes(joined("obs"), joined("actions").long(), joined("state"), joined("length").long())
    return episodes, experiment.mac.layout


def mean_returns(path: Path) -> tuple[float, float]:
    """Returns the mean return of the first and of the last tenth of the training episodes of a file.

    Raises:
        RecordError: it is missing or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            returns = file["train/reward"][:].sum(1)
    except (OSError, KeyError) as err:
        raise RecordError(f"{path} cannot be read: {err}. {UNREADABLE}") from err
    tenth = max(1, len(returns) // 10)
    return float(returns[:tenth].mean()), float(returns[-tenth:].mean())


def _play(
    experiment: Any, writer: Writer, wanted: tuple[int, int], t_max: int, epsilons: Sequence[float] | None
) -> None:
    """Plays until enough episodes are kept and, where networks learn, training is over.

    Args:
        experiment: plays, and trains its networks.
        writer: takes the episodes.
        wanted: training and held-out episodes to keep.
        t_max: environment steps of training.
        epsilons: rates of exploration of networks that do not learn, one a round in turn; None trains.
    """
    kept, rounds, total, learns = [0, 0], 0, sum(wanted), epsilons is None
    columns = (TextColumn("collect"), BarColumn(), MofNCompleteColumn(), TextColumn("episodes"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("collect", total=total)
        while sum(kept) < total or (learns and experiment.runner.t_env < t_max):
            if epsilons is None:
                batch = experiment.advance()
                due = total * min(1.0, experiment.runner.t_env / t_max)
            else:
                batch, due = _play_round(experiment, epsilons[rounds % len(epsilons)]), total
            rounds += 1
            if sum(kept) >= due:
                continue
            group = _group(kept, wanted)
            arrays = _arrays(batch, experiment.runner.t_env)
            n = min(len(arrays["length"]), wanted[group] - kept[group])
            writer.add(("train", "heldout")[group], {k: v[:n] for k, v in arrays.items()})
            kept[group] += n
            progress.update(task, completed=sum(kept))
            if not progress.console.is_terminal and 10 * sum(kept) // total > 10 * (sum(kept) - n) // total:
                print(f"collect: {sum(kept):,} of {total:,} episodes, step {experiment.runner.t_env:,}", flush=True)


def _play_round(experiment: Any, epsilon: float) -> Any:
    with torch.no_grad():
        batch = experiment.runner.run(epsilon=epsilon)
    experiment.episodes += batch.batch_size
    return batch
