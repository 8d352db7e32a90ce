"""The operations of a program as nodes of a graph: read from JSON, checked, and asked what follows from what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.engine.operations import DTYPES, TABLE

MAX_OPERATIONS = 20_000
MAX_NESTING = 4
MAX_INTEGER = 2**40
MAX_TEXT = 32  # characters of a text argument
TO_THE_END = 2**63 - 1  # last place of a slice without an end


@dataclass(frozen=True)
class Ref:
    """The result of an earlier operation."""

    index: int


def decode(value: Any, position: int, depth: int = 0) -> Any:
    """Returns an argument read from JSON; lists become tuples.

    Args:
        value: what was read.
        position: index of the operation that it belongs to; references may name earlier ones only.
        depth: how many lists enclose it.

    Raises:
        BundleError: the format has no such argument, or it is too long, large or nested.
    """
    if depth > MAX_NESTING:
        raise BundleError(f"Operation {position}: arguments are nested too deeply.")
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise BundleError(f"Operation {position}: a text argument is too long.")
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER and value != TO_THE_END:
            raise BundleError(f"Operation {position}: the number {value} is too large.")
        return value
    if isinstance(value, list):
        return tuple(decode(item, position, depth + 1) for item in value)
    return _decode_marked(value, position)


def _decode_marked(value: Any, position: int) -> Any:
    """Returns what JSON has no type for: {"n": reference}, {"dtype": name} or {"float": name}."""
    kind, content = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (None, None)
    if kind == "n" and type(content) is int and 0 <= content < position:
        return Ref(content)
    if kind == "dtype" and isinstance(content, str) and content in DTYPES:
        return DTYPES[content]
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    raise BundleError(f"Operation {position}: the argument {str(value)[:60]} is not part of the format.")


def refs_of(value: Any) -> list[int]:
    """Returns the indices of the operations that an argument refers to."""
    if isinstance(value, Ref):
        return [value.index]
    if isinstance(value, tuple):
        return [index for item in value for index in refs_of(item)]
    return []


def substitute(value: Any, mapping: Mapping[int, Any]) -> Any:
    """Returns an argument with every reference replaced by what the mapping has for its index."""
    if isinstance(value, Ref):
        return mapping[value.index]
    if isinstance(value, tuple):
        return tuple(substitute(item, mapping) for item in value)
    return value


@dataclass(frozen=True)
class Node:
    """One operation."""

    op: str  # its name in the table, "input" or "constant"
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]

    @property
    def refs(self) -> list[int]:
        """Returns the indices of the operations that it reads."""
        return refs_of(self.args) + [index for _, value in self.kwargs for index in refs_of(value)]


def read_nodes(operations: Any, constants: Mapping[str, Tensor]) -> list[Node]:
    """Returns the checked list of operations.

    Args:
        operations: what was read from JSON.
        constants: tensors by name.

    Raises:
        BundleError: it is not a list of operations of our table, in an order in which they can run.
    """
    if not isinstance(operations, list) or not 0 < len(operations) <= MAX_OPERATIONS:
        raise BundleError(f"A program must have 1 to {MAX_OPERATIONS} operations.")
    nodes: list[Node] = []
    for position, entry in enumerate(operations):
        node = _read_node(entry, position, constants)
        if node.op == "input" and any(earlier.op == "input" for earlier in nodes):
            raise BundleError(f"Operation {position}: a program has one input without arguments.")
        nodes.append(node)
    return nodes


def _read_node(entry: Any, position: int, constants: Mapping[str, Tensor]) -> Node:
    """Returns one checked operation."""
    if not isinstance(entry, dict) or not {"op", "args"} <= set(entry) <= {"op", "args", "kwargs"}:
        raise BundleError(f"Operation {position} is not of the form op, args, kwargs.")
    op, args, kwargs = entry["op"], entry["args"], entry.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(op, str):
        raise BundleError(f"Operation {position} is not of the form op, args, kwargs.")
    if op == "constant":
        if kwargs or len(args) != 1 or not isinstance(args[0], str) or args[0] not in constants:
            raise BundleError(f"Operation {position} names a constant that is not there.")
        return Node("constant", (args[0],), ())
    if op == "input":
        if args or kwargs:
            raise BundleError(f"Operation {position}: a program has one input without arguments.")
        return Node("input", (), ())
    if op not in TABLE:
        raise BundleError(f"Operation {position} is {op!r}, which is not in the table of operations.")
    if not all(isinstance(key, str) and key.isidentifier() for key in kwargs):
        raise BundleError(f"Operation {position} has a malformed keyword.")
    keywords = tuple((key, decode(value, position)) for key, value in sorted(kwargs.items()))
    return Node(op, tuple(decode(value, position) for value in args), keywords)


def merge_equal(nodes: Sequence[Node], output: int) -> tuple[list[Node], int]:
    """Makes equal operations share one result."""
    seen: dict[Any, int] = {}
    target: dict[int, Any] = {}
    merged = []
    for index, node in enumerate(nodes):
        node = Node(
            node.op,
            substitute(node.args, target),
            tuple((k, substitute(v, target)) for k, v in node.kwargs),
        )
        key = (node.op, repr(node.args), repr(node.kwargs))
        target[index] = Ref(seen.setdefault(key, index))
        merged.append(node)
    return merged, target[output].index


def needed(nodes: Sequence[Node], output: int) -> set[int]:
    """Returns the operations that an output follows from, itself included."""
    found, stack = set(), [output]
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            stack.extend(nodes[index].refs)
    return found


def varying(nodes: Sequence[Node]) -> set[int]:
    """Returns the operations whose result depends on the input or on the batch size."""
    found: set[int] = set()
    for index, node in enumerate(nodes):
        if node.op == "input" or any(ref in found for ref in node.refs):
            found.add(index)
    return found
