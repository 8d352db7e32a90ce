"""Agents without hidden layers: the head reads the agent's inputs as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.products import Linear

if TYPE_CHECKING:
    from epymarl_lmac.seam import AgentArgs


class LinearAgent(nn.Module):
    """One linear layer from inputs to Q-values or logits; parameters shared by all agents.

    It has no memory: what stands for the agents' state h is the input itself, so its width D is the input's.

    Letters: R rows of agents, D input, A actions, P packed rows (``epymarl_lmac.learning.packing``).

    Args:
        input_shape: width D of the input.
        args: needs ``use_rnn`` (False) and ``n_actions``.

    Raises:
        SettingsError: ``use_rnn`` asks for memory.
    """

    def __init__(self, input_shape: int, args: AgentArgs) -> None:
        super().__init__()
        if args.use_rnn:
            raise SettingsError("agent=linear has no memory; set use_rnn=False, or agent=rnn for a GRU.", "use_rnn")
        self.hidden_dim = input_shape
        self.fc2 = Linear(input_shape, args.n_actions)

    def widen_head(self, width: int) -> None:
        """Gives the head an input of another width than D, for methods that add to what it reads."""
        if width != self.fc2.in_features:
            self.fc2 = Linear(width, self.fc2.out_features)

    def init_hidden(self) -> Tensor:
        """Returns what stands for the state before the first step, zeros (1, D)."""
        return self.fc2.weight.new_zeros(1, self.hidden_dim)

    def step(self, inputs_RD: Tensor, hidden_RD: Tensor) -> Tensor:
        """Returns the inputs; what came before is not read."""
        return inputs_RD

    def states(self, inputs_PD: Tensor, h0_RD: Tensor, counts: Sequence[int]) -> Tensor:
        """Returns the inputs of all steps of packed sequences, (P, D)."""
        return inputs_PD

    def forward(self, inputs_RD: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        """Returns Q-values or logits (R, A) and the inputs, as EPyMARL calls an agent."""
        return self.fc2(inputs_RD), inputs_RD
