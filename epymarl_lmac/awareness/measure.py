"""Recovery tables: how much of the state each agent can reconstruct, with and without messages.

Decoders of the same architecture, budget and seeds are trained on the same episodes with different inputs and judged
on held-out episodes that no decoder saw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
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


Decoder = Callable[[Tensor, Sequence[int]], Tensor]  # packed inputs (P, U) and running rows a step -> estimates (P, I)


@dataclass(frozen=True)
class Budget:
    """How a decoder is trained; equal for all kinds that are compared."""

    n_batches: int  # batches drawn
    n_seeds: int  # decoders of each kind
    lr: float = 5e-3  # falls to zero over the last third
    steps_per_batch: int = 1  # gradient steps on every batch drawn
    form: str = "direct"  # of the decoder, one of ``awareness.decoder.FORMS``


TOLERANCE = 0.05  # squared error that counts as success, unless a design says otherwise (alpha)
QUINTILES = ("early", "early-mid", "mid", "mid-late", "late")
RENAMED = {  # names of fields in older records -> today's
    "success_off_mode": "recall",
    "success_off_mode_spread": "recall_spread",
    "success_off_mode_by_group": "recall_by_group",
    "imbalance_off_mode": "recall_imbalance",
    "skill": "r2",
    "skill_spread": "r2_spread",
    "skill_by_group": "r2_by_group",
    "skill_NI": "r2_NI",
    "skill_by_seed": "r2_by_seed",
    "skill_F": "r2_Q",
    "success_FNI": "success_QNI",
}
_TABLES = ("success_NI", "r2_NI", "success_QNI", "success_TN", "imbalance_I", "mse_NI", "variance_I")


@dataclass(frozen=True)
class Recovery:
    """What decoders of one kind recover on held-out episodes; means over decoder seeds.

    Letters: N agents, I important columns, Q quintiles of an episode, T steps. Tables hold NaN where there is no step.
    """

    success: float  # share of (agent, column, step) with squared error within tolerance
    success_spread: float  # over decoder seeds (``spread_over_seeds``)
    imbalance: float  # mean over columns of the variance over agents of the success rate
    recall: float  # success rate on entries that differ from their column's most frequent value; NaN without any
    recall_spread: float  # over decoder seeds
    recall_by_group: dict[str, float]  # the same by group of columns
    recall_imbalance: float  # mean over columns of the variance over agents of that rate
    r2: float  # 1 - MSE / Var, pooled over columns
    r2_spread: float  # over decoder seeds
    r2_by_group: dict[str, float]  # the same by group of columns; NaN where none of them varies
    success_NI: list[list[float]]  # success rate of every agent and column
    r2_NI: list[list[float]]  # 1 - MSE / Var of every agent and column; NaN for columns that never vary
    success_QNI: list[list[list[float]]]  # success rate in every quintile of the episode
    success_TN: list[list[float]]  # success rate of every step and agent
    imbalance_I: list[float]  # variance over agents of the success rate of every column
    success_by_seed: list[float]
    r2_by_seed: list[float]
    imbalance_spread: float  # over decoder seeds
    converged: bool  # whether training had come to next to nothing (``has_settled``), with every seed
    n_unconverged: int  # decoders whose loss still fell
    r2_Q: list[float] = field(default_factory=list)  # R2 in every quintile of the episode; empty in old records
    mse_NI: list[list[float]] = field(default_factory=list)  # mean squared error of every agent and column
    variance_I: list[float] = field(default_factory=list)  # of every column

    def summary(self) -> dict[str, Any]:
        """Returns the metrics without the tables, rounded, for a manifest."""
        values = {k: v for k, v in asdict(self).items() if k not in _TABLES}
        for key in ("r2_by_group", "recall_by_group"):
            values[key] = {k: round(v, 4) for k, v in values[key].items()}
        for key in ("success_by_seed", "r2_by_seed"):
            values[key] = [round(v, 4) for v in values[key]]
        return {k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()}

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain values; NaN becomes None, so that any JSON reader takes it."""
        return _plain(asdict(self))

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Recovery:
        """Reads what ``as_dict`` returned, in this version or before its fields had today's names."""
        values = {RENAMED.get(k, k): v for k, v in values.items()}
        return Recovery(**{k: v if k in ("converged", "n_unconverged") else _nan(v) for k, v in values.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def _nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_nan(v) for v in value]
    return math.nan if value is None else value


def spread_over_seeds(values: Sequence[float]) -> float:
    """Returns the sample standard deviation (n - 1) of one figure by decoder seed; 0 for one seed, which has none.

    >>> round(spread_over_seeds([1.0, 2.0, 3.0]), 6), spread_over_seeds([1.0])
    (1.0, 0.0)
    """
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def groups_of(names: Sequence[str]) -> dict[str, list[int]]:
    """Returns the columns by the part of their names before the bracket, e.g. "food"."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(name.split("[")[0], []).append(index)
    return groups


def train_decoder(
    sample: Callable[[], Rows], n_important: int, budget: Budget, seed: int
) -> tuple[AuxiliaryDecoder, bool]:
    """Trains one decoder; its learning rate falls linearly to zero over the last third of the batches.

    Args:
        sample: draws a batch of training episodes.
        n_important: columns to predict.
        budget: how long.
        seed: initial weights and dropout.

    Returns:
        The decoder, in eval mode, and whether its loss had settled.
    """
    torch.manual_seed(derive_seed(seed, "decoder"))
    decoder: AuxiliaryDecoder | None = None
    losses: list[float] = []
    for number in range(budget.n_batches):
        rows = sample()
        if decoder is None:
            decoder = AuxiliaryDecoder(rows.u_PNU.shape[-1], n_important, form=budget.form)
            optimiser = torch.optim.Adam(decoder.parameters(), lr=budget.lr, fused=True)
        optimiser.param_groups[0]["lr"] = budget.lr * min(1.0, 3 * (1 - number / budget.n_batches))
        for step in range(budget.steps_per_batch):
            loss = squared_error(predict(decoder, rows), rows.truth_PI).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step == 0:  # on a batch that the decoder has not just been fitted to
                variance = float(rows.truth_PI.var(0, correction=0).mean())
                losses.append(loss.item() - variance)
    if decoder is None:
        raise ValueError(f"n_batches={budget.n_batches} must be at least 1.")
    return decoder.eval(), has_settled(losses, variance)


def has_settled(losses: Sequence[float], variance: float) -> bool:
    """Returns whether the loss fell by next to nothing in the second third of training, the last at the full rate.

    Args:
        losses: mean squared error of every batch before it was learnt from, in order. Better subtract the batch's own
            variance: a batch with much variance has a large error whatever the decoder does.
        variance: of the state columns, mean over them. A fall of the loss by less than 0.005 of it, that is a rise of
            R2 by less than 0.005, counts as nothing.
    """
    n = len(losses)
    sixth = max(1, n // 6)
    third = max(n // 3, 1)
    before = np.mean(losses[third - min(sixth, third) : third])
    after = np.mean(losses[max(2 * third - sixth, 0) : 2 * third])
    return bool(before - after < 0.005 * variance)


def predict(decoder: Decoder, rows: Rows) -> Tensor:
    """Returns the estimates (P, N, I) of packed rows."""
    P, N, U = rows.u_PNU.shape
    return decoder(rows.u_PNU.reshape(P * N, U), [c * N for c in rows.counts]).view(P, N, -1)


def step_and_quintile(counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Returns the step (P,) of every packed row and the quintile (P,) of its own episode in which it lies."""
    count_T = torch.tensor(counts)
    step_P = torch.repeat_interleave(torch.arange(len(counts)), count_T)
    rank_P = torch.cat([torch.arange(c) for c in counts])
    length_P = (count_T.unsqueeze(1) > torch.arange(counts[0])).sum(0)[rank_P]
    return step_P, len(QUINTILES) * step_P // length_P


class _Sums:
    """Sums over the rows of all pieces for one decoder."""

    def __init__(self, n_steps: int, N: int, I: int) -> None:
        self.hits_QNI, self.n_Q = torch.zeros(len(QUINTILES), N, I), torch.zeros(len(QUINTILES))
        self.hits_TN, self.n_T = torch.zeros(n_steps, N), torch.zeros(n_steps)
        self.error_NI = torch.zeros(N, I, dtype=torch.float64)
        self.error_QI = torch.zeros(len(QUINTILES), I, dtype=torch.float64)
        self.found_NI, self.n_rare_I = torch.zeros(N, I), torch.zeros(I)

    def add(self, error_PNI: Tensor, rare_PI: Tensor, tolerance: float, counts: Sequence[int]) -> None:
        hit = (error_PNI <= tolerance).float()
        self.found_NI += (hit * rare_PI.unsqueeze(1)).sum(0)
        self.n_rare_I += rare_PI.sum(0)
        step, quintile = step_and_quintile(counts)
        self.hits_QNI.index_add_(0, quintile, hit)
        self.n_Q.index_add_(0, quintile, torch.ones(len(quintile)))
        self.hits_TN.index_add_(0, step, hit.mean(2))
        self.n_T.index_add_(0, step, torch.ones(len(step)))
        self.error_NI += error_PNI.double().sum(0)
        self.error_QI.index_add_(0, quintile, error_PNI.double().mean(1))


def _sums_of(decoder: Decoder, pieces: Sequence[Rows], majority_I: Tensor, tolerance: float) -> _Sums:
    """Returns the sums of one decoder over all pieces."""
    (_, N, _), I = pieces[0].u_PNU.shape, len(majority_I)
    sums = _Sums(max(len(piece.counts) for piece in pieces), N, I)
    for piece in pieces:
        with torch.no_grad():
            rare_PI = (torch.square(piece.truth_PI - majority_I) > tolerance).float()
            error_PNI = squared_error(predict(decoder, piece), piece.truth_PI)
            sums.add(error_PNI, rare_PI, tolerance, piece.counts)
    return sums


def _variance(truth_PI: Tensor) -> Tensor:
    """Returns the variance of every column (I,); exactly 0 for a column of one value, whatever rounding says."""
    variance_I = torch.square(truth_PI - truth_PI.mean(0)).mean(0)
    variance_I[truth_PI.amax(0) == truth_PI.amin(0)] = 0
    return variance_I


def _success_fields(all_sums: Sequence[_Sums], n_rows: int) -> dict[str, Any]:
    """Returns the fields of ``Recovery`` about the success rate."""
    success_SNI = torch.stack([sums.hits_QNI.sum(0) / n_rows for sums in all_sums])  # S decoder seeds
    imbalance_SI = success_SNI.var(1, correction=0)
    n_Q, n_T = all_sums[0].n_Q, all_sums[0].n_T
    return {
        "success": float(success_SNI.mean()),
        "success_spread": spread_over_seeds(success_SNI.mean((1, 2)).tolist()),
        "success_by_seed": success_SNI.mean((1, 2)).tolist(),
        "success_NI": success_SNI.mean(0).tolist(),
        "success_QNI": (torch.stack([s.hits_QNI for s in all_sums]).mean(0) / n_Q.view(-1, 1, 1)).tolist(),
        "success_TN": (torch.stack([s.hits_TN for s in all_sums]).mean(0) / n_T.view(-1, 1)).tolist(),
        "imbalance": float(imbalance_SI.mean(1).mean()),
        "imbalance_spread": spread_over_seeds(imbalance_SI.mean(1).tolist()),
        "imbalance_I": imbalance_SI.mean(0).tolist(),
    }


def _recall(sums: _Sums, columns: Sequence[int]) -> float:
    """Returns the recall off the majority value, pooled over columns; NaN if no entry is off it."""
    columns = list(columns)
    entries = float(sums.n_rare_I[columns].sum()) * len(sums.found_NI)
    return float(sums.found_NI[:, columns].sum()) / entries if entries else math.nan


def _recall_fields(all_sums: Sequence[_Sums], groups: dict[str, list[int]]) -> dict[str, Any]:
    """Returns the fields of ``Recovery`` about the recall off the majority value."""
    n_rare_I = all_sums[0].n_rare_I
    by_seed = [_recall(sums, range(len(n_rare_I))) for sums in all_sums]
    rates_SNI = torch.stack([sums.found_NI for sums in all_sums])[..., n_rare_I > 0] / n_rare_I[n_rare_I > 0]
    return {
        "recall": float(np.mean(by_seed)),
        "recall_spread": spread_over_seeds(by_seed),
        "recall_by_group": {k: float(np.mean([_recall(sums, i) for sums in all_sums])) for k, i in groups.items()},
        "recall_imbalance": float(rates_SNI.var(1, correction=0).mean()) if rates_SNI.numel() else math.nan,
    }


def _r2(error_I: Tensor, spread_I: Tensor) -> float:
    """Returns 1 - MSE / Var over columns; NaN where none of them varies."""
    return float(1 - error_I.sum() / spread_I.sum()) if spread_I.sum() > 0 else math.nan


def _r2_fields(
    all_sums: Sequence[_Sums], n_rows: int, variance_I: Tensor, groups: dict[str, list[int]]
) -> dict[str, Any]:
    """Returns the fields of ``Recovery`` about the squared error and R2."""
    error_SNI = torch.stack([sums.error_NI / n_rows for sums in all_sums])
    error_SI, error_NI = error_SNI.mean(1), error_SNI.mean(0)
    by_seed = [_r2(error_I, variance_I) for error_I in error_SI]
    by_group = {k: [_r2(error_I[i], variance_I[i]) for error_I in error_SI] for k, i in groups.items()}
    error_QI = torch.stack([s.error_QI for s in all_sums]).mean(0) / all_sums[0].n_Q.unsqueeze(1)
    varies_I = torch.where(variance_I > 0, variance_I, math.nan)
    return {
        "r2": float(np.mean(by_seed)),
        "r2_spread": spread_over_seeds(by_seed),
        "r2_by_seed": by_seed,
        "r2_by_group": {k: float(np.mean(v)) for k, v in by_group.items()},
        "r2_NI": (1 - error_NI / varies_I).tolist(),
        "r2_Q": [_r2(error_I, variance_I) for error_I in error_QI],
        "mse_NI": error_NI.tolist(),
        "variance_I": variance_I.tolist(),
    }


def evaluate(
    decoders: Sequence[tuple[Decoder, bool]],
    heldout: Rows | Sequence[Rows],
    tolerance: float,
    groups: dict[str, list[int]],
    reference_PI: Tensor | None = None,
) -> Recovery:
    """Judges trained decoders on held-out episodes.

    Args:
        decoders: what ``train_decoder`` returned, one a seed.
        heldout: episodes no decoder saw, in one piece or several.
        tolerance: squared error that counts as success (alpha).
        groups: names and columns of groups of columns.
        reference_PI: states whose variance and majority values R2 and recall are relative to; None: those judged. Few
            episodes vary less around their own mean, so their R2 is comparable to that of many only with this.
    """
    pieces = [heldout] if isinstance(heldout, Rows) else list(heldout)
    truth_PI = torch.cat([piece.truth_PI for piece in pieces]).double()
    reference_PI = truth_PI if reference_PI is None else reference_PI.double()
    variance_I, majority_I = _variance(reference_PI), reference_PI.mode(0).values
    all_sums = [_sums_of(decoder, pieces, majority_I, tolerance) for decoder, _ in decoders]
    n_unconverged = sum(not settled for _, settled in decoders)
    return Recovery(
        **_success_fields(all_sums, len(truth_PI)),
        **_recall_fields(all_sums, groups),
        **_r2_fields(all_sums, len(truth_PI), variance_I, groups),
        converged=n_unconverged == 0,
        n_unconverged=n_unconverged,
    )
