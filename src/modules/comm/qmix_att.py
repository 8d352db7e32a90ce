"""QMIX with self-attention over the agents' hidden states before the Q layer.

Letters: R rows, N receivers, S senders (S = N), H hidden, E width of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, Sizes, Team
from modules.comm.link import LinkSettings
from modules.comm.steps import Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs


@dataclass(frozen=True)
class QmixAttSettings(LinkSettings):
    """Settings of the attention layer."""

    att_heads: int = setting(4, "attention heads", low=1)
    att_embed_dim: int = setting(64, "width of all heads together; a multiple of att_heads", low=1)


class QmixAttComm(Comm):
    """The Q layer reads [h_i, what agent i attends to among all agents' h].

    One layer of multi-head attention: keys and values of a sender are linear maps of its state, and so is the
    receiver's query; the agent itself is among its senders.

    Message: 2 * att_embed_dim numbers (key and value) an ordered pair a step, broadcast.

    Raises:
        SettingsError: att_embed_dim is no multiple of att_heads.

    Source: PyMARL2's QMIX with attention (Hu et al., "Rethinking the Implementation Tricks and Monotonicity Constraint
    in Cooperative MARL", 2021) is the idea; the layer is written from Vaswani et al., NeurIPS 2017.
    """

    SETTINGS = QmixAttSettings
    settings: QmixAttSettings

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        E, heads = self.settings.att_embed_dim, self.settings.att_heads
        if E % heads:
            raise SettingsError(f"att_embed_dim={E} is no multiple of att_heads={heads}.", "att_embed_dim")
        self.query = Linear(team.hidden_dim, E)
        self.key = Linear(team.hidden_dim, E)
        self.value = Linear(team.hidden_dim, E)
        self.out = Linear(E, team.hidden_dim)

    @classmethod
    def sizes(cls, team: Team, settings: QmixAttSettings) -> Sizes:
        return Sizes(team.own_dim, 2 * team.hidden_dim)

    def floats_per_pair(self) -> float:
        return 2 * self.settings.att_embed_dim

    def hidden(self, steps: Steps, h_RNH: Tensor, kept: Kept) -> Tensor:
        heads = self.settings.att_heads
        R, N, _ = h_RNH.shape
        query = self.query(h_RNH).view(R, N, heads, -1)
        sent = self.link.broadcast(steps, torch.cat([self.key(h_RNH), self.value(h_RNH)], dim=-1))
        # (R, N or 1, S, heads, E) each
        key, value = (part.unflatten(-1, (heads, -1)) for part in sent.values.chunk(2, dim=-1))
        scores = torch.einsum("rnhe,rnshe->rnhs", query, key.expand(R, N, -1, -1, -1)) / math.sqrt(query.shape[-1])
        if sent.open_RNS is not None:
            scores = scores.masked_fill(~sent.open_RNS.unsqueeze(2), -math.inf)
        attention = torch.softmax(scores, dim=-1)
        heard = torch.einsum("rnhs,rnshe->rnhe", attention, value.expand(R, N, -1, -1, -1)).flatten(2)
        return torch.cat([h_RNH, self.out(heard)], dim=-1)
