"""The recurrent Q-network that all methods share, for one step and for whole sequences.

Layer names are those of EPyMARL's recurrent agent, so weights move between the two unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from epymarl_lmac.learning.gru import gru_sequence
from epymarl_lmac.learning.products import Linear

if TYPE_CHECKING:
    from epymarl_lmac.seam import AgentArgs


class SequenceAgent(nn.Module):
    """Linear, ReLU, GRU (or Linear + ReLU without recurrence), Linear; parameters shared by all agents.

    Letters: R rows of agents, D input, H hidden, A actions, P packed rows (``epymarl_lmac.learning.packing``).

    Args:
        input_shape: width D of the input.
        args: needs ``hidden_dim``, ``use_rnn`` and ``n_actions``.
    """

    reads_parts = True  # ``states`` takes the parts of an input as they are

    def __init__(self, input_shape: int, args: AgentArgs) -> None:
        super().__init__()
        self.hidden_dim = args.hidden_dim
        self.use_rnn = args.use_rnn
        self.fc1 = Linear(input_shape, args.hidden_dim)
        self.rnn: nn.Module
        if args.use_rnn:
            self.rnn = nn.GRUCell(args.hidden_dim, args.hidden_dim)
        else:
            self.rnn = Linear(args.hidden_dim, args.hidden_dim)
        self.fc2 = Linear(args.hidden_dim, args.n_actions)

    def widen_head(self, width: int) -> None:
        """Gives the Q layer an input of another width than H, for methods that add to what it reads."""
        if width != self.fc2.in_features:
            self.fc2 = Linear(width, self.fc2.out_features)

    def init_hidden(self) -> Tensor:
        """Returns the state before the first step, zeros (1, H)."""
        return self.fc1.weight.new_zeros(1, self.hidden_dim)

    def step(self, inputs_RD: Tensor, hidden_RH: Tensor) -> Tensor:
        """Returns the state (R, H) after one step from the state before it."""
        x = torch.relu(self.fc1(inputs_RD))
        if self.use_rnn:
            return self.rnn(x, hidden_RH)
        return torch.relu(self.rnn(x))

    def states(self, inputs_PD: Tensor | tuple[Tensor, ...], h0_RH: Tensor, counts: Sequence[int]) -> Tensor:
        """Returns the states (P, H) after all steps of packed sequences; only the GRU is sequential.

        Args:
            inputs_PD: inputs (P, D), or their parts, which are read side by side.
            h0_RH: state before the first step (R, H).
            counts: rows of each step.
        """
        if isinstance(self.rnn, nn.GRUCell):
            return gru_sequence(self.rnn, inputs_PD, h0_RH, counts, first=self.fc1)
        joined_PD = torch.cat(inputs_PD, dim=1) if isinstance(inputs_PD, tuple) else inputs_PD
        return torch.relu(self.rnn(torch.relu(self.fc1(joined_PD))))

    def forward(self, inputs_RD: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        """One step, as EPyMARL calls it.

        Args:
            inputs_RD: (R, D), a row for every agent of every episode.
            hidden_state: anything with R * H elements, in the same row order.

        Returns:
            Q-values (R, A) and the new hidden state (R, H).
        """
        h = self.step(inputs_RD, hidden_state.reshape(-1, self.hidden_dim))
        return self.fc2(h), h
