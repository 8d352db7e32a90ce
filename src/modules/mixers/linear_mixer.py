"""Linear decomposition with weights from the state: Q_tot is a weighted mean of the agents' Q-values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.products import Linear

if TYPE_CHECKING:
    from epymarl_lmac.seam import MixerArgs


class LinearMixer(nn.Module):
    """Q_tot = sum_i k_i(s) Q_i with k_i(s) >= 0 and sum_i k_i(s) = 1.

    k_i(s) is the product of two layers' non-negative weights that linear hypernetworks read from the state. The
    decomposition's state-dependent offset b(s) is left out: critics that see the state can hold it in their values.

    Args:
        args: needs ``n_agents``, ``state_shape`` and ``mixing_embed_dim``.

    Source: Wang et al., "DOP: Off-Policy Multi-Agent Decomposed Policy Gradients", ICLR 2021, section 4.1; weights that
    sum to 1, without b(s), as in the released SMS (Xue et al., IJCAI 2022, equation 2).
    """

    def __init__(self, args: MixerArgs) -> None:
        super().__init__()
        self.n_agents = args.n_agents
        self.embed_dim = args.mixing_embed_dim
        self.hyper_w_1 = Linear(int(args.state_shape), self.n_agents * self.embed_dim)
        self.hyper_w_final = Linear(int(args.state_shape), self.embed_dim)

    def weights(self, states: Tensor) -> Tensor:
        """Returns k(s), (..., N), from states (..., S)."""
        first = self.hyper_w_1(states).abs().unflatten(-1, (self.n_agents, self.embed_dim))
        k = torch.einsum("...ne,...e->...n", first, self.hyper_w_final(states).abs())
        return k / k.sum(-1, keepdim=True).clamp(min=torch.finfo(k.dtype).tiny)

    def forward(self, agent_qs: Tensor, states: Tensor) -> Tensor:
        """Returns Q_tot (B, T, 1) from the agents' Q-values (B, T, N) and the states (B, T, S)."""
        return (self.weights(states) * agent_qs).sum(-1, keepdim=True)
