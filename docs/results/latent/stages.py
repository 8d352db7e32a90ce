"""Measures where what messages tell is lost on its way to the agents: R2 of the state at every stage.

    python docs/results/latent/stages.py --behaviour QMIX_RUN LMAC_RUN [LMAC_RUN ...] [--training 1024] [--heldout 256]

All runs see the same recorded episodes: the networks of ``--behaviour`` play them at four rates of exploration. The
stages are

* ``messages``: what a fresh decoder finds in [x, messages], in its direct and in its published form;
* ``estimate``: what the run's own decoder says of the state, dropout off;
* ``z``: what a fresh decoder of the direct form finds in the run's latent;
* ``hidden``: the same in the state of the agent's GRU, from which it acts.

A fresh decoder (``epymarl_lmac/awareness/decoder.py``) has its own GRU, so it may also use what came before. R2 is
1 - MSE / variance, pooled over the important columns. The first run's bundle gives the messages.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from epymarl_lmac.awareness.decoder import AuxiliaryDecoder  # noqa: E402
from epymarl_lmac.awareness.measure import TOLERANCE, Budget, Rows, evaluate, train_decoder  # noqa: E402
from epymarl_lmac.record.provenance import read_run  # noqa: E402
from epymarl_lmac.seeding import derive_seed  # noqa: E402
from evaluation import experiment_of  # noqa: E402
from modules.comm.steps import TEST  # noqa: E402

EPSILONS = (1.0, 0.5, 0.2, 0.05)  # equal shares of the episodes
Stage = Callable[[Any], Tensor]  # a recorded batch -> what a decoder reads, (P, N, U)


def play(run: Path, n_episodes: int) -> list[Any]:
    """Returns recorded batches with at least ``n_episodes`` episodes, each of one rate of exploration."""
    experiment, _ = experiment_of(run, read_run(run), 2, None)
    size = experiment.args.batch_size_run
    n_batches = max(len(EPSILONS), -(-n_episodes // size))
    try:
        return [experiment.runner.run(epsilon=EPSILONS[i % len(EPSILONS)]) for i in range(n_batches)]
    finally:
        experiment.runner.close_env()


class Networks:
    """The controller of a recorded run.

    Args:
        run: folder of an ``lmac_qmix`` run.
    """

    def __init__(self, run: Path) -> None:
        self.record = read_run(run)
        experiment, self.t_env = experiment_of(run, self.record, 2, None)
        experiment.runner.close_env()
        self.mac = experiment.mac

    def unrolled(self, batch: Any) -> tuple[Any, Any]:
        """Returns the batch's steps, as tests see them, and everything that the controller computes for them."""
        with torch.no_grad():
            steps = self.mac.steps(batch, TEST)
            return steps, self.mac.unroll(batch, steps)

    def heard(self, batch: Any) -> Tensor:
        """Returns [x, messages]."""
        with torch.no_grad():
            return torch.cat(self.mac.comm.heard(self.mac.steps(batch, TEST)), dim=-1)

    def estimate(self, batch: Any) -> Tensor:
        """Returns the run's own estimate of the important state."""
        with torch.no_grad():
            return self.mac.comm.state_estimate(self.unrolled(batch)[1].kept)

    def latent(self, batch: Any) -> Tensor:
        """Returns z."""
        return self.unrolled(batch)[1].kept["latent"]

    def hidden(self, batch: Any) -> Tensor:
        """Returns the states of the agents' GRU."""
        return self.unrolled(batch)[1].hidden_PNH

    def rows(self, stage: Stage, batches: list[Any]) -> list[Rows]:
        """Returns what a stage gives of every batch, beside the truth."""
        columns, found = self.mac.comm.estimated_columns(), []
        for batch in batches:
            steps = self.mac.steps(batch, TEST)
            found.append(Rows(stage(batch), steps.stored("state")[:, columns], list(steps.counts)))
        return found


def decoded(training: list[Rows], heldout: list[Rows], budget: Budget) -> float:
    """Returns the R2 of fresh decoders on held-out episodes, mean over their seeds."""

    def train(seed: int) -> tuple[AuxiliaryDecoder, bool]:
        rng = np.random.default_rng(derive_seed(seed, "batches"))
        return train_decoder(lambda: training[rng.integers(len(training))], training[0].truth_PI.shape[1], budget, seed)

    return evaluate([train(seed) for seed in range(budget.n_seeds)], heldout, TOLERANCE, {}).r2


def stages(runs: list[Path], training: list[Any], heldout: list[Any], options: argparse.Namespace) -> Iterator[str]:
    """Yields the lines of the table."""

    def fresh(networks: Networks, stage: Stage, form: str = "direct") -> float:
        budget = Budget(n_batches=options.batches, n_seeds=options.seeds, form=form)
        return decoded(networks.rows(stage, training), networks.rows(stage, heldout), budget)

    first = Networks(runs[0])
    n_x = first.mac.x_dim
    yield f"| x alone, direct decoder | {fresh(first, lambda batch: first.heard(batch)[..., :n_x]):.3f} |"
    for form in ("direct", "published"):
        yield f"| messages, {form} decoder | {fresh(first, first.heard, form):.3f} |"
    yield "\n| run | steps | estimate | z | hidden |\n| --- | --- | --- | --- | --- |"
    for run in runs:
        networks = Networks(run)
        own = [(lambda u, counts: u, True)]
        estimate = evaluate(own, networks.rows(networks.estimate, heldout), TOLERANCE, {}).r2
        z, hidden = (fresh(networks, stage) for stage in (networks.latent, networks.hidden))
        settings = networks.record["settings"]
        name = settings.get("label") or networks.record["algorithm"]
        yield f"| {name}, seed {settings['seed']} | {networks.t_env:,} | {estimate:.3f} | {z:.3f} | {hidden:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--behaviour", type=Path, required=True)
    parser.add_argument("--training", type=int, default=1024)
    parser.add_argument("--heldout", type=int, default=256)
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recorded = play(options.behaviour, options.training + options.heldout)
    n_heldout = max(len(EPSILONS), round(len(recorded) * options.heldout / (options.training + options.heldout)))
    for line in stages(options.runs, recorded[:-n_heldout], recorded[-n_heldout:], options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
