"""LMAC's message encoder, state decoder and cycle encoder.

An agent reads its extended observation and the messages it received, keeps a recurrent summary, and compresses
it to a latent z from which the important part of the global state can be reconstructed. The controller feeds z
to the Q-network; the learner trains this module with the reconstruction losses only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.dropout import Dropout
from epymarl_lmac.learning.gru import gru_sequence


class LmacComm(nn.Module):
    """Encoder u -> z, decoder z -> (state estimate, awareness logits), cycle encoder (estimate, awareness) -> z.

    Letters: R rows (episodes times agents), U width of u = [x, m], H hidden, Z latent, I important state columns.

    Args:
        input_dim: U.
        n_important: I.
        hidden_dim: H.
        latent_dim: Z.
        dropout: probability used in the encoder, the decoder and the cycle encoder.
        carry: what the encoder's GRU carries to the next step: "sum" (its output plus the current features, the
            published form) or "gru" (its output alone).
        normalise_latent: whether z is scaled to zero mean and unit variance over its columns.

    Source: Bae, Park, Lee, Han, ICML 2026, section 4 and the released implementation's sizes.
    """

    def __init__(
        self,
        input_dim: int,
        n_important: int,
        hidden_dim: int,
        latent_dim: int,
        dropout: float,
        carry: str,
        normalise_latent: bool,
    ) -> None:
        super().__init__()
        if carry not in ("sum", "gru"):
            raise SettingsError(f"comm_carry={carry!r} is not known; choose 'sum' or 'gru'.")
        H, Z, I = hidden_dim, latent_dim, n_important
        self.carry = carry
        self.hidden_dim = H
        self.n_important = I
        self.encoder = nn.Sequential(
            nn.Linear(input_dim, H),
            nn.ReLU(),
            nn.LayerNorm(H),
            nn.Linear(H, H),
            nn.ReLU(),
            Dropout(dropout),
        )
        self.gru = nn.GRUCell(H, H)
        self.query = nn.Linear(H, H)
        self.key = nn.Linear(H, H)
        self.value = nn.Linear(H, Z)
        self.latent_norm = nn.LayerNorm(Z, elementwise_affine=False) if normalise_latent else nn.Identity()
        self.decoder = nn.Sequential(
            nn.Linear(Z, H), nn.ReLU(), Dropout(dropout), nn.Linear(H, H), nn.ReLU(), nn.Linear(H, 2 * I)
        )
        self.cycle = nn.Sequential(
            nn.Linear(2 * I, H),
            nn.ReLU(),
            nn.LayerNorm(H),
            nn.Linear(H, H),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(H, Z),
        )

    def init_hidden(self) -> Tensor:
        """Returns the encoder's state before the first step, zeros (1, H)."""
        return self.gru.weight_hh.new_zeros(1, self.hidden_dim)

    def _latent(self, features: Tensor, h: Tensor) -> Tensor:
        """z = gate * W_v h, gate = sigmoid(<W_q features, W_k h>) a scalar per row."""
        gate = torch.sigmoid((self.query(features) * self.key(h)).sum(-1, keepdim=True))
        return self.latent_norm(gate * self.value(h))

    def forward(self, u_RU: Tensor, hidden_RH: Tensor) -> tuple[Tensor, Tensor]:
        """One step: returns the latent (R, Z) and the state to carry to the next step (R, H)."""
        features = self.encoder(u_RU)
        g = self.gru(features, hidden_RH.reshape(-1, self.hidden_dim))
        h = g + features
        return self._latent(features, h), h if self.carry == "sum" else g

    def unroll(self, u_PU: Tensor, h0_RH: Tensor, counts: Sequence[int]) -> Tensor:
        """All steps of packed sequences: returns the latents (P, Z); only the GRU is sequential."""
        features = self.encoder(u_PU)
        if self.carry == "sum":
            h = gru_sequence(self.gru, features, h0_RH, counts, residual_PH=features)
        else:
            h = gru_sequence(self.gru, features, h0_RH, counts) + features
        return self._latent(features, h)
