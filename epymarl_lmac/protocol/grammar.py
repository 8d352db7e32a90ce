"""Layer 1: an allow-list of what a protocol's text may contain.

The text is parsed, never run. Whatever is not listed is refused, with its place and what would be accepted.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from epymarl_lmac.errors import ProtocolRejected

LAYER = "grammar"


@dataclass(frozen=True)
class TextLimits:
    """Bounds on the size of a text."""

    characters: int = 40_000
    nodes: int = 8_000  # syntax nodes
    depth: int = 60  # nesting of syntax nodes
    constant: float = 1e6  # largest absolute number written in the text
    text_constant: int = 8_000  # longest string, characters


_NODES = tuple(
    getattr(ast, name)
    for name in (
        "Module FunctionDef arguments arg Return Assign AugAssign AnnAssign For If IfExp Expr Pass Break "
        "Continue Import alias BoolOp And Or BinOp Add Sub Mult Div FloorDiv Mod Pow MatMult BitAnd BitOr "
        "BitXor UnaryOp Not USub UAdd Invert Compare Eq NotEq Lt LtE Gt GtE In NotIn Is IsNot Call keyword "
        "Starred Attribute Subscript Slice Name Load Store Constant List Tuple Dict ListComp DictComp "
        "GeneratorExp comprehension Assert Raise "
    ).split()
)

_BUILTINS = frozenset(
    (
        "abs all any bool dict enumerate float int isinstance len list max min range reversed round set "
        "sorted sum tuple zip ValueError RuntimeError AssertionError True False None "
    ).split()
)
_MODULES = frozenset({"torch", "math", "torch.nn.functional"})

# Functions of torch (and torch.nn.functional) that a protocol may call, and values it may read.
_TORCH = frozenset(
    (
        "abs add all amax amin any arange argmax argmin argsort atan atan2 bmm broadcast_to cat ceil chunk "
        "clamp clip clone concat concatenate cos cumprod cumsum diag_embed diagonal div einsum eq exp expm1 "
        "eye flatten flip floor floor_divide fmod full full_like gather ge gt index_select isfinite isinf "
        "isnan le linspace log log1p logical_and logical_not logical_or logical_xor lt masked_fill matmul max "
        "maximum mean min minimum mul narrow ne neg norm nn ones ones_like outer permute pow prod reciprocal "
        "relu remainder repeat_interleave reshape roll round rsqrt scatter sigmoid sign sin softmax sort "
        "split sqrt square squeeze stack std sub sum swapaxes take_along_dim tan tanh tensor tile topk "
        "transpose tril triu unbind unflatten unsqueeze var where zeros zeros_like float float32 float64 "
        "double half int int32 int64 long bool uint8 int16 int8 device dtype Tensor Size pi inf functional "
        "pad one_hot cdist is_tensor as_tensor no_grad hypot "
    ).split()
)
_MATH = frozenset(("ceil cos e exp floor hypot inf isclose log log2 pi pow sin sqrt tan tanh ").split())
# Methods and fields of tensors, lists and dicts.
_METHODS = _TORCH | frozenset(
    [
        "T",
        "bool",
        "clamp_max",
        "clamp_min",
        "clip",
        "contiguous",
        "cpu",
        "device",
        "dim",
        "dtype",
        "expand",
        "expand_as",
        "float",
        "from_numpy",
        "get",
        "items",
        "keys",
        "int",
        "long",
        "masked_fill",
        "mT",
        "mean",
        "movedim",
        "ndim",
        "new_full",
        "new_ones",
        "new_tensor",
        "new_zeros",
        "numel",
        "permute",
        "repeat",
        "reshape",
        "select",
        "shape",
        "size",
        "t",
        "to",
        "tolist",
        "type",
        "type_as",
        "unfold",
        "values",
        "view",
        "view_as",
        "append",
        "extend",
        "index",
        "index_add",
        "index_copy",
        "index_fill",
        "scatter_add",
        "fill_diagonal",
        "nonzero_static",
        "swapdims",
        "fill_",
        "masked_scatter",
    ]
)
_METHODS = _METHODS - {"tolist", "nonzero_static", "masked_scatter", "from_numpy", "nn", "functional"}


def _reject(reason: str, node: ast.AST | None = None, text: str = "") -> ProtocolRejected:
    line = getattr(node, "lineno", None)
    column = getattr(node, "col_offset", None)
    snippet = ""
    if node is not None and text:
        snippet = (ast.get_source_segment(text, node) or "").split("\n")[0][:80]
    return ProtocolRejected(LAYER, reason, line, None if column is None else column + 1, snippet)


class _Checker:
    """Walks one text."""

    def __init__(self, text: str, limits: TextLimits) -> None:
        self.text, self.limits = text, limits
        self.modules: dict[str, str] = {}  # local name -> module
        self.count = 0

    def refuse(self, node: ast.AST, reason: str) -> None:
        raise _reject(reason, node, self.text)

    def visit(self, node: ast.AST, depth: int = 0) -> None:
        self.count += 1
        if self.count > self.limits.nodes:
            self.refuse(node, f"the text has more than {self.limits.nodes} syntax nodes; write a shorter protocol.")
        if depth > self.limits.depth:
            self.refuse(node, f"nested deeper than {self.limits.depth} levels; use intermediate variables.")
        if not isinstance(node, _NODES):
            self.refuse(node, f"{type(node).__name__} is not part of the protocol language.")
        check = getattr(self, f"check_{type(node).__name__}", None)
        if check is not None:
            check(node)
        for child in ast.iter_child_nodes(node):
            self.visit(child, depth + 1)

    def check_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._own_name(node, node.name)
        if node.decorator_list:
            self.refuse(node, "decorators are not accepted.")
        for default in [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]:
            if any(isinstance(inner, ast.Call) for inner in ast.walk(default)):
                self.refuse(default, "a default argument must be a plain value.")

    def check_arg(self, node: ast.arg) -> None:
        self._own_name(node, node.arg)

    def _own_name(self, node: ast.AST, name: str) -> None:
        if name.startswith("__") or name in self.modules or name in _BUILTINS:
            self.refuse(node, f"the name {name!r} cannot be redefined; choose another.")

    def check_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name not in _MODULES:
                self.refuse(node, "only torch, torch.nn.functional and math may be imported.")
            if "." in alias.name and alias.asname is None:
                self.refuse(node, "import torch.nn.functional under a short name: import torch.nn.functional as F.")
            self.modules[alias.asname or alias.name] = alias.name

    def check_Name(self, node: ast.Name) -> None:
        if node.id.startswith("__"):
            self.refuse(node, "names with two leading underscores are not accepted.")
        if isinstance(node.ctx, ast.Store):
            self._own_name(node, node.id)

    def check_Attribute(self, node: ast.Attribute) -> None:
        if node.attr.startswith("_"):
            self.refuse(node, "attributes with a leading underscore are not accepted.")
        if not isinstance(node.ctx, ast.Load):
            self.refuse(node, "attributes cannot be set.")
        base = node.value
        module = self.modules.get(base.id) if isinstance(base, ast.Name) else None
        if module == "math":
            allowed = _MATH
        elif module is not None or self._is_functional(base):
            allowed = _TORCH
        else:
            allowed = _METHODS
        if node.attr not in allowed:
            self.refuse(node, f"{node.attr!r} is not among the operations a protocol may use.")

    def _is_functional(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Attribute) and node.attr in ("nn", "functional")

    def check_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, (bytes, complex)):
            self.refuse(node, "bytes and complex numbers are not accepted.")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) > self.limits.constant:
            self.refuse(node, f"numbers are limited to {self.limits.constant:g}.")
        if isinstance(value, str) and len(value) > self.limits.text_constant:
            self.refuse(node, f"texts are limited to {self.limits.text_constant} characters.")

    def check_Call(self, node: ast.Call) -> None:
        if not isinstance(node.func, (ast.Name, ast.Attribute)):
            self.refuse(node, "only named functions and methods may be called.")

    def check_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            self.refuse(node, "text formatting is not accepted.")


def check_grammar(text: str, limits: TextLimits | None = None) -> None:
    """Refuses a text that is not in the protocol language.

    Raises:
        ProtocolRejected: layer "grammar", with line, column and the offending piece.
    """
    limits = limits or TextLimits()
    if len(text) > limits.characters:
        raise _reject(f"the text has {len(text)} characters, at most {limits.characters} are accepted.")
    if "\x00" in text:
        raise _reject("the text holds a NUL character.")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        line, column = getattr(err, "lineno", None), getattr(err, "offset", None)
        raise ProtocolRejected(LAYER, f"not valid Python: {getattr(err, 'msg', err)}.", line, column) from err
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name in ("message_design_instruction", "communication"):
        if name not in functions:
            raise _reject(f"a function {name} must be defined at the top of the text.")
    for node in tree.body:
        if isinstance(node, (ast.For, ast.If, ast.AugAssign, ast.Assert, ast.Raise)):
            raise _reject("only imports, constants and functions may stand at the top level.", node, text)
    _Checker(text, limits).visit(tree)
