"""``python -m protocol_gen measure``: plays episodes, trains decoders, prints what agents recover by protocol step."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from epymarl_lmac.awareness.measure import Budget, Recovery
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.protocol import Bundle
from epymarl_lmac.record.files import write_text
from epymarl_lmac.settings import load_settings
from epymarl_lmac.tasks import task_card
from protocol_gen.build_bundle import default_folder, schema_of
from protocol_gen.collect import EPSILONS, collect
from protocol_gen.results import kind_of
from protocol_gen.score import Data, judge, train_decoders
from protocol_gen.trajectories import read

SEED = 101  # of the episodes


def _measured(data: Data, bundle: Bundle, budget: Budget, tolerance: float) -> dict[str, Recovery]:
    """Returns by what agents hear, the first n protocols of a bundle for every n from 0, what they recover."""
    found: dict[str, Recovery] = {}
    for n in range(len(bundle.steps) + 1):
        programs = bundle.programs[:n]
        decoders = train_decoders(data, programs, budget)
        found[kind_of(bundle.steps[:n])] = judge(data, programs, decoders, data.heldout, tolerance)
    return found


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
        record: run whose networks play, at several rates of exploration; None plays at random.
        bundle_path: the bundle; None is the task's default one.
        n_episodes: training episodes; a fifth as many more are held out.
        n_batches: gradient steps of a decoder.
        n_seeds: decoders of each kind.
        write: whether to put the scores into the manifest.

    Returns:
        A table.

    Raises:
        BundleError: there is no bundle, or it was made for another task.
        SettingsError: a number below 1, or the run is of another task.
    """
    for name, value in (("--episodes", n_episodes), ("--batches", n_batches), ("--seeds", n_seeds)):
        if value < 1:
            raise SettingsError(f"{name}={value} must be at least 1.", name)
    settings = load_settings("lmac_qmix", env, updates)
    card = task_card(settings.env, settings.env_args)
    layout = XLayout(len(card.actions), settings.obs_last_action, settings.obs_agent_id)
    folder = default_folder(card) if bundle_path is None else bundle_path
    bundle = Bundle.load(folder, schema_of(card, layout.last_action, layout.agent_id))
    with tempfile.TemporaryDirectory(prefix="measure-") as temporary:
        path = Path(temporary) / "episodes.h5"
        n_heldout = max(1, n_episodes // 5)
        notes = collect(path, card, env, updates, n_episodes, n_heldout, record=record, seed=SEED, learns=False)
        train, heldout, _ = read(path)
    important = bundle.important_state
    data = Data(train, heldout, layout, important, [card.state[i].name for i in important])
    budget = Budget(n_batches, n_seeds)
    results = _measured(data, bundle, budget, settings.mse_thres)
    conditions = {
        "episodes": len(train),
        "heldout_episodes": len(heldout),
        "behaviour": notes["behaviour"] + ("" if record is None else f", epsilon {EPSILONS} in equal shares"),
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
    write_text(path, yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None, width=110))


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
