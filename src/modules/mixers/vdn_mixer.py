"""Value decomposition: Q_tot is the sum of the agents' Q-values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from epymarl_lmac.seam import MixerArgs


class VDNMixer(nn.Module):
    """Sums over agents.

    Source: Sunehag et al., "Value-Decomposition Networks", AAMAS 2018, equation 2.
    """

    def __init__(self, args: MixerArgs | None = None) -> None:
        super().__init__()

    def forward(self, agent_qs: Tensor, states: Tensor) -> Tensor:
        """Returns Q_tot (B, T, 1) from the agents' Q-values (B, T, N); ``states`` is not used."""
        return agent_qs.sum(dim=2, keepdim=True)
