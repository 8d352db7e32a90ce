"""A protocol as data: a list of tensor operations, rebuilt from our own table and run on batches.

Reading a program checks every entry (``nodes.py``); running one walks the list (``plan.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.engine.constant_values import MEMORY_BYTES
from epymarl_lmac.protocol.engine.nodes import TO_THE_END, Node, Ref, read_nodes
from epymarl_lmac.protocol.engine.plan import Plan
from epymarl_lmac.protocol.engine.spec import ProtocolSpec

FORMAT = 1


class Program:
    """A rebuilt protocol: a pure function from extended observations to what every agent has and hears.

    Args:
        spec: the sizes it was written for.
        operations: the list as read from JSON.
        output: index of the operation whose result is returned.
        constants: tensors by name.
        message_dim: M, columns after the first D.
        device: where it runs.
        constant_bytes: that the results which do not depend on the input may have.

    Raises:
        BundleError: the list is not a program, or (TooMuchMemory) its constants are too large.
    """

    def __init__(
        self,
        spec: ProtocolSpec,
        operations: list[dict[str, Any]],
        output: int,
        constants: Mapping[str, Tensor],
        message_dim: int,
        device: str | torch.device = "cpu",
        constant_bytes: int = MEMORY_BYTES,
    ) -> None:
        nodes = read_nodes(operations, constants)
        if type(output) is not int or not 0 <= output < len(nodes):
            raise BundleError(f"The program's output {output!r} is not one of its {len(nodes)} operations.")
        if type(message_dim) is not int or not 0 <= message_dim <= 1_000_000:
            raise BundleError(f"message_dim={message_dim!r} is not a number of columns.")
        self.spec, self.message_dim = spec, message_dim
        self.operations, self.output, self.constants = operations, output, dict(constants)
        self.nodes = nodes
        self.device = torch.device(device)
        try:
            self.plan = Plan(nodes, output, self.constants, self.device, constant_bytes)
            # Only the message columns: a slice of the last dimension as one more operation.
            cut = Node("aten.slice.Tensor", (Ref(output), 2, spec.x_dim, TO_THE_END), ())
            self._message_plan = Plan(
                [*nodes, _push_slice(nodes, output, spec) or cut],
                len(nodes),
                self.constants,
                self.device,
                constant_bytes,
            )
        except BundleError:
            raise
        except Exception as err:
            raise BundleError(f"The program cannot be rebuilt: {type(err).__name__}: {str(err)[:200]}") from err

    def __call__(self, o: Tensor) -> Tensor:
        """Returns [own x, messages] (B, N, D + M) for an input (B, N, D) or (B, L, N, D)."""
        return self.plan.run(o)

    def message(self, o: Tensor) -> Tensor:
        """Returns the messages alone, (B, N, M)."""
        return self._message_plan.run(o)

    def to(self, device: str | torch.device) -> Program:
        """Returns the program on a device."""
        if torch.device(device) == self.device:
            return self
        return Program(self.spec, self.operations, self.output, self.constants, self.message_dim, device)

    def as_dict(self, constant_prefix: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Returns plain values and constants for a file; constants get the prefix in their names."""
        content = {
            "format": FORMAT,
            "n_agents": self.spec.n_agents,
            "x_dim": self.spec.x_dim,
            "history": self.spec.history,
            "message_dim": self.message_dim,
            "output": self.output,
            "operations": self.operations,
        }
        return json.loads(json.dumps(content)), {constant_prefix + k: v for k, v in self.constants.items()}

    @staticmethod
    def from_dict(content: Mapping[str, Any], constants: Mapping[str, Tensor]) -> Program:
        """Reads what ``as_dict`` wrote (constants under their own names).

        Raises:
            BundleError: the content is not a program of this format.
        """
        expected = {"format", "n_agents", "x_dim", "history", "message_dim", "output", "operations"}
        if not isinstance(content, Mapping) or set(content) != expected:
            raise BundleError("A program's entry does not have the expected fields.")
        if content["format"] != FORMAT:
            raise BundleError(f"The program has format {content['format']!r}, this version reads {FORMAT}.")
        sizes = [content["n_agents"], content["x_dim"], *([content["history"]] if content["history"] else [])]
        if any(type(size) is not int or not 0 < size < 1_000_000 for size in sizes):
            raise BundleError(f"The program's sizes {sizes} are not sizes.")
        spec = ProtocolSpec(content["n_agents"], content["x_dim"], content["history"])
        return Program(spec, content["operations"], content["output"], constants, content["message_dim"])


def _push_slice(nodes: Sequence[Node], output: int, spec: ProtocolSpec) -> Node | None:
    """Returns the message part of a final ``cat([own x, messages...], -1)``, or None if the result is made otherwise.

    Leaving the own columns out of the concatenation saves copying them.
    """
    node = nodes[output]
    if node.op != "aten.cat.default" or len(node.args) != 2 or node.args[1] not in (-1, 2):
        return None
    pieces = node.args[0]
    if len(pieces) == 2 and isinstance(pieces[0], Ref) and _is_own_x(nodes, pieces[0].index, spec):
        return Node("aten.alias.default", (pieces[1],), ())
    return None


def _is_own_x(nodes: Sequence[Node], index: int, spec: ProtocolSpec) -> bool:
    """Returns whether an operation is the receiver's own current x, whole."""
    node = nodes[index]
    if spec.history is None:
        return node.op == "input"
    last = node.op == "aten.select.int" and node.args[1:] in ((1, -1), (1, spec.history - 1))
    return last and isinstance(node.args[0], Ref) and nodes[node.args[0].index].op == "input"
