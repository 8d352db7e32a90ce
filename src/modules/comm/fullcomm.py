"""Full communication: every agent receives everybody's raw observation, nothing is selected or compressed.

Letters: R rows, N agents, O observation, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modules.comm.base import Comm, Kept, Sizes, Team
from modules.comm.link import LinkSettings
from modules.comm.steps import Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs


@dataclass(frozen=True)
class FullcommSettings(LinkSettings):
    """Full communication has no settings beyond the link's."""


class FullcommComm(Comm):
    """Agents read [o_1, ..., o_N, own last action, own id], observations in agent order, the same for all receivers.

    Last action and id stay private. The shared part is identical for everyone, so the id is what tells agents apart and
    is required.

    Message: O numbers an ordered pair a step, broadcast.

    Raises:
        SettingsError: obs_agent_id is off.

    Source: the baseline of MASIA (Guan et al., NeurIPS 2022) and LMAC (Bae et al., ICML 2026).
    """

    SETTINGS = FullcommSettings
    settings: FullcommSettings
    is_slotted = True
    shares_rows = True

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        self.need_ids("fullcomm")

    @classmethod
    def sizes(cls, team: Team, settings: FullcommSettings) -> Sizes:
        return Sizes(team.own_dim + (team.n_agents - 1) * team.obs_dim, team.hidden_dim)

    def floats_per_pair(self) -> float:
        return self.team.obs_dim

    def inputs(self, steps: Steps, own_RND: Tensor, before_RNH: Tensor | None, kept: Kept) -> Tensor:
        R, N, O = steps.obs_RNO.shape
        heard = self.link.broadcast(steps, steps.obs_RNO).values.expand(R, N, N, O)
        return torch.cat([heard.reshape(R, N, N * O), own_RND[..., O:]], dim=-1)
