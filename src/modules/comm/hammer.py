"""HAMMER on QMIX: a central messenger hears all observations and tells every agent a few numbers.

Letters: R rows, N agents, O observation, M message, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.products import Linear
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, Sizes, Team
from modules.comm.link import LinkSettings
from modules.comm.steps import LEARN, TEST, Steps

if TYPE_CHECKING:
    from epymarl_lmac.seam import CommArgs


@dataclass(frozen=True)
class HammerSettings(LinkSettings):
    """HAMMER's own settings."""

    hammer_message_dim: int = setting(
        4, "numbers that every agent is told a step; 0 is the control without messages", low=0
    )
    hammer_hidden_dim: int = setting(64, "width of the messenger's two layers", low=1)
    hammer_dru: bool = setting(
        False,
        "whether messages pass a noisy sigmoid while learning and become 0 or 1 in tests and in the target network "
        "(the authors' v3)",
    )
    hammer_sigma: float = setting(2.0, "standard deviation of that noise", low=0)
    hammer_source: str = setting(
        "learned",
        "where messages come from: learned, or random (uniform in [0, 1), a control)",
        choices=("learned", "random"),
    )


class HammerComm(Comm):
    """The messenger is an MLP over all observations with one linear layer an agent; the TD loss trains it.

    It has no objective of its own: the gradient of all agents' values reaches it through their inputs. It is present
    at execution, so this is centralised observation with a narrow way back. The cost says so: O numbers from every
    agent to the messenger and M back to each, a step.

    Source: Gupta et al., "HAMMER: Multi-Level Coordination of Reinforcement Learning Agents via Learned Messaging",
    2021 (PPO); the QMIX form is ours.
    """

    SETTINGS = HammerSettings
    settings: HammerSettings
    is_slotted = True

    def __init__(self, team: Team, args: CommArgs) -> None:
        super().__init__(team, args)
        s = self.settings
        self.samples = s.hammer_dru or s.hammer_source == "random"
        self.has_network = s.hammer_source == "learned" and s.hammer_message_dim > 0
        if self.has_network:
            self.messenger = nn.Sequential(
                Linear(team.n_agents * team.obs_dim, s.hammer_hidden_dim),
                nn.ReLU(),
                Linear(s.hammer_hidden_dim, s.hammer_hidden_dim),
                nn.ReLU(),
                Linear(s.hammer_hidden_dim, team.n_agents * s.hammer_message_dim),
            )

    @classmethod
    def sizes(cls, team: Team, settings: HammerSettings) -> Sizes:
        return Sizes(team.own_dim + settings.hammer_message_dim, team.hidden_dim)

    def inputs(self, steps: Steps, own_RND: Tensor, before_RNH: Tensor | None, kept: Kept) -> Tensor:
        R, N, _ = own_RND.shape
        M = self.settings.hammer_message_dim
        if M == 0:
            return own_RND
        if not self.has_network:
            return torch.cat([own_RND, torch.rand(R, N, M, device=own_RND.device)], dim=-1)
        known = self.link.to_messenger(steps, steps.obs_RNO)
        message = self._regulated(steps, self.messenger(known.flatten(1)).view(R, N, M))
        return torch.cat([own_RND, self.link.from_messenger(steps, message)], dim=-1)

    def _regulated(self, steps: Steps, message_RNM: Tensor) -> Tensor:
        """Applies the noisy sigmoid (discretise / regularise unit) where it is on; tests and the target network get
        0 or 1."""
        if not self.settings.hammer_dru:
            return message_RNM
        is_target = steps.mode == LEARN and not self.training
        if steps.mode == TEST or is_target:
            return (message_RNM > 0).to(message_RNM.dtype)
        return torch.sigmoid(message_RNM + self.settings.hammer_sigma * torch.randn_like(message_RNM))
