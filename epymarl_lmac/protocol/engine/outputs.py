"""What the result of a kind of generated program must be; a ``Signature`` names one of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol.engine.spec import ProtocolSpec

LAYER = "contract"


class Output(Protocol):
    """Checks a result beyond what every program must satisfy (finite, repeatable, row by row)."""

    def extra_columns(self, spec: ProtocolSpec, shape: Sequence[int], rows: int) -> int:
        """Returns how many columns the program computes, from the shape of its result on ``rows`` inputs.

        Raises:
            ProtocolRejected: layer "contract": that is no shape of a result.
        """

    def check(self, spec: ProtocolSpec, o: Tensor, result: Tensor, kind: str) -> None:
        """Checks the values of a result.

        Args:
            spec: the sizes the program is for.
            o: the input.
            result: what the program returns.
            kind: of the input, for the message.

        Raises:
            ProtocolRejected: layer "contract", saying what is expected.
        """


class MessageOutput:
    """[own x, messages], (B, N, D + M): the receiver's own current x, then what it hears."""

    def extra_columns(self, spec: ProtocolSpec, shape: Sequence[int], rows: int) -> int:
        """Returns M, the number of message columns."""
        if len(shape) != 3 or tuple(shape[:2]) != (rows, spec.n_agents) or shape[2] < spec.x_dim:
            raise ProtocolRejected(
                LAYER,
                f"the result has shape {tuple(shape)} for {rows} episodes; expected "
                f"({rows}, {spec.n_agents}, {spec.x_dim} + message columns).",
            )
        return shape[2] - spec.x_dim

    def check(self, spec: ProtocolSpec, o: Tensor, result: Tensor, kind: str) -> None:
        """Refuses a result whose first D columns are not the receiver's own current x."""
        D = spec.x_dim
        if torch.equal(result[..., :D], own_x(o)):
            return
        is_oldest = spec.history is not None and torch.equal(result[..., :D], o[:, 0])
        own = "o" if spec.history is None else "o[:, -1]"
        hint = (
            "they are of the oldest step: use o[:, -1], not o[:, 0]."
            if is_oldest
            else f"return torch.cat([{own}, messages], dim=-1)."
        )
        raise ProtocolRejected(
            LAYER,
            f"the first {D} columns of the result differ from the receiver's own current x ({kind} input); {hint}",
        )


def own_x(o: Tensor) -> Tensor:
    """Returns the receivers' own current x, (B, N, D), of an input with or without history."""
    return o if o.dim() == 3 else o[:, -1]
