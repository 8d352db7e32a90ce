"""Episodes of different length as one block of rows without padding.

A batch is sampled as (B, T, ...) arrays in which short episodes are padded to the longest. Once agents solve a task
early, most of that is padding. Here the steps that exist are listed step by step, episodes ordered from longest to
shortest, so that at every step the running episodes are a prefix: recurrent layers take prefixes, everything else
is one call over the rows, and no loss needs a mask.

Letters: B episodes, T stored steps, P rows (existing steps, all episodes), V transitions, L history length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where each existing step of a batch lies in the packed rows."""

    n_episodes: int  # B
    n_steps: int  # T
    counts: list[int]  # episodes still running at each step, not increasing
    rows_P: Tensor  # long: index b * T + t of every packed row in the flattened batch
    now_V: Tensor  # long: packed row of every transition's step
    next_V: Tensor  # long: packed row of the step after it
    rank_B: Tensor  # long: place of each episode in the order
    offset_T: Tensor  # long: first packed row of each step

    @staticmethod
    def of(filled_BT: Tensor) -> Packing:
        """Returns the packing of a batch.

        Args:
            filled_BT: 1 where a step is stored; every episode's steps are a prefix, its last one only bootstraps.
        """
        B, T = filled_BT.shape
        device = filled_BT.device
        lengths = filled_BT.long().sum(1)
        order = torch.argsort(lengths, descending=True, stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(B, device=device)
        running_TB = torch.arange(T, device=device).unsqueeze(1) < lengths[order].unsqueeze(0)
        count_T = running_TB.sum(1)
        offset = torch.cumsum(count_T, 0) - count_T
        t_P, place_P = running_TB.nonzero(as_tuple=True)
        rows = order[place_P] * T + t_P
        followed = t_P + 1 < lengths[order][place_P]
        now = followed.nonzero().squeeze(1)
        following = offset[t_P[now] + 1] + place_P[now]
        counts = [c for c in count_T.tolist() if c > 0]
        return Packing(B, T, counts, rows, now, following, rank, offset)

    def pack(self, value: Tensor) -> Tensor:
        """Returns the existing steps (P, ...) of an array (B, T, ...)."""
        return value.reshape(self.n_episodes * self.n_steps, *value.shape[2:]).index_select(0, self.rows_P)

    def pad(self, value: Tensor) -> Tensor:
        """Returns (B, T, ...) from packed rows (P, ...), zeros where no step is stored."""
        padded = value.new_zeros(self.n_episodes * self.n_steps, *value.shape[1:])
        return padded.index_copy(0, self.rows_P, value).view(self.n_episodes, self.n_steps, *value.shape[1:])

    def history(self, length: int) -> Tensor:
        """Returns for every row the packed rows of its last ``length`` steps, the newest last.

        Steps before the episode's start are P, the index after the last row.

        Returns:
            Long (P, L).
        """
        t_P = self.rows_P % self.n_steps
        place_P = self.rank_B[self.rows_P // self.n_steps]
        back = torch.arange(length - 1, -1, -1, device=t_P.device)
        t_PL = t_P.unsqueeze(1) - back
        index = self.offset_T[t_PL.clamp(min=0)] + place_P.unsqueeze(1)
        return torch.where(t_PL >= 0, index, len(self.rows_P))

    def ahead(self, k: int) -> Tensor:
        """Returns for every row the packed row ``k`` steps later in its episode, or -1 where the episode is over.

        Returns:
            Long (P,).
        """
        P = len(self.rows_P)
        following = self.rows_P.new_full((P + 1,), -1)  # the last entry, index -1, leads from the end to the end
        following[self.now_V] = self.next_V
        row = torch.arange(P, device=self.rows_P.device)
        for _ in range(k):
            row = following[row]
        return row
