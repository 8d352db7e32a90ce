"""Recovery tables: how much of the state each agent can reconstruct, with and without messages.

Decoders of the same architecture, budget and seeds are trained on the same episodes with different inputs and judged
on held-out episodes that no decoder saw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from epymarl_lmac.awareness.decoder import AuxiliaryDecoder, squared_error
from epymarl_lmac.seeding import derive_seed


class Rows(NamedTuple):
    """Packed steps of some episodes."""

    u_PNU: Tensor  # what the decoder reads
    truth_PI: Tensor  # the important state
    counts: list[int]  # running episodes at each step


@dataclass(frozen=True)
class Budget:
    """How a decoder is trained."""

    n_batches: int  # gradient steps
    n_seeds: int  # decoders of each kind
    lr: float = 5e-4
    seed: int = 1


@dataclass(frozen=True)
class Recovery:
    """What decoders of one kind recover on held-out episodes; means over decoder seeds."""

    success: float  # share of (agent, column, step) with squared error within tolerance
    success_spread: float  # standard deviation over decoder seeds
    imbalance: float  # mean over columns of the variance over agents of the success rate
    skill: float  # 1 - MSE / Var, pooled over columns
    skill_spread: float  # standard deviation over decoder seeds
    skill_by_group: dict[str, float]  # the same by group of columns; NaN where none of them varies
    success_NI: list[list[float]]  # success rate of every agent and column
    converged: bool  # whether the last tenth of training improved the loss by less than 2 %

    def summary(self) -> dict[str, Any]:
        """Returns the figures without the table, rounded, for a manifest."""
        values = {k: v for k, v in asdict(self).items() if k != "success_NI"}
        values["skill_by_group"] = {k: round(v, 4) for k, v in self.skill_by_group.items()}
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}


def train_decoder(sample: Callable[[], Rows], n_important: int, budget: Budget, seed: int):
    """Trains one decoder.

    Args:
        sample: draws a batch of training episodes.
        n_important: columns to predict.
        budget: how long.
        seed: initial weights and dropout.

    Returns:
        The decoder, in eval mode, and whether its loss had settled.
    """
    torch.manual_seed(derive_seed(seed, "decoder"))
    first = sample()
    decoder = AuxiliaryDecoder(first.u_PNU.shape[-1], n_important)
    optimiser = torch.optim.Adam(decoder.parameters(), lr=budget.lr, fused=True)
    losses = []
    for _ in range(budget.n_batches):
        rows = sample()
        loss = squared_error(predict(decoder, rows), rows.truth_PI).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    tenth = max(1, budget.n_batches // 10)
    before, last = np.mean(losses[-2 * tenth : -tenth] or losses), np.mean(losses[-tenth:])
    return decoder.eval(), bool(last > 0.98 * before)


def _skill(error_I: Tensor, spread_I: Tensor) -> float:
    """Returns 1 - MSE / Var over columns; NaN where none of them varies."""
    return float(1 - error_I.sum() / spread_I.sum()) if spread_I.sum() > 0 else math.nan


def predict(decoder: AuxiliaryDecoder, rows: Rows) -> Tensor:
    """Returns the estimates (P, N, I) of packed rows."""
    P, N, U = rows.u_PNU.shape
    return decoder(rows.u_PNU.reshape(P * N, U), [c * N for c in rows.counts]).view(P, N, -1)


def evaluate(
    decoders: Sequence[tuple[AuxiliaryDecoder, bool]],
    heldout: Rows,
    tolerance: float,
    groups: dict[str, list[int]],
) -> Recovery:
    """Judges trained decoders on held-out episodes.

    Args:
        decoders: what ``train_decoder`` returned, one a seed.
        heldout: episodes no decoder saw.
        tolerance: squared error that counts as success (alpha).
        groups: names and columns of groups of columns.
    """
    truth = heldout.truth_PI
    spread_I = torch.square(truth - truth.mean(0)).mean(0)
    tables, skills, by_group = [], [], []
    for decoder, _ in decoders:
        with torch.no_grad():
            error = squared_error(predict(decoder, heldout), truth)
        tables.append((error <= tolerance).float().mean(0))
        error_I = error.mean((0, 1))
        skills.append(_skill(error_I, spread_I))
        by_group.append({k: _skill(error_I[i], spread_I[i]) for k, i in groups.items()})
    success = torch.stack(tables)  # (seeds, N, I)
    return Recovery(
        success=float(success.mean()),
        success_spread=float(success.mean((1, 2)).std(correction=0)),
        imbalance=float(success.var(1, correction=0).mean()),
        skill=float(np.mean(skills)),
        skill_spread=float(np.std(skills)),
        skill_by_group={k: float(np.mean([one[k] for one in by_group])) for k in groups},
        success_NI=success.mean(0).tolist(),
        converged=all(settled for _, settled in decoders),
    )
