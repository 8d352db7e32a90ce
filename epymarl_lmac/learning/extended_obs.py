"""The extended observation x = [obs, last action, agent id] and its history, built here for everyone who reads it.

Controllers (acting and learning), protocols and decoders all take x from this file, so that they cannot differ.

Letters: B episodes, T stored steps, N agents, O observation, A actions, D = O (+ A) (+ N), P packed rows
(``epymarl_lmac.learning.packing``), L history length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from epymarl_lmac.learning.packing import Packing

WINDOW_FLOATS = 2**25  # history windows are built in pieces of at most this many numbers (128 MiB)
BEFORE_START = -1.0  # observation and last action of steps before an episode's start; the agent's id is kept


@dataclass(frozen=True)
class XLayout:
    """What x holds."""

    n_actions: int
    last_action: bool = True  # whether x includes the agent's last action, one-hot
    agent_id: bool = True  # whether x includes the agent's index, one-hot

    def width(self, obs_dim: int, n_agents: int) -> int:
        """Returns D."""
        return obs_dim + (self.n_actions if self.last_action else 0) + (n_agents if self.agent_id else 0)

    def step(self, obs_BNO: Tensor, last_onehot_BNA: Tensor | None) -> Tensor:
        """Returns x of one step, (B, N, D).

        Args:
            obs_BNO: current observations.
            last_onehot_BNA: the actions of the step before; None at the first step (all zero then).
        """
        B, N, _ = obs_BNO.shape
        parts = [obs_BNO]
        if self.last_action:
            none = obs_BNO.new_zeros(B, N, self.n_actions) if last_onehot_BNA is None else last_onehot_BNA
            parts.append(none.to(obs_BNO.dtype))
        if self.agent_id:
            parts.append(_ids(N, obs_BNO.device, obs_BNO.dtype).expand(B, -1, -1))
        return torch.cat(parts, dim=-1)

    def packed(self, obs_BTNO: Tensor, onehot_BTNA: Tensor | None, packing: Packing) -> Tensor:
        """Returns x of all existing steps, (P, N, D); the last action is all zero at an episode's first step.

        Args:
            obs_BTNO: stored observations.
            onehot_BTNA: stored actions, one-hot; may be None where x has no last action.
            packing: where the existing steps lie.
        """
        obs = packing.pack(obs_BTNO)
        P, N, O = obs.shape
        x = obs.new_empty(P, N, self.width(O, N))
        x[..., :O] = obs
        column = O
        if self.last_action:
            assert onehot_BTNA is not None
            before = (packing.rows_P - 1).clamp(min=0)  # one step earlier in the same episode, except at t = 0
            last = onehot_BTNA.reshape(-1, N, self.n_actions).index_select(0, before)
            last[: packing.counts[0]] = 0
            x[..., column : column + self.n_actions] = last
            column += self.n_actions
        if self.agent_id:
            x[..., column:] = _ids(N, obs.device, obs.dtype)
        return x

    def before_start(self, x_RND: Tensor) -> Tensor:
        """Returns what stands in a history for steps before an episode's start, shaped as x (R, N, D)."""
        filler = torch.full_like(x_RND, BEFORE_START)
        if self.agent_id:
            N = x_RND.shape[-2]
            filler[..., -N:] = x_RND[..., -N:]
        return filler

    def histories(self, x_PND: Tensor, index_PL: Tensor) -> Tensor:
        """Returns the histories of some rows, (P', L, N, D).

        Args:
            x_PND: all existing steps.
            index_PL: long (P', L), see ``Packing.history``; P stands for steps before an episode's start.
        """
        return torch.cat([x_PND, self.before_start(x_PND[:1])])[index_PL]

    def windows(self, x_PND: Tensor, packing: Packing, length: int) -> Iterator[Tensor]:
        """Yields the last ``length`` steps up to every row, (P', L, N, D) in pieces of bounded size, in row order."""
        rows = max(1, WINDOW_FLOATS // (length * x_PND[0].numel()))
        for part in packing.history(length).split(rows):
            yield self.histories(x_PND, part)


@lru_cache(maxsize=16)  # one step of one episode takes a few operations only, and this would be one more
def _ids(n_agents: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns the agents' ids, one-hot (N, N); read it only."""
    with torch.inference_mode(False):  # whoever asks first, a learner may read it too
        return torch.eye(n_agents, device=device, dtype=dtype)
