"""Recorded runs with untrained networks, to be opponents in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from epymarl_lmac.checkpoint import save_networks
from epymarl_lmac.paths import make_host_importable
from epymarl_lmac.record.files import write_json
from epymarl_lmac.settings import load_settings, merge

make_host_importable()
STEP = 100  # at which the networks say they were saved
SMALL = ["hidden_dim=8", "batch_size=2", "batch_size_run=2", "buffer_size=4", "use_cuda=False"]


def env_args(map_name="3m", env="sc2", **updates):
    """The arguments of an embedded battle."""
    changes = [f"env_args.{key}={value}" for key, value in updates.items()]
    return merge("qmix", env, [f"env_args.map_name={map_name}", "env_args.engine=embedded", *changes])["env_args"]


def record_run(folder: Path, alg="qmix", map_name="3m", env="sc2", seed=1, **updates) -> Path:
    """Writes the record and the networks of a run that has learnt nothing; the networks are drawn from the seed."""
    from run import Experiment
    from utils.logging import Logger, get_logger

    changes = [f"env_args.{key}={value}" for key, value in updates.items()]
    words = [*SMALL, f"seed={seed}", "env_args.engine=embedded"]
    if env.startswith("sc2"):
        words.append(f"env_args.map_name={map_name}")
    else:
        words.remove("env_args.engine=embedded")
    with torch.random.fork_rng(devices=[]):
        experiment = Experiment(load_settings(alg, env, [*words, *changes]), Logger(get_logger()))
    experiment.runner.close_env()
    folder.mkdir(parents=True)
    settings = {key: value for key, value in vars(experiment.args).items() if key != "device"}
    write_json(folder / "run.json", {"algorithm": alg, "run_id": f"{seed:012x}", "settings": settings})
    save_networks(folder, experiment.mac.state_dict(), STEP)
    return folder


def play(env, steps, seed=0, trace=None):
    """Plays random available actions; returns what the units were after every step, (steps, B, U, 3)."""
    rng = np.random.default_rng(seed)
    trace = [] if trace is None else trace
    for _ in range(steps):
        env.step((rng.random(env.avail_BNA.shape) * env.avail_BNA).argmax(2))
        t = env._table
        trace.append(np.stack([t.x, t.y, t.health], axis=-1))
    return np.stack(trace)
