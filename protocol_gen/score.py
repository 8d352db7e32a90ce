"""Measures what agents recover of the important state when they hear a list of programs."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from epymarl_lmac.awareness.decoder import AuxiliaryDecoder
from epymarl_lmac.awareness.inputs import Episodes, extended_obs, messages, rows_of
from epymarl_lmac.awareness.measure import (
    Budget,
    Recovery,
    Rows,
    evaluate,
    groups_of,
    spread_over_seeds,
    train_decoder,
)
from epymarl_lmac.awareness.side_by_side import side_by_side
from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.protocol import Program, ProtocolSpec, build_program
from epymarl_lmac.protocol.engine.signature import MESSAGE
from epymarl_lmac.seeding import derive_seed

BATCH_EPISODES = 32  # as published
PIECE_EPISODES = 100  # held-out episodes judged at a time
KEPT_BYTES = 2**31  # messages of the training episodes are computed once if they take no more
METRICS = ("success", "r2", "both")


@dataclass(frozen=True)
class Data:
    """The episodes of a design and how x is made of them."""

    train: Episodes
    heldout: Episodes
    layout: XLayout
    important: list[int]  # S_imp
    names: list[str]  # of the important columns
    batch_episodes: int = BATCH_EPISODES  # that a decoder learns from at a time

    @property
    def x_dim(self) -> int:
        """Returns D, the width of the extended observation."""
        _, _, N, O = self.train.obs_BTNO.shape
        return O + (self.layout.n_actions if self.layout.last_action else 0) + (N if self.layout.agent_id else 0)


class Measured(NamedTuple):
    """What the same decoders recover on two sets of held-out episodes."""

    choosing: Recovery  # candidates are compared by it
    confirming: Recovery  # reported; it chooses no candidate, but whether the step is shipped

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values for a file."""
        return {name: recovery.as_dict() for name, recovery in self._asdict().items()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Measured:
        """Reads what ``as_dict`` returned."""
        return Measured(*(Recovery.from_dict(values[name]) for name in Measured._fields))


def _message_bytes(data: Data, programs: Sequence[Program]) -> int:
    B, T, N, _ = data.train.obs_BTNO.shape
    return 4 * B * T * N * sum(program.message_dim for program in programs)


def halves(heldout: Episodes) -> tuple[Episodes, Episodes]:
    """Returns the held-out episodes that choose and, every second one, those that confirm."""
    return heldout[::2], heldout[1::2]


Decoders = list[tuple[AuxiliaryDecoder, bool]]  # one a seed, and whether its loss had settled


def train_decoders(data: Data, programs: Sequence[Program], budget: Budget, n_processes: int = 1) -> Decoders:
    """Trains decoders on the training episodes.

    All kinds see the same batches: what is drawn depends on the decoder's seed alone.

    Args:
        data: the episodes.
        programs: what agents hear, k = 0 first; none for the measurement without messages.
        budget: of the decoders.
        n_processes: decoders trained at the same time, each on one core; the metrics do not depend on it.
    """
    size = min(data.batch_episodes, len(data.train))
    train = data.train
    drawn = budget.n_seeds * budget.n_batches * size
    if programs and drawn > len(train) and _message_bytes(data, programs) <= KEPT_BYTES:
        train = train.with_messages(programs, data.layout)

    def decoder_of(seed: int) -> tuple[AuxiliaryDecoder, bool]:
        rng = np.random.default_rng(derive_seed(seed, "decoder batches"))

        def draw() -> Rows:
            drawn = train[rng.choice(len(train), size, replace=False)]
            return rows_of(drawn, programs, data.important, data.layout)

        return train_decoder(draw, len(data.important), budget, seed)

    return side_by_side([functools.partial(decoder_of, seed) for seed in range(budget.n_seeds)], n_processes)


def judge(
    data: Data, programs: Sequence[Program], decoders: Decoders, episodes: Episodes, tolerance: float
) -> Recovery:
    """Judges trained decoders on episodes that they did not see.

    Args:
        data: names the important columns and the layout of x.
        programs: what agents hear, as in training.
        decoders: what ``train_decoders`` returned.
        episodes: held-out episodes.
        tolerance: squared error that counts as success (alpha).
    """
    pieces = [
        rows_of(episodes[i : i + PIECE_EPISODES], programs, data.important, data.layout)
        for i in range(0, len(episodes), PIECE_EPISODES)
    ]
    return evaluate(decoders, pieces, tolerance, groups_of(data.names))


def measure_programs(
    data: Data, programs: Sequence[Program], budget: Budget, tolerance: float, n_processes: int = 1
) -> Measured:
    """Trains decoders on training episodes and judges them on both halves of the held-out ones.

    Arguments are those of ``train_decoders`` and ``judge``.
    """
    decoders = train_decoders(data, programs, budget, n_processes)
    return Measured(*(judge(data, programs, decoders, half, tolerance) for half in halves(data.heldout)))


def learned_bound(data: Data, budget: Budget, tolerance: float, n_processes: int = 1) -> Recovery:
    """Returns what decoders recover that hear the raw inputs of all agents, as a lower bound of the ceiling.

    Args:
        data: the episodes.
        budget: of the decoders; larger than that of protocols.
        tolerance: squared error that counts as success (alpha).
        n_processes: decoders trained at the same time.
    """
    spec = ProtocolSpec(data.train.obs_BTNO.shape[2], data.x_dim, None)
    everything = build_program(MESSAGE.forward_all.replace("AGENTS", str(spec.n_agents)), spec)
    return measure_programs(data, [everything], budget, tolerance, n_processes).confirming


def check_messages(data: Data, program: Program) -> None:
    """Refuses a program whose messages are not all finite on the recorded episodes, those of every group.

    Raises:
        ProtocolRejected: layer "contract", naming the first episode and column.
    """
    for group, episodes in (("training", data.train), ("held-out", data.heldout)):
        for start in range(0, len(episodes), PIECE_EPISODES):
            piece = episodes[start : start + PIECE_EPISODES]
            packing = piece.packing()
            with torch.no_grad():
                heard = messages([program], extended_obs(piece, packing, data.layout), packing, data.layout)
                if torch.isfinite(heard).all():
                    continue
            wrong_BTNM = ~torch.isfinite(packing.pad(heard))
            episode, step, agent, column = wrong_BTNM.nonzero()[0].tolist()
            raise ProtocolRejected(
                "contract",
                f"a message is not finite on recorded observations: column {column} of what agent {agent} hears at "
                f"step {step} of {group} episode {start + episode}; guard divisions, logarithms and powers.",
            )


def gain_of(after: Recovery, before: Recovery, metric: str) -> tuple[float, float]:
    """Returns by how much a score rose, and the standard error of that over decoder seeds."""
    errors = [spread_of(r, metric) / math.sqrt(max(1, len(r.success_by_seed))) for r in (after, before)]
    return score_of(after, metric) - score_of(before, metric), math.hypot(*errors)


def _varies(recovery: Recovery) -> bool:
    """Returns whether any of the judged columns varies; records of before ``variance_I`` say it by their R2."""
    if recovery.variance_I:
        return any(variance > 0 for variance in recovery.variance_I)
    return not all(math.isnan(r2) for row in recovery.r2_NI for r2 in row)


def _combined(recovery: Recovery, success: float, r2: float, metric: str) -> float:
    if metric == "success" or (metric == "both" and not _varies(recovery)):
        return success
    return r2 if metric == "r2" else (success + r2) / 2


def score_of(recovery: Recovery, metric: str) -> float:
    """Returns the number by which candidates are compared: success, r2, or the mean of both.

    Where no chosen column varies there is no R2, and "both" is the success alone. NaN if an estimate is not a number.
    """
    return _combined(recovery, recovery.success, recovery.r2, metric)


def spread_of(recovery: Recovery, metric: str) -> float:
    """Returns the spread over decoder seeds of ``score_of``: of the score that each seed has by itself."""
    by_seed = zip(recovery.success_by_seed, recovery.r2_by_seed, strict=True)
    return spread_over_seeds([_combined(recovery, success, r2, metric) for success, r2 in by_seed])
