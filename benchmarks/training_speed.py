"""Training speed on LBF 8x8-2p-2f-s1-coop, one core, one update an episode, batch 32, side by side.

    python benchmarks/training_speed.py [--epymarl PATH] [--epymarl-python PYTHON] [--episodes 320]

Rows: ``lmac_qmix`` and ``qmix`` as they train here (environment, acting, buffer and updates included); the same
``lmac_qmix`` update computed step by step, as the released LMAC code does it (every step its own network calls,
messages computed again for both networks; the released controller itself does not compile, so its form is rebuilt
here from our modules); EPyMARL's own ``qmix`` from a checkout, if its path is given, on the same game of the
``lbforaging`` package (``grid_foraging.py``) with its serial runner. Its state is the two windows, 54 numbers, where
ours is the 300 numbers of the field.

The floor of an update is its floating-point operations in matrix products, counted by PyTorch, at the rate that
this core reaches on a product of the update's own size with the library that updates use (setting ``matrix_products``).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from timing import quartile

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from components.episode_buffer import EpisodeBatch  # noqa: E402
from epymarl_lmac.learning import forms, products  # noqa: E402
from epymarl_lmac.settings import load_settings  # noqa: E402
from learners.value_learner import ValueLearner  # noqa: E402
from modules.comm.lmac import LmacComm  # noqa: E402
from modules.comm.steps import LEARN  # noqa: E402
from run import Experiment  # noqa: E402
from utils.logging import Logger, get_logger  # noqa: E402


def make(alg: str, env: str = "lbf", updates: Sequence[str] = ()) -> Experiment:
    """Returns an experiment whose buffer is full enough to learn from; agents act at random."""
    fixed = ["t_max=100000000", "save_model=False", "use_cuda=False", "epsilon_finish=1.0"]
    experiment = Experiment(load_settings(alg, env, [*updates, *fixed]), Logger(get_logger()))
    while not experiment.buffer.can_sample(experiment.args.batch_size):
        experiment.advance()
    return experiment


def steps_per_second(experiment: Experiment, episodes: int) -> float:
    """Returns training steps per second over at least so many episodes."""
    experiment.advance()
    start, first, target = time.perf_counter(), experiment.runner.t_env, experiment.episodes + episodes
    while experiment.episodes < target:
        experiment.advance()
    return (experiment.runner.t_env - first) / (time.perf_counter() - start)


def sample(experiment: Experiment) -> EpisodeBatch:
    """Returns a training batch."""
    batch = experiment.buffer.sample(experiment.args.batch_size, rng=experiment.sampler)
    return batch[:, : batch.max_t_filled()]


def per_step_loss(learner: ValueLearner, batch: EpisodeBatch) -> torch.Tensor:
    """LMAC's update in the released code's form: one network call a step, messages anew for both networks."""
    T = batch.max_seq_length
    qs: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    losses: list[torch.Tensor] = []
    for mac, outputs in ((learner.mac, qs), (learner.target_mac, targets)):
        comm = mac.comm
        assert isinstance(comm, LmacComm)
        mac.init_hidden(batch.batch_size)
        for t in range(T):
            step = dataclasses.replace(
                mac.step(batch, t, LEARN), look=lambda key: None
            )  # nothing stored: computed anew
            kept: dict[str, torch.Tensor] = {}
            assert mac.hidden_states is not None
            before = mac.hidden_states.view(batch.batch_size, mac.n_agents, -1)
            h = mac._advance(step, step.x_RND, before, kept)
            mac.hidden_states = h.flatten(0, 1)
            z = kept["latent"].flatten(0, 1)
            decoded = comm.decoder(z)
            estimate, logits = decoded.chunk(2, dim=-1)
            again = comm.cycle(torch.cat([estimate, torch.sigmoid(logits)], dim=-1))
            outputs.append(mac._q_values(step, h, kept))
            if mac is learner.mac and t < T - 1:
                truth = batch["state"][:, t, comm.important_state].repeat_interleave(mac.n_agents, 0)
                squared = (estimate - truth) ** 2
                aware = (squared < comm.settings.mse_thres).float()
                p = torch.sigmoid(logits).clamp(1e-7, 1 - 1e-7)
                bce = -(aware * p.log() + (1 - aware) * (1 - p).log())
                losses.append(squared.mean() + 0.1 * bce.mean() + (z - again).square().mean())
    assert learner.mixer is not None and learner.target_mixer is not None
    q_BTNA, target_BTNA = torch.stack(qs, 1), torch.stack(targets, 1)
    chosen = q_BTNA[:, :-1].gather(3, batch["actions"][:, :-1]).squeeze(3)
    best = q_BTNA[:, 1:].detach().argmax(3, keepdim=True)
    value = learner.target_mixer(target_BTNA[:, 1:].gather(3, best).squeeze(3), batch["state"][:, 1:]).detach()
    done = batch["terminated"][:, :-1].float()
    error = learner.mixer(chosen, batch["state"][:, :-1]) - (batch["reward"][:, :-1] + 0.99 * (1 - done) * value)
    return error.square().mean() + torch.stack(losses).mean()


def per_step_update(learner: ValueLearner, batch: EpisodeBatch) -> None:
    learner.mac.train(True)
    optimiser, clip = learner.optimisers["main"]
    optimiser.zero_grad()
    per_step_loss(learner, batch).backward()
    optimiser.clip_and_step(clip)
    learner.mac.train(False)


def matmul_rate() -> float:
    """Returns floating-point operations per second of a product of the update's size, with the library chosen."""
    a, b = torch.randn(1600, 64), torch.randn(64, 384)
    out = torch.empty(1600, 384)
    return 2 * 1600 * 64 * 384 / quartile(lambda: products.product(a, b, out=out), 200)


