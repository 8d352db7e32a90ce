"""What a decoder reads, made from stored episodes: extended observations, messages, and the important state.

Letters: B episodes, T stored steps, P packed rows (``epymarl_lmac.learning.packing``), N agents, O observation,
A actions, D extended observation, M message columns, S state, I important state columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from epymarl_lmac.awareness.measure import Rows
from epymarl_lmac.learning.extended_obs import XLayout
from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.protocol.engine.program import Program

PIECE_EPISODES = 64  # episodes whose messages are computed in one call


@dataclass(frozen=True)
class Episodes:
    """Stored episodes; every array's first axis is the episode."""

    obs_BTNO: Tensor  # float32
    actions_BTN: Tensor  # long
    state_BTS: Tensor  # float32
    length_B: Tensor  # long, stored steps, the one after the last action included
    heard_BTNM: Tensor | None = None  # messages of some programs, where they were computed beforehand

    def __len__(self) -> int:
        return len(self.length_B)

    def __getitem__(self, index: np.ndarray | slice) -> Episodes:
        rows = torch.arange(len(self))[index]
        length = self.length_B[rows]
        T = int(length.max())
        return Episodes(
            self.obs_BTNO.index_select(0, rows)[:, :T],
            self.actions_BTN.index_select(0, rows)[:, :T],
            self.state_BTS.index_select(0, rows)[:, :T],
            length,
            None if self.heard_BTNM is None else self.heard_BTNM.index_select(0, rows)[:, :T],
        )

    def with_messages(self, programs: Sequence[Program], layout: XLayout) -> Episodes:
        """Returns the same episodes with what every agent receives from all programs in order, computed once."""
        B, T, N, _ = self.obs_BTNO.shape
        M = sum(program.message_dim for program in programs)
        heard = self.obs_BTNO.new_zeros(B, T, N, M)
        for start in range(0, B, PIECE_EPISODES):
            piece = self[start : start + PIECE_EPISODES]
            packing = piece.packing()
            with torch.no_grad():
                padded = packing.pad(messages(programs, extended_obs(piece, packing, layout), packing, layout))
            heard[start : start + len(piece), : padded.shape[1]] = padded
        return replace(self, heard_BTNM=heard)

    def spread(self, n: int) -> Episodes:
        """Returns at most ``n`` episodes, evenly from first to last."""
        return self[np.unique(np.linspace(0, len(self) - 1, min(n, len(self))).astype(int))]

    def packing(self) -> Packing:
        """Returns where the existing steps lie in packed rows."""
        return Packing.of(torch.arange(self.obs_BTNO.shape[1]) < self.length_B.unsqueeze(1))

    def states(self, columns: Sequence[int]) -> Tensor:
        """Returns these columns of the state at all existing steps, packed (P, I)."""
        return self.packing().pack(self.state_BTS)[:, list(columns)]


def extended_obs(episodes: Episodes, packing: Packing, layout: XLayout) -> Tensor:
    """Returns x of all existing steps, (P, N, D); the last action is all zero at t = 0."""
    onehot = None
    if layout.last_action:
        onehot = torch.nn.functional.one_hot(episodes.actions_BTN, layout.n_actions).to(episodes.obs_BTNO.dtype)
    return layout.packed(episodes.obs_BTNO, onehot, packing)


def messages(programs: Sequence[Program], x_PND: Tensor, packing: Packing, layout: XLayout) -> Tensor:
    """Returns what every agent receives at all existing steps from all programs in order, (P, N, M)."""
    parts = []
    for program in programs:
        if program.spec.history is None:
            parts.append(program.message(x_PND))
            continue
        windows = layout.windows(x_PND, packing, program.spec.history)
        parts.append(torch.cat([program.message(window_PLND) for window_PLND in windows]))
    return torch.cat(parts, dim=-1) if parts else x_PND.new_zeros(*x_PND.shape[:2], 0)


def rows_of(episodes: Episodes, programs: Sequence[Program], important: Sequence[int], layout: XLayout) -> Rows:
    """Returns what a decoder that hears these programs reads and must predict.

    Args:
        episodes: if they already have messages, these must be of the same programs.
        programs: k = 0 first.
        important: state columns to predict.
        layout: of x.
    """
    packing = episodes.packing()
    with torch.no_grad():
        x_PND = extended_obs(episodes, packing, layout)
        if episodes.heard_BTNM is None:
            heard = messages(programs, x_PND, packing, layout)
        else:
            heard = packing.pack(episodes.heard_BTNM)
        truth = packing.pack(episodes.state_BTS)[:, list(important)]
    return Rows(torch.cat([x_PND, heard], dim=-1), truth, packing.counts)
