"""CommNet inside a QMIX agent: rounds in which every agent adds the mean of its teammates' hidden states to its own.

Letters: R rows, N agents, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, Team
from modules.comm.link import LinkSettings
from modules.comm.steps import Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs


@dataclass(frozen=True)
class CommnetSettings(LinkSettings):
    """CommNet's own settings."""

    commnet_rounds: int = setting(1, "communication rounds a step", low=1)


class CommnetComm(Comm):
    """h_i <- tanh(W_h h_i + W_c mean_{j != i} h_j), as many times as there are rounds, each with weights of its own.

    The first round reads the agents' GRU states, and the result goes to the Q layer only: messages do not enter the
    recurrence, so everything after the GRU is one call over all steps.

    Message: H numbers an ordered pair and round, broadcast.

    Source: Sukhbaatar, Szlam, Fergus, "Learning Multiagent Communication with Backpropagation", NIPS 2016; where it
    enters a QMIX agent is our choice.
    """

    SETTINGS = CommnetSettings
    settings: CommnetSettings

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        H, rounds = team.hidden_dim, range(self.settings.commnet_rounds)
        self.own = nn.ModuleList([Linear(H, H) for _ in rounds])
        self.heard = nn.ModuleList([Linear(H, H, bias=False) for _ in rounds])

    def floats_per_pair(self) -> float:
        return self.team.hidden_dim * self.settings.commnet_rounds

    def hidden(self, steps: Steps, h_RNH: Tensor, kept: Kept) -> Tensor:
        for k, (own, heard) in enumerate(zip(self.own, self.heard, strict=True)):
            mean = self.link.broadcast(steps, h_RNH, name=f"round {k}").mean_of_others()
            h_RNH = torch.tanh(own(h_RNH) + heard(mean))
        return h_RNH
