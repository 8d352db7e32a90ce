"""The auxiliary decoder: from one agent's stream of observations and messages to the important state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.gru import gru_sequence

FORMS = ("direct", "published")


class AuxiliaryDecoder(nn.Module):
    """Linear, ReLU, GRU, a narrow layer, and three layers up to the state; shared by all agents.

    Form "direct" adds a linear layer from the input straight to the state: a map of the field in a message does not fit
    through the narrow layer. Both are compared in docs/protocol_gen.md.

    Letters: P packed rows (``epymarl_lmac.learning.packing``), U input width, I important state columns.

    Args:
        input_dim: U, width of [x, messages].
        n_important: I.
        hidden_dim: width of the hidden layers.
        latent_dim: width of the narrow layer.
        form: one of ``FORMS``.

    Source: Bae, Park, Lee, Han, ICML 2026, offline phase; sizes of the released code.
    """

    def __init__(
        self, input_dim: int, n_important: int, hidden_dim: int = 64, latent_dim: int = 20, form: str = "direct"
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form={form!r} must be one of {FORMS}.")
        H = hidden_dim
        self.read = nn.Sequential(nn.Linear(input_dim, H), nn.ReLU())
        self.gru = nn.GRUCell(H, H)
        self.write = nn.Sequential(
            nn.Linear(H, latent_dim),
            nn.Linear(latent_dim, H),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(H, H),
            nn.ReLU(),
            nn.Linear(H, n_important),
        )
        self.direct = nn.Linear(input_dim, n_important, bias=False) if form == "direct" else None

    def forward(self, u_PU: Tensor, counts: Sequence[int]) -> Tensor:
        """Returns the state estimates of all rows, (P, I)."""
        h0 = u_PU.new_zeros(counts[0], self.gru.hidden_size)
        estimate = self.write(gru_sequence(self.gru, self.read(u_PU), h0, counts))
        return estimate if self.direct is None else estimate + self.direct(u_PU)


def squared_error(estimate_PNI: Tensor, truth_PI: Tensor) -> Tensor:
    """Returns the squared error of every agent's estimate, (P, N, I)."""
    return torch.square(estimate_PNI - truth_PI.unsqueeze(1))
