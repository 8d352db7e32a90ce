"""Two critics of one shape, which see the state and judge one agent's action probabilities.

Letters: R rows, N agents, Z what a critic reads, C probability vectors to judge, A actions, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epymarl_lmac.learning.products import Linear


def _mlp(inputs: int, hidden: int) -> nn.Sequential:
    """Returns Linear, ReLU, Linear, ReLU, Linear to one number."""
    layers = [Linear(inputs, hidden), nn.ReLU(), Linear(hidden, hidden), nn.ReLU(), Linear(hidden, 1)]
    return nn.Sequential(*layers)


class DuelingCritic(nn.Module):
    """Q(z, p) = V(z) + Adv(z, p) - mean over actions a of Adv(z, onehot(a)), for a probability vector p.

    Args:
        input_dim: width Z.
        n_actions: A.
        hidden_dim: width H of both hidden layers.

    Source: Wang et al., "Dueling Network Architectures for Deep Reinforcement Learning", ICML 2016, equation 9; critics
    of probability vectors as in Peng et al., "FACMAC", NeurIPS 2021; sizes as in the released SMS.
    """

    def __init__(self, input_dim: int, n_actions: int, hidden_dim: int) -> None:
        super().__init__()
        self.sizes = [input_dim, n_actions]
        self.value = _mlp(input_dim, hidden_dim)
        self.advantage = _mlp(input_dim + n_actions, hidden_dim)

    def forward(self, z_RNZ: Tensor, p_RNCA: Tensor) -> Tensor:
        """Returns Q of every probability vector, (R, N, C)."""
        first: nn.Linear = self.advantage[0]  # type: ignore[assignment]
        of_z, of_p = first.weight.split(self.sizes, dim=1)
        eye_AA = torch.eye(self.sizes[1], dtype=p_RNCA.dtype, device=p_RNCA.device)
        every_action = eye_AA.expand(*p_RNCA.shape[:2], -1, -1)
        # z is read once for all the vectors that are judged with it.
        read = F.linear(torch.cat([p_RNCA, every_action], dim=2), of_p) + F.linear(z_RNZ, of_z, first.bias).unsqueeze(2)
        advantage = self.advantage[1:](read).squeeze(-1)
        C = p_RNCA.shape[2]
        return self.value(z_RNZ) + advantage[..., :C] - advantage[..., C:].mean(-1, keepdim=True)


class TwinCritic(nn.Module):
    """Two critics that start differently; arguments as for ``DuelingCritic``."""

    def __init__(self, input_dim: int, n_actions: int, hidden_dim: int) -> None:
        super().__init__()
        self.first = DuelingCritic(input_dim, n_actions, hidden_dim)
        self.second = DuelingCritic(input_dim, n_actions, hidden_dim)

    def forward(self, z_RNZ: Tensor, p_RNCA: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both critics' Q, each (R, N, C)."""
        return self.first(z_RNZ, p_RNCA), self.second(z_RNZ, p_RNCA)

    def smaller(self, z_RNZ: Tensor, p_RNCA: Tensor) -> Tensor:
        """Returns the smaller of both critics' Q, (R, N, C)."""
        return torch.minimum(*self(z_RNZ, p_RNCA))
