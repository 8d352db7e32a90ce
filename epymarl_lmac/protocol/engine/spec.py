"""What a protocol is written for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ProtocolSpec:
    """Sizes of one protocol's input."""

    n_agents: int  # N
    x_dim: int  # D, width of the extended observation
    history: int | None  # None: the input is (B, N, D); L: it is (B, L, N, D), the newest step last

    def input_shape(self, batch: int) -> tuple[int, ...]:
        """Returns the shape of an input of ``batch`` rows."""
        steps = () if self.history is None else (self.history,)
        return (batch, *steps, self.n_agents, self.x_dim)


@dataclass(frozen=True)
class TaskSchema:
    """What a bundle must have been made for."""

    env: str
    task: str  # "" where the host does not know it
    n_agents: int
    obs_dim: int  # O
    n_actions: int  # A
    state_dim: int  # S
    obs_last_action: bool
    obs_agent_id: bool
    card_hash: str | None  # hash of the task card, None where the host has no card

    @property
    def x_dim(self) -> int:
        """Returns D, the width of the extended observation."""
        return (
            self.obs_dim + (self.n_actions if self.obs_last_action else 0) + (self.n_agents if self.obs_agent_id else 0)
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, for the manifest."""
        return asdict(self)
