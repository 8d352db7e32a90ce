"""TarMAC on QMIX: broadcast messages with a signature, weighed by each receiver's query.

Letters: R rows, N receivers, S senders (S = N), D what an agent reads, H hidden, K signature, M value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, Sizes, Team
from modules.comm.link import LinkSettings
from modules.comm.steps import Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs


@dataclass(frozen=True)
class TarmacSettings(LinkSettings):
    """TarMAC's own settings."""

    tarmac_signature_dim: int = setting(32, "numbers of a message's signature (and of a receiver's query)", low=1)
    tarmac_value_dim: int = setting(10, "numbers of a message's value", low=1)
    tarmac_rounds: int = setting(1, "communication rounds a step; each further one refines what was heard", low=1)
    tarmac_detach_hidden: bool = setting(
        True, "whether messages pass no gradient back to the state h(t - 1) they are made from (as released)"
    )
    tarmac_scale: str = setting(
        "signature",
        "scores are divided by the root of this width: signature (the paper) or value (as released)",
        choices=("signature", "value"),
    )


class TarmacComm(Comm):
    """Every agent makes value, signature and query from [x, h(t - 1)] and hears the attention-weighted values.

    Scores are <query_j, signature_i> / sqrt(K); the softmax runs over all senders whose messages arrived, the agent
    itself included. What was heard joins the agent's input. In further rounds (paper, section 4.3) the state becomes
    tanh(W [heard, h]) and everything is made again from it.

    Message: K + M numbers an ordered pair and round, broadcast.

    Source: Das et al., "TarMAC: Targeted Multi-Agent Communication", ICML 2019; in QMIX as by Wang et al. (NDQ), ICLR
    2020. The released test loop that cuts 90 to 98 % of the attention is not reproduced: it is no part of the method.
    """

    SETTINGS = TarmacSettings
    settings: TarmacSettings

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        s = self.settings
        self.reads_hidden = "detached" if s.tarmac_detach_hidden else "through"
        width = team.own_dim + team.hidden_dim
        self.value = Linear(width, s.tarmac_value_dim)
        self.signature = Linear(width, s.tarmac_signature_dim)
        self.query = Linear(width, s.tarmac_signature_dim)
        self.refine = Linear(s.tarmac_value_dim + team.hidden_dim, team.hidden_dim) if s.tarmac_rounds > 1 else None
        scaled_by = s.tarmac_signature_dim if s.tarmac_scale == "signature" else s.tarmac_value_dim
        self.scale = 1 / math.sqrt(scaled_by)

    @classmethod
    def sizes(cls, team: Team, settings: TarmacSettings) -> Sizes:
        return Sizes(team.own_dim + settings.tarmac_value_dim, team.hidden_dim)

    def floats_per_pair(self) -> float:
        s = self.settings
        return s.tarmac_rounds * (s.tarmac_signature_dim + s.tarmac_value_dim)

    def inputs(self, steps: Steps, own_RND: Tensor, before_RNH: Tensor | None, kept: Kept) -> Tensor:
        assert before_RNH is not None
        state, heard = before_RNH, own_RND[..., :0]
        for k in range(self.settings.tarmac_rounds):
            if k > 0:
                assert self.refine is not None
                state = torch.tanh(self.refine(torch.cat([heard, state], dim=-1)))
            heard = self._round(steps, torch.cat([own_RND, state], dim=-1), f"round {k}")
        return torch.cat([own_RND, heard], dim=-1)

    def _round(self, steps: Steps, w_RNW: Tensor, name: str) -> Tensor:
        """Returns what every agent hears in one round, (R, N, M)."""
        K = self.settings.tarmac_signature_dim
        sent = self.link.broadcast(steps, torch.cat([self.signature(w_RNW), self.value(w_RNW)], dim=-1), name=name)
        query_RNK = self.query(w_RNW) * self.scale
        if sent.values.shape[1] == 1:
            signature, value = sent.values.squeeze(1).split([K, sent.values.shape[-1] - K], dim=-1)
            scores_RNS = torch.bmm(query_RNK, signature.transpose(1, 2))
        else:
            signature, value = sent.values.split([K, sent.values.shape[-1] - K], dim=-1)
            scores_RNS = torch.einsum("rnk,rnsk->rns", query_RNK, signature)
        if sent.open_RNS is not None:
            scores_RNS = scores_RNS.masked_fill(~sent.open_RNS, -math.inf)
        attention_RNS = torch.softmax(scores_RNS, dim=-1)
        if value.dim() == 3:
            return torch.bmm(attention_RNS, value)
        return torch.einsum("rns,rnsm->rnm", attention_RNS, value)
