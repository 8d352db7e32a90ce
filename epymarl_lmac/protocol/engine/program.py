"""A protocol as data: a list of tensor operations, rebuilt from our own table and run on batches.

Reading a program checks every entry; running one walks the list. Parts that depend neither on the input nor on the
batch size are computed once, equal operations are merged, and what the result does not need is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.engine.operations import DIRECT, DTYPES, FACTORIES, TABLE
from epymarl_lmac.protocol.engine.reuse import overwritable
from epymarl_lmac.protocol.engine.spec import ProtocolSpec

MAX_OPERATIONS = 20_000
MAX_NESTING = 4
MAX_INTEGER = 2**40
FEW_ROWS = 24  # of the last dimension, general indexing is faster beyond
FORMAT = 1


@dataclass(frozen=True)
class Ref:
    """The result of an earlier operation."""

    index: int


def _decode(value: Any, position: int, depth: int = 0) -> Any:
    """Returns an argument read from JSON; raises BundleError for anything unexpected."""
    if depth > MAX_NESTING:
        raise BundleError(f"Operation {position}: arguments are nested too deeply.")
    if value is None or isinstance(value, (bool, str)):
        if isinstance(value, str) and len(value) > 32:
            raise BundleError(f"Operation {position}: a text argument is too long.")
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER and value != 2**63 - 1:  # "to the end" in slices
            raise BundleError(f"Operation {position}: the number {value} is too large.")
        return value
    if isinstance(value, float):
        return value
    if isinstance(value, list):
        return tuple(_decode(item, position, depth + 1) for item in value)
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "n" and type(content) is int and 0 <= content < position:
            return Ref(content)
        if kind == "dtype" and content in DTYPES:
            return DTYPES[content]
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
    raise BundleError(f"Operation {position}: the argument {str(value)[:60]} is not part of the format.")


def _refs(value: Any) -> list[int]:
    if isinstance(value, Ref):
        return [value.index]
    if isinstance(value, tuple):
        return [index for item in value for index in _refs(item)]
    return []


def _substitute(value: Any, mapping: Mapping[int, Any]) -> Any:
    if isinstance(value, Ref):
        return mapping[value.index]
    if isinstance(value, tuple):
        return tuple(_substitute(item, mapping) for item in value)
    return value


@dataclass(frozen=True)
class _Node:
    op: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]

    @property
    def refs(self) -> list[int]:
        return _refs(self.args) + [index for _, value in self.kwargs for index in _refs(value)]


def _read_nodes(operations: Any, constants: Mapping[str, Tensor]) -> list[_Node]:
    """Returns the checked list of operations."""
    if not isinstance(operations, list) or not 0 < len(operations) <= MAX_OPERATIONS:
        raise BundleError(f"A program must have 1 to {MAX_OPERATIONS} operations.")
    nodes, inputs = [], 0
    for position, entry in enumerate(operations):
        if not isinstance(entry, dict) or not {"op", "args"} <= set(entry) <= {"op", "args", "kwargs"}:
            raise BundleError(f"Operation {position} is not of the form op, args, kwargs.")
        op, args, kwargs = entry["op"], entry["args"], entry.get("kwargs", {})
        if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(op, str):
            raise BundleError(f"Operation {position} is not of the form op, args, kwargs.")
        if op == "constant":
            if kwargs or len(args) != 1 or not isinstance(args[0], str) or args[0] not in constants:
                raise BundleError(f"Operation {position} names a constant that is not there.")
            nodes.append(_Node("constant", (args[0],), ()))
            continue
        if op == "input":
            inputs += 1
            if args or kwargs or inputs > 1:
                raise BundleError(f"Operation {position}: a program has one input without arguments.")
        elif op not in TABLE:
            raise BundleError(f"Operation {position} is {op!r}, which is not in the table of operations.")
        if not all(isinstance(key, str) and key.isidentifier() for key in kwargs):
            raise BundleError(f"Operation {position} has a malformed keyword.")
        decoded = tuple((key, _decode(value, position)) for key, value in sorted(kwargs.items()))
        nodes.append(_Node(op, tuple(_decode(value, position) for value in args), decoded))
    return nodes


class Step(NamedTuple):
    """One operation of a plan."""

    result: int  # its index
    function: Callable[..., Any]
    refs: tuple[int, ...] | None  # results that are its first arguments; None if results stand elsewhere
    rest: tuple[Any, ...]  # arguments after these
    keywords: dict[str, Any]
    dead: list[int]  # results that are not needed afterwards

    def apply(self, values: list[Any]) -> Any:
        """Returns its result, given all results so far."""
        if self.refs is not None:
            return self.function(*(values[ref] for ref in self.refs), *self.rest)
        if not self.keywords:
            return self.function(*_fill(self.rest, values))
        keywords = dict(zip(self.keywords, _fill(tuple(self.keywords.values()), values), strict=True))
        return self.function(*_fill(self.rest, values), **keywords)


class _Plan:
    """Operations in order, for one output, on one device."""

    def __init__(self, nodes: Sequence[_Node], output: int, constants: Mapping[str, Tensor], device) -> None:
        self.device = torch.device(device)
        nodes, output = _merge_equal(nodes, output)
        needed = _needed(nodes, output)
        varying = _varying(nodes)
        values: list[Any] = [None] * len(nodes)
        for index, node in enumerate(nodes):
            if index in needed and index not in varying:
                values[index] = self._constant_value(node, values, constants)
        self.values, self.output = values, output
        last_use = {output: len(nodes)}
        for index, node in enumerate(nodes):
            if index in needed:
                for ref in node.refs:
                    last_use[ref] = max(last_use.get(ref, -1), index)
        order = [index for index in range(len(nodes)) if index in needed and index in varying]
        in_place = overwritable(nodes, order, TABLE, varying, output)
        self.steps: list[Step] = []
        self.input_index = -1
        for index, node in enumerate(nodes):
            if node.op == "input":
                self.input_index = index
            if index not in needed or index not in varying or node.op == "input":
                continue
            dead = [ref for ref in set(node.refs) if ref in varying and last_use[ref] == index and ref != output]
            fixed = {ref: values[ref] for ref in node.refs if ref not in varying}
            args = tuple(_bind(arg, fixed) for arg in node.args)
            kwargs = {key: _bind(value, fixed) for key, value in node.kwargs}
            if node.op in FACTORIES:
                kwargs["device"] = self.device
            function = getattr(TABLE[node.op], "_op", TABLE[node.op])  # the operation without its Python wrapper
            if not kwargs and args and type(args[0]) in (Ref, tuple):
                function = in_place.get(index) or DIRECT.get(node.op, function)
                if node.op == "aten.index.Tensor":
                    function = _few_rows(args) or function
            if node.op == "aten.sub.Tensor" and not kwargs and isinstance(args[0], (int, float)):
                function, args = torch.rsub, (args[1], args[0])  # no tensor is made of the number
            n_first = next((i for i, arg in enumerate(args) if type(arg) is not Ref), len(args))
            if kwargs or _refs(args[n_first:]):
                self.steps.append(Step(index, function, None, args, kwargs, dead))
            else:
                refs = tuple(_refs(args[:n_first]))
                self.steps.append(Step(index, function, refs, args[n_first:], {}, dead))

    def _constant_value(self, node: _Node, values: list[Any], constants: Mapping[str, Tensor]) -> Any:
        if node.op == "constant":
            return constants[node.args[0]].to(self.device)
        known = dict(enumerate(values))
        kwargs = {key: _substitute(value, known) for key, value in node.kwargs}
        if node.op in FACTORIES:
            kwargs["device"] = self.device
        return TABLE[node.op](*(_substitute(arg, known) for arg in node.args), **kwargs)

    def run(self, o: Tensor) -> Tensor:
        values = self.values.copy()
        if self.input_index >= 0:
            values[self.input_index] = o
        for step in self.steps:
            result, function, refs, rest, _, dead = step
            if refs is not None and len(refs) == 1:  # most operations are of these two kinds, which save a call
                values[result] = function(values[refs[0]], *rest)
            elif refs is not None and len(refs) == 2:
                values[result] = function(values[refs[0]], values[refs[1]], *rest)
            else:
                values[result] = step.apply(values)
            for ref in dead:
                values[ref] = None
        return values[self.output]


def _few_rows(args: tuple[Any, ...]) -> Callable[[Tensor, Any], Tensor] | None:
    """Returns how to take a few known rows of one dimension, faster than general indexing; None if it is not that."""
    if len(args) != 2 or type(args[1]) is not tuple:
        return None
    given = [(dim, rows) for dim, rows in enumerate(args[1]) if rows is not None]
    if len(given) != 1 or not isinstance(given[0][1], Tensor):
        return None
    dim, rows = given[0]
    if rows.dtype != torch.int64 or rows.dim() != 1 or not 0 < len(rows) <= FEW_ROWS or bool((rows < 0).any()):
        return None
    return lambda target, indices: target.index_select(dim, rows)


def _bind(value: Any, fixed: Mapping[int, Any]) -> Any:
    """Puts known values in place of references."""
    if isinstance(value, Ref):
        return fixed.get(value.index, value)
    if isinstance(value, tuple):
        return tuple(_bind(item, fixed) for item in value)
    return value


def _fill(given: tuple[Any, ...], values: list[Any]) -> list[Any]:
    """Returns arguments with results in place of references."""
    return [
        values[arg.index] if type(arg) is Ref else _fill(arg, values) if type(arg) is tuple else arg for arg in given
    ]


def _merge_equal(nodes: Sequence[_Node], output: int) -> tuple[list[_Node], int]:
    """Makes equal operations share one result."""
    seen: dict[Any, int] = {}
    target: dict[int, Any] = {}
    merged = []
    for index, node in enumerate(nodes):
        node = _Node(
            node.op,
            _substitute(node.args, target),
            tuple((k, _substitute(v, target)) for k, v in node.kwargs),
        )
        key = (node.op, repr(node.args), repr(node.kwargs))
        target[index] = Ref(seen.setdefault(key, index))
        merged.append(node)
    return merged, target[output].index


def _needed(nodes: Sequence[_Node], output: int) -> set[int]:
    needed, stack = set(), [output]
    while stack:
        index = stack.pop()
        if index not in needed:
            needed.add(index)
            stack.extend(nodes[index].refs)
    return needed


def _varying(nodes: Sequence[_Node]) -> set[int]:
    """Returns the operations whose result depends on the input or on the batch size."""
    varying: set[int] = set()
    for index, node in enumerate(nodes):
        if node.op == "input" or any(ref in varying for ref in node.refs):
            varying.add(index)
    return varying


class Program:
    """A rebuilt protocol: a pure function from extended observations to what every agent has and hears.

    Args:
        spec: the sizes it was written for.
        operations: the list as read from JSON.
        output: index of the operation whose result is returned.
        constants: tensors by name.
        message_dim: M, columns after the first D.
        device: where it runs.

    Raises:
        BundleError: the list is not a program.
    """

    def __init__(
        self,
        spec: ProtocolSpec,
        operations: list[dict[str, Any]],
        output: int,
        constants: Mapping[str, Tensor],
        message_dim: int,
        device: str | torch.device = "cpu",
    ) -> None:
        nodes = _read_nodes(operations, constants)
        if type(output) is not int or not 0 <= output < len(nodes):
            raise BundleError(f"The program's output {output!r} is not one of its {len(nodes)} operations.")
        if type(message_dim) is not int or not 0 <= message_dim <= 1_000_000:
            raise BundleError(f"message_dim={message_dim!r} is not a number of columns.")
        self.spec, self.message_dim = spec, message_dim
        self.operations, self.output, self.constants = operations, output, dict(constants)
        self._nodes = nodes
        self.device = torch.device(device)
        try:
            self._whole = _Plan(nodes, output, self.constants, self.device)
            # Only the message columns: a slice of the last dimension as one more operation.
            cut = _Node("aten.slice.Tensor", (Ref(output), 2, spec.x_dim, 2**63 - 1), ())
            self._message = _Plan(
                [*nodes, _push_slice(nodes, output, spec) or cut], len(nodes), self.constants, self.device
            )
        except BundleError:
            raise
        except Exception as err:
            raise BundleError(f"The program cannot be rebuilt: {type(err).__name__}: {str(err)[:200]}") from err

    def __call__(self, o: Tensor) -> Tensor:
        """Returns [own x, messages] (B, N, D + M) for an input (B, N, D) or (B, L, N, D)."""
        return self._whole.run(o)

    def message(self, o: Tensor) -> Tensor:
        """Returns the messages alone, (B, N, M)."""
        return self._message.run(o)

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


def _push_slice(nodes: Sequence[_Node], output: int, spec: ProtocolSpec) -> _Node | None:
    """Returns the message part of a final ``cat([own x, messages...], -1)``, or None if the result is made otherwise.

    Leaving the own columns out of the concatenation saves copying them.
    """
    node = nodes[output]
    if node.op != "aten.cat.default" or len(node.args) != 2 or node.args[1] not in (-1, 2):
        return None
    pieces = node.args[0]
    if len(pieces) == 2 and isinstance(pieces[0], Ref) and _is_own_x(nodes, pieces[0].index, spec):
        return _Node("aten.alias.default", (pieces[1],), ())
    return None


def _is_own_x(nodes: Sequence[_Node], index: int, spec: ProtocolSpec) -> bool:
    """Returns whether an operation is the receiver's own current x, whole."""
    node = nodes[index]
    if spec.history is None:
        return node.op == "input"
    last = node.op == "aten.select.int" and node.args[1:] in ((1, -1), (1, spec.history - 1))
    return last and isinstance(node.args[0], Ref) and nodes[node.args[0].index].op == "input"
