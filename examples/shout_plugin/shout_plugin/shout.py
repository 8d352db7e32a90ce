"""Shout: every agent says a learned vector, and hears the mean of what the others say.

The whole method is this file. It is a controller: ``forward`` acts, ``_q_values`` computes all steps of a batch for the
learner, and ``networks`` names what is trained and saved. The learner, the agent and the mixer are the project's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from controllers.sequence_controller import SequenceMAC
from epymarl_lmac.settings import setting


@dataclass(frozen=True)
class ShoutSettings:
    """The settings that this method reads beyond those of every run; they are checked before a run starts."""

    shout_dim: int = setting(4, "width of a message, numbers", low=1)


class ShoutMAC(SequenceMAC):
    """Parameter-shared agents on [x, what they hear].

    Args:
        scheme, groups, args: as for ``SequenceMAC``; ``args`` also needs the fields of ``ShoutSettings``.
    """

    SETTINGS = ShoutSettings

    def __init__(self, scheme, groups, args) -> None:
        super().__init__(scheme, groups, args)
        self.voice = nn.Linear(super()._agent_input_dim(), args.shout_dim)

    def _agent_input_dim(self) -> int:
        return super()._agent_input_dim() + self.args.shout_dim

    def networks(self) -> dict[str, nn.Module]:
        return {**super().networks(), "voice": self.voice}

    def _with_messages(self, x_RND: Tensor) -> Tensor:
        """Appends to every agent's x (R, N, D) the mean of what the others say (R, N, M)."""
        said = torch.tanh(self.voice(x_RND))
        heard = (said.sum(1, keepdim=True) - said) / max(1, self.n_agents - 1)
        return torch.cat([x_RND, heard], dim=-1)

    def forward(self, ep_batch, t: int, test_mode: bool = False) -> Tensor:
        x = self._with_messages(self._with_state(self.extended_obs(ep_batch, t), ep_batch["state"][:, t]))
        B, N, D = x.shape
        q_RA, self.hidden_states = self.agent(x.reshape(B * N, D), self.hidden_states)
        return q_RA.view(B, N, -1)

    def _q_values(self, inputs_PND: Tensor, packing) -> Tensor:
        return super()._q_values(self._with_messages(inputs_PND), packing)