def floor_and_update(experiment: Experiment, batch: EpisodeBatch, rate: float) -> tuple[float, float]:
    """Returns the floor of an update and an update, in seconds; messages come with the stored episodes.

    The floor counts the operations of PyTorch's form of the update, as those in compiled loops are not seen. It has a
    few more: gradients that nobody reads.
    """
    forms.plain_only = True
    with FlopCounterMode(display=False) as counter:
        experiment.learner.train(batch, 0, 0)
    forms.plain_only = False
    return counter.get_total_flops() / rate, quartile(lambda: experiment.learner.train(batch, 0, 0), 40)


def print_update(name: str, floor: float, update: float, rate: float) -> None:
    """Prints the rows of one update and its floor."""
    print(f"{name + ', one update, ms':44} {1e3 * update:12.1f}")
    label = f"  floor: {floor * rate / 1e9:.2f} GFLOP at {rate / 1e9:.0f} GFLOP/s, ms"
    print(f"{label:44} {1e3 * floor:12.1f} {floor / update:7.0%}")


def epymarl_speed(path: Path, python: str, steps: int) -> float:
    """Returns the steps per second of EPyMARL's qmix (recurrent agents) on the package's 8x8-2p-2f-coop grid game."""
    with tempfile.TemporaryDirectory() as folder:
        stub = Path(folder) / "smaclite"  # EPyMARL imports it unconditionally
        stub.mkdir()
        (stub / "__init__.py").write_text("")
        words = "--config=qmix --env-config=gymma with env_args.time_limit=25 use_rnn=True obs_last_action=True "
        words += (
            f"env_args.key=grid_foraging:GridForaging-8x8-2p-2f-coop-v3 use_cuda=False test_nepisode=1 t_max={steps}"
        )
        folders = os.pathsep.join([folder, str(Path(__file__).resolve().parent)])
        env = {**os.environ, "PYTHONPATH": folders, "OMP_NUM_THREADS": "1"}
        marks = []
        for t_max in (2_000, steps):  # the difference leaves start-up out
            words = words.rsplit("t_max=", 1)[0] + f"t_max={t_max}"
            start = time.perf_counter()
            subprocess.run(
                [python, "src/main.py", *words.split(), f"local_results_path={folder}/results"],
                cwd=path, env=env, check=True, capture_output=True,
            )  # fmt: skip
            marks.append(time.perf_counter() - start)
    return (steps - 2_000) / (marks[1] - marks[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epymarl", type=Path, help="EPyMARL checkout")
    parser.add_argument("--epymarl-python", default=sys.executable, help="interpreter that can run it")
    parser.add_argument("--episodes", type=int, default=320, help="episodes measured a row")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    lmac, qmix = make("lmac_qmix"), make("qmix")
    speeds = {
        "lmac_qmix": steps_per_second(lmac, options.episodes),
        "qmix": steps_per_second(qmix, options.episodes),
    }
    rate = matmul_rate()
    batch = sample(lmac)
    floor, update = floor_and_update(lmac, batch, rate)
    stepped = quartile(lambda: per_step_update(lmac.learner, batch), 8)
    print(f"{'row':44} {'value':>12} {'ratio':>8}")
    print(f"{'lmac_qmix, training steps/s':44} {speeds['lmac_qmix']:12.0f}")
    print_update("lmac_qmix", floor, update, rate)
    print(f"{'  step by step, as released, ms':44} {1e3 * stepped:12.1f} {stepped / update:7.1f}x")
    print(f"{'qmix, training steps/s':44} {speeds['qmix']:12.0f}")
    print_update("qmix", *floor_and_update(qmix, sample(qmix), rate), rate)
    if options.epymarl is None:
        print("EPyMARL's qmix: skipped, no --epymarl PATH")
    else:
        theirs = epymarl_speed(options.epymarl, options.epymarl_python, 12_000)
        print(f"{'EPyMARL qmix, training steps/s':44} {theirs:12.0f} {speeds['qmix'] / theirs:7.1f}x")


if __name__ == "__main__":
    main()
