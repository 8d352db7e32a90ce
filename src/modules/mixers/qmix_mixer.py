"""QMIX: Q_tot as a state-dependent monotonic function of the agents' Q-values.

Layer names are EPyMARL's, so weights move between the two unchanged. The four layers that read the state
are applied as one matrix product. On the CPU in float32 mixing is compiled (``epymarl_lmac/learning/mixing.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.forms import is_compiled
from epymarl_lmac.learning.mixing import MixerWeights, mix
from epymarl_lmac.learning.products import Linear

if TYPE_CHECKING:
    from epymarl_lmac.seam import MixerArgs


class QMixer(nn.Module):
    """Two mixing layers whose non-negative weights are produced from the state by hypernetworks.

    Args:
        args: needs ``n_agents``, ``state_shape``, ``mixing_embed_dim``, ``hypernet_layers`` (1 or 2) and
            ``hypernet_embed``.

    Source: Rashid et al., "QMIX", ICML 2018, section 4.
    """

    def __init__(self, args: MixerArgs) -> None:
        super().__init__()
        self.n_agents = args.n_agents
        self.state_dim = int(args.state_shape)
        self.embed_dim = args.mixing_embed_dim
        S, E, N = self.state_dim, self.embed_dim, self.n_agents
        if args.hypernet_layers not in (1, 2):
            raise SettingsError(
                f"hypernet_layers={args.hypernet_layers} is not supported; choose 1 or 2 (config/algs/qmix.yaml)."
            )
        self.hyper_w_1: nn.Module
        self.hyper_w_final: nn.Module
        if args.hypernet_layers == 1:
            self.hyper_w_1 = Linear(S, E * N)
            self.hyper_w_final = Linear(S, E)
        else:
            wide = args.hypernet_embed
            self.hyper_w_1 = nn.Sequential(Linear(S, wide), nn.ReLU(), Linear(wide, E * N))
            self.hyper_w_final = nn.Sequential(Linear(S, wide), nn.ReLU(), Linear(wide, E))
        self.hyper_b_1 = Linear(S, E)
        self.V = nn.Sequential(Linear(S, E), nn.ReLU(), Linear(E, 1))

    def _state_layers(self) -> list[nn.Linear]:
        """The layers that read the state directly."""
        first = [m[0] if isinstance(m, nn.Sequential) else m for m in (self.hyper_w_1, self.hyper_w_final)]
        return [*first, self.hyper_b_1, self.V[0]]  # type: ignore[list-item]

    def _weights(self) -> MixerWeights:
        """All layers as the compiled form takes them."""
        hyper = [m[2] for m in (self.hyper_w_1, self.hyper_w_final) if isinstance(m, nn.Sequential)]
        first, final = [_tensors(layer) for layer in hyper] or [[], []]
        to_first, to_final, to_bias, to_value = map(_tensors, self._state_layers())
        return MixerWeights(to_first, to_final, to_bias, to_value, first, final, _tensors(self.V[2]))

    def forward(self, agent_qs: Tensor, states: Tensor) -> Tensor:
        """Mixes.

        Args:
            agent_qs: Q-values of the chosen actions (B, T, N).
            states: global states (B, T, S).

        Returns:
            Q_tot (B, T, 1).
        """
        B, T, N = agent_qs.shape
        if agent_qs.numel() > 0 and is_compiled(agent_qs, states, *self.parameters()):
            rows = agent_qs.reshape(B * T, N), states.reshape(B * T, self.state_dim)
            return mix(*rows, self._weights()).view(B, T, 1)
        layers = self._state_layers()
        weight = torch.cat([layer.weight for layer in layers])
        bias = torch.cat([layer.bias for layer in layers])
        read = F.linear(states.reshape(B * T, self.state_dim), weight, bias)
        w1, w_final, b1, v = read.split([layer.out_features for layer in layers], dim=1)
        if isinstance(self.hyper_w_1, nn.Sequential) and isinstance(self.hyper_w_final, nn.Sequential):
            w1 = self.hyper_w_1[2](torch.relu(w1))
            w_final = self.hyper_w_final[2](torch.relu(w_final))
        w1_RNE = w1.abs().view(B * T, N, self.embed_dim)
        hidden_RE = F.elu((agent_qs.reshape(B * T, N, 1) * w1_RNE).sum(1) + b1)
        value_R1 = self.V[2](torch.relu(v))
        q_tot_R1 = (hidden_RE * w_final.abs()).sum(1, keepdim=True) + value_R1
        return q_tot_R1.view(B, T, 1)


def _tensors(layer: nn.Module) -> list[Tensor]:
    """Returns the weight and the bias of a linear layer."""
    assert isinstance(layer, nn.Linear)
    return [layer.weight, layer.bias]
