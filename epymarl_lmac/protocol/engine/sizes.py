"""What a protocol's text writes down as numbers: their size, how often its loops run, how large its tensors are.

Part of layer 1, ``grammar.py``. Only written numbers are looked at; what depends on the input's sizes is left to the
child's limits.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import NoReturn

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol.engine.language import MAKERS

LAYER = "grammar"


@dataclass(frozen=True)
class TextLimits:
    """Bounds on the size of a text and of what it writes down."""

    characters: int = 40_000
    nodes: int = 8_000  # syntax nodes
    depth: int = 60  # nesting of syntax nodes
    integer: int = 1_000_000  # largest whole number, also of products and powers of written numbers
    real: float = 1e30  # largest number with a decimal point or an exponent
    exponent: int = 64  # largest written exponent
    text_constant: int = 8_000  # longest string, characters
    loop: int = 4_096  # steps of one loop
    nested_loops: int = 65_536  # steps of loops inside each other
    loop_depth: int = 4  # loops and comprehensions inside each other
    copies: int = 4_096  # of a list or text by multiplication
    elements: int = 1 << 24  # of a tensor whose sizes are written down


def reject(reason: str, node: ast.AST | None = None, text: str = "") -> ProtocolRejected:
    """Returns the error for a piece of a text."""
    line = getattr(node, "lineno", None)
    column = getattr(node, "col_offset", None)
    snippet = ""
    if node is not None and text:
        snippet = (ast.get_source_segment(text, node) or "").split("\n")[0][:80]
    return ProtocolRejected(LAYER, reason, line, None if column is None else column + 1, snippet)


class Sizes:
    """Bounds on written numbers, loops and tensors of one text."""

    def __init__(self, text: str, limits: TextLimits) -> None:
        self.text, self.limits = text, limits

    def refuse(self, node: ast.AST, reason: str) -> NoReturn:
        raise reject(reason, node, self.text)

    def check_size(self, node: ast.Call, named: str) -> None:
        """Refuses a call that makes a tensor whose written sizes are too large.

        Args:
            node: the call.
            named: what is called, e.g. "zeros".
        """
        if named not in MAKERS:
            return
        arguments = node.args[:1] if named in ("full", "new_full") else list(node.args)
        arguments += [keyword.value for keyword in node.keywords if keyword.arg in ("size", "pad")]
        sizes: list[ast.expr] = []
        for argument in arguments:
            sizes.extend(argument.elts if isinstance(argument, (ast.Tuple, ast.List)) else [argument])
        numbers = [abs(n) for n in map(self.fold, sizes) if n is not None]
        if named == "eye" and len(numbers) == 1:
            numbers *= 2
        added = named in ("arange", "linspace", "pad")
        size = sum(numbers) if added else math.prod(n for n in numbers if n > 1)
        if size > self.limits.elements:
            self.refuse(node, f"a tensor may have {self.limits.elements} elements; this one has {size:g}.")

    def check_copies(self, node: ast.BinOp) -> None:
        """Refuses a list or text multiplied by a large written number."""
        for piece, factor in ((node.left, node.right), (node.right, node.left)):
            is_list = isinstance(piece, (ast.List, ast.Tuple, ast.ListComp))
            is_text = isinstance(piece, ast.Constant) and isinstance(piece.value, str)
            if (is_list or is_text) and (self.fold(factor) or 0) > self.limits.copies:
                self.refuse(node, f"at most {self.limits.copies} copies of a list or text are accepted.")

    def fold(self, node: ast.AST) -> int | float | None:
        """Returns the value of an expression of written numbers, or None; refuses results that are too large."""
        if isinstance(node, ast.Constant):
            value = node.value
            return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            operand = self.fold(node.operand)
            return -operand if operand is not None and isinstance(node.op, ast.USub) else operand
        if not isinstance(node, ast.BinOp):
            return None
        left, right = self.fold(node.left), self.fold(node.right)
        if isinstance(node.op, ast.Pow) and right is not None and abs(right) > self.limits.exponent:
            self.refuse(node, f"exponents are limited to {self.limits.exponent}.")
        if left is None or right is None:
            return None
        try:
            result: int | float | None = None
            if isinstance(node.op, ast.Pow):
                power = left**right
                result = power if isinstance(power, (int, float)) else None
            elif isinstance(node.op, (ast.Mult, ast.Add, ast.Sub)):
                result = {ast.Mult: left * right, ast.Add: left + right, ast.Sub: left - right}[type(node.op)]
            elif isinstance(node.op, (ast.FloorDiv, ast.Div)):
                result = left // right if isinstance(node.op, ast.FloorDiv) else left / right
        except (ZeroDivisionError, OverflowError):
            self.refuse(node, "this number cannot be computed.")
        limit = self.limits.integer if isinstance(result, int) else self.limits.real
        if result is not None and not abs(result) <= limit:
            self.refuse(node, f"numbers are limited to {limit:g}; this one is larger.")
        return result

    def steps(self, source: ast.AST) -> int:
        """Returns how often a loop over this runs, 1 where the text alone does not say."""
        if isinstance(source, ast.Call) and isinstance(source.func, ast.Name):
            if source.func.id == "range" and 1 <= len(source.args) <= 3:
                numbers = [self.fold(argument) for argument in source.args]
                whole = [n for n in numbers if type(n) is int]
                if len(whole) < len(numbers):
                    return 1
                if len(whole) == 3 and whole[2] == 0:
                    self.refuse(source, "the step of a range cannot be 0.")
                start, stop, step = (0, whole[0], 1) if len(whole) == 1 else (whole[0], whole[1], [*whole, 1][2])
                return max(0, -(-(stop - start) // step))
            if source.func.id in ("enumerate", "reversed", "list", "tuple", "sorted", "zip") and source.args:
                return self.steps(source.args[0])
        if isinstance(source, (ast.List, ast.Tuple)):
            return len(source.elts)
        return 1
