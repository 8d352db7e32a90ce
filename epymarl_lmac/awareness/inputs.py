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
from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.protocol.program import Program

PIECE_EPISODES = 64  # episodes whose messages are computed in one call
WINDOW_FLOATS = 2**24  # history windows are built in pieces of at most this many numbers (64 MiB)


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


@dataclass(frozen=True)
class XLayout:
    """What x = [observation, last action, agent id] holds."""

    n_actions: int
    last_action: bool = True
    agent_id: bool = True


def extended_obs(episodes: Episodes, packing: Packing, layout: XLayout) -> Tensor:
    """Returns x of all existing steps, (P, N, D); the last action is all zero at t = 0."""
    obs = packing.pack(episodes.obs_BTNO)
    P, N, _ = obs.shape
    parts = [obs]
    if layout.last_action:
        before = (packing.rows_P - 1).clamp(min=0)
        actions = episodes.actions_BTN.reshape(-1, N).index_select(0, before)
        onehot = torch.nn.functional.one_hot(actions, layout.n_actions).to(obs.dtype)
        onehot[: packing.counts[0]] = 0
        parts.append(onehot)
    if layout.agent_id:
        parts.append(torch.eye(N, dtype=obs.dtype).expand(P, N, N))
    return torch.cat(parts, dim=-1)


def windows(x_PND: Tensor, index_PL: Tensor, layout: XLayout) -> Tensor:
    """Returns the histories of some rows, (P', L, N, D); steps before the start are -1, the agent's id kept."""
    filler = torch.full_like(x_PND[:1], -1.0)
    if layout.agent_id:
        N = x_PND.shape[1]
        filler[..., -N:] = x_PND[:1, :, -N:]
    return torch.cat([x_PND, filler])[index_PL]


def messages(programs: Sequence[Program], x_PND: Tensor, packing: Packing, layout: XLayout) -> Tensor:
    """Returns what every agent receives at all existing steps from all programs in order, (P, N, M)."""
    parts = []
    for program in programs:
        if program.spec.history is None:
            parts.append(program.message(x_PND))
            continue
        index = packing.history(program.spec.history)
        n_rows = max(1, WINDOW_FLOATS // (index.shape[1] * x_PND[0].numel()))
        pieces = [program.message(windows(x_PND, part, layout)) for part in index.split(n_rows)]
        parts.append(torch.cat(pieces))
    return torch.cat(parts, dim=-1) if parts else x_PND.new_zeros(*x_PND.shape[:2], 0)


def rows_of(episodes: Episodes, programs: Sequence[Program], important: Sequence[int], layout: XLayout) -> Rows:
    """Returns what a decoder that hears these programs reads and must predict.

    Args:
        episodes: if they have messages beforehand, these must be of the same programs.
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
