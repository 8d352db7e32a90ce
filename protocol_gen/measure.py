"""``python -m protocol_gen measure``: plays episodes, trains decoders, prints what agents recover by protocol step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from epymarl_lmac.awareness.measure import Budget, Recovery, Rows, evaluate, train_decoder
from epymarl_lmac.checkpoint import load_checkpoint
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.paths import make_host_importable
from epymarl_lmac.protocol import Bundle
from epymarl_lmac.protocol.engine.locate import AUTO
from epymarl_lmac.seeding import derive_seed
from epymarl_lmac.settings import load_settings
from epymarl_lmac.tasks import task_card
from protocol_gen.results import kind_of

EPSILONS = (1.0, 0.5, 0.2, 0.05)  # equal shares of episodes, from random to competent


def play(env: str, settings: Sequence[str], record: Path | None, n_episodes: int, seed: int):
    """Plays episodes and keeps them in a replay buffer of their own.

    Args:
        env: name of a file in ``config/envs``.
        settings: ``key=value`` settings that describe the task.
        record: run whose networks play, with exploration from random to competent in equal shares; None plays at
            random.
        n_episodes: how many.
        seed: of the environments and the exploration.

    Returns:
        The experiment that played, with the episodes in its ``buffer``.
    """
    from components.epsilon_schedules import DecayThenFlatSchedule
    from run import Experiment
    from utils.logging import Logger, get_logger

    size = max(n_episodes, 32)
    words = [
        *settings,
        "use_cuda=False",
        "runner=auto",
        "batch_size_run=16",
        f"buffer_size={size}",
        f"seed={seed}",
    ]
    experiment = Experiment(load_settings("qmix", env, words), Logger(get_logger()))
    epsilons: tuple[float, ...] = (1.0,)
    if record is not None:
        experiment.mac.load_state_dict(load_checkpoint(record)["learner"]["mac"])
        epsilons = EPSILONS
    for number in range(-(-size // 16)):
        epsilon = epsilons[number % len(epsilons)]
        experiment.mac.action_selector.schedule = DecayThenFlatSchedule(epsilon, epsilon, 1, decay="linear")
        with torch.no_grad():
            experiment.buffer.insert_episode_batch(experiment.runner.run(test_mode=False))
    experiment.runner.close_env()
    return experiment


def _groups(names: Sequence[str]) -> dict[str, list[int]]:
    """Returns the columns by the part of their names before the bracket, e.g. "food"."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(name.split("[")[0], []).append(index)
    return groups


def _measure_kind(steps: int, settings, training, heldout, budget: Budget) -> tuple[Recovery, Bundle]:
    """Trains and judges the decoders that hear the first ``steps`` protocols; returns the bundle as well."""
    from controllers.sequence_controller import SequenceMac

    sizes = {k: v for k, v in vars(training.args).items() if k not in vars(settings)}
    args = settings.with_values(**sizes, protocol_steps=steps)
    mac = SequenceMac(training.buffer.scheme, {"agents": args.n_agents}, args)
    comm: Any = mac.comm
    card = task_card(settings.env, settings.env_args)
    important = comm.bundle.important_state

    def rows_of(batch) -> Rows:
        with torch.no_grad():
            steps = mac.steps(batch)
            heard = comm.heard(steps)
        truth = steps.stored("state")[:, important]
        return Rows(heard, truth, list(steps.counts))

    decoders = []
    for seed in range(budget.n_seeds):
        rng = np.random.default_rng(derive_seed(seed, "decoder batches"))

        def draw(rng=rng) -> Rows:
            batch = training.buffer.sample(32, rng=rng)
            return rows_of(batch[:, : batch.max_t_filled()])

        decoders.append(train_decoder(draw, len(important), budget, seed))
    rows = rows_of(heldout.buffer.sample(heldout.buffer.episodes_in_buffer, rng=np.random.default_rng(0)))
    groups = _groups([card.state[i].name for i in important])
    return evaluate(decoders, rows, settings.mse_thres, groups), comm.bundle


def measure(
    env: str,
    updates: Sequence[str],
    record: Path | None,
    bundle_path: Path | None,
    n_episodes: int,
    n_batches: int,
    n_seeds: int,
    write: bool = False,
) -> str:
    """Measures a bundle.

    Args:
        env: name of a file in ``config/envs``.
        updates: ``key=value`` settings that describe the task.
        record: run whose networks play; None plays at random.
        bundle_path: the bundle; None is the task's default one.
        n_episodes: training episodes; a quintile as many more are held out, from environments with other seeds.
        n_batches: gradient steps of a decoder.
        n_seeds: decoders of each kind.
        write: whether to put the scores into the manifest.

    Returns:
        A table.

    Raises:
        SettingsError: a number below 1.
    """
    make_host_importable()
    for name, value in (("--episodes", n_episodes), ("--batches", n_batches), ("--seeds", n_seeds)):
        if value < 1:
            raise SettingsError(f"{name}={value} must be at least 1.", name)
    training = play(env, updates, record, n_episodes, seed=101)
    heldout = play(env, updates, record, n_episodes // 5, seed=202)
    path = AUTO if bundle_path is None else str(bundle_path)
    settings = load_settings("lmac_qmix", env, [*updates, "use_cuda=False", f"protocol_path={path}"])
    budget = Budget(n_batches, n_seeds)
    results: dict[str, Recovery] = {}
    none, bundle = _measure_kind(0, settings, training, heldout, budget)
    results[kind_of([])] = none
    for n in range(1, len(bundle.steps) + 1):
        results[kind_of(bundle.steps[:n])], _ = _measure_kind(n, settings, training, heldout, budget)
    n_heldout = heldout.buffer.episodes_in_buffer
    behaviour = "random play" if record is None else f"networks of {record.name}, epsilon {EPSILONS} in equal shares"
    conditions = {
        "episodes": training.buffer.episodes_in_buffer,
        "heldout_episodes": n_heldout,
        "behaviour": behaviour,
        "decoder_form": budget.form,
        "gradient_steps": n_batches,
        "decoder_seeds": n_seeds,
        "tolerance": settings.mse_thres,
    }
    if write:
        _write_scores(bundle.path, results, conditions)
    return _table(results, conditions)


def _write_scores(folder: Path, results: dict[str, Recovery], conditions: dict[str, object]) -> None:
    """Puts the scores into a bundle's manifest, whole or not at all."""
    path = folder / "manifest.yaml"
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    manifest["scores"] = {"conditions": conditions, **{kind: r.summary() for kind, r in results.items()}}
    temporary = path.with_suffix(".part")
    text = yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None, width=110)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _table(results: dict[str, Recovery], conditions: dict[str, object]) -> str:
    """Returns a markdown table of all kinds."""
    groups = list(next(iter(results.values())).r2_by_group)
    head = [
        "decoder hears",
        "success",
        "recall off the majority value",
        "imbalance",
        "r2",
        *(f"R2: {g}" for g in groups),
        "converged",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for kind, r in results.items():
        cells = [
            kind,
            f"{r.success:.3f} ± {r.success_spread:.3f}",
            f"{r.recall:.3f} ± {r.recall_spread:.3f}",
            f"{r.imbalance:.5f}",
            f"{r.r2:.3f} ± {r.r2_spread:.3f}",
            *(f"{r.r2_by_group[g]:.3f}" for g in groups),
            "yes" if r.converged else "no",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "; ".join(f"{key} {value}" for key, value in conditions.items())]
    return "\n".join(lines)
