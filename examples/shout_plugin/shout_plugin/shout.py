"""Shout: every agent says a learned vector, and hears the mean of what the others say.

The whole method is this file. It sends through the project's link, so channel options, controls and the count of what
is sent come with it. The controller, the learner, the agent and the mixer are the project's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from epymarl_lmac.settings import setting
from modules.comm.base import Comm, Kept, Sizes, Team
from modules.comm.link import LinkSettings
from modules.comm.steps import Steps


@dataclass(frozen=True)
class ShoutSettings(LinkSettings):
    """The settings of this method beyond those of every run; they are checked before a run starts."""

    shout_dim: int = setting(4, "width of a message, numbers", low=1)


class ShoutComm(Comm):
    """Agents act on [x, what they hear].

    Letters: R rows, N agents, D what an agent reads without messages, M message.
    """

    SETTINGS = ShoutSettings

    def __init__(self, team: Team, args: Any) -> None:
        super().__init__(team, args)
        self.voice = nn.Linear(team.own_dim, self.settings.shout_dim)

    @classmethod
    def sizes(cls, team: Team, settings: Any) -> Sizes:
        return Sizes(team.own_dim + settings.shout_dim, team.hidden_dim)

    def floats_per_pair(self) -> float:
        return self.settings.shout_dim

    def inputs(self, steps: Steps, own_RND: Tensor, before_RNH: Tensor | None, kept: Kept) -> Tensor:
        said_RNM = torch.tanh(self.voice(own_RND))
        return torch.cat([own_RND, self.link.broadcast(steps, said_RNM).mean_of_others()], dim=-1)
