"""Layer 1: an allow-list of what a protocol's text may contain.

The text is parsed, never run. Whatever is not listed is refused, with its place and what would be accepted; the words
are in ``language.py``. The list names what is allowed, so a trick that nobody thought of is refused as well.
"""

from __future__ import annotations

import ast
import difflib
import math
import warnings
from collections.abc import Iterable

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol.engine.language import ADVICE, BUILTINS, KEYWORDS, METHODS, MODULES
from epymarl_lmac.protocol.engine.signature import MESSAGE, Signature
from epymarl_lmac.protocol.engine.sizes import LAYER, Sizes, TextLimits, reject

_NODES = tuple(
    getattr(ast, name)
    for name in (
        "Module FunctionDef arguments arg Return Assign AugAssign AnnAssign For If IfExp Expr Pass Break "
        "Continue Import alias BoolOp And Or BinOp Add Sub Mult Div FloorDiv Mod Pow MatMult BitAnd BitOr "
        "BitXor UnaryOp Not USub UAdd Invert Compare Eq NotEq Lt LtE Gt GtE In NotIn Is IsNot Call keyword "
        "Starred Attribute Subscript Slice Name Load Store Constant List Tuple Set Dict ListComp DictComp SetComp "
        "GeneratorExp comprehension Assert Raise "
    ).split()
)
_INSTEAD = {
    "While": "loop with for over a range of known length",
    "Lambda": "define a function with def",
    "JoinedStr": "write the text without braces; numbers do not belong into a message",
    "ImportFrom": "write import torch, import torch.nn.functional as F or import math",
    "ClassDef": "write functions",
    "Try": "check with torch.where instead of catching errors",
    "With": "leave it out; gradients are never taken through a protocol",
    "NamedExpr": "assign on a line of its own",
    "Global": "pass the value as an argument",
    "Nonlocal": "pass the value as an argument",
    "Delete": "leave it out",
    "Match": "use if, on sizes only",
}
_EXCEPTIONS = ("ValueError", "RuntimeError", "AssertionError")
_COMPREHENSIONS = (ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)


def _nearest(name: str, allowed: Iterable[str]) -> str:
    """Returns what to write instead of a name."""
    if name in ADVICE:
        return ADVICE[name]
    close = difflib.get_close_matches(name, sorted(allowed), n=3, cutoff=0.6)
    return f"did you mean {', '.join(close)}?" if close else "see the operations in protocol/engine/language.py."


class _Checker(Sizes):
    """Walks one text."""

    def __init__(self, tree: ast.Module, text: str, limits: TextLimits) -> None:
        super().__init__(text, limits)
        self.modules: dict[str, str] = {}  # local name -> module
        self.bound: set[str] = set()  # names that the text gives a value
        self.functions: dict[str, ast.FunctionDef] = {}
        self.texts: set[str] = set()  # names that hold a text
        self.chain: set[ast.AST] = set()  # names and attributes that only lead to a module's member
        self.called: set[ast.AST] = set()
        self.loops: list[int] = []  # steps of the loops around the current node
        self.check_nesting(tree)
        for node in ast.walk(tree):
            self.collect(node)

    def check_nesting(self, tree: ast.Module) -> None:
        """Refuses a text with too many or too deeply nested nodes, before any other check goes down into it."""
        waiting: list[tuple[ast.AST, ast.AST, int]] = [(tree, tree, 0)]
        count = 0
        while waiting:
            node, place, depth = waiting.pop()
            count += 1
            if hasattr(node, "lineno"):  # operators have no place of their own
                place = node
            if count > self.limits.nodes:
                self.refuse(
                    place, f"the text has more than {self.limits.nodes} syntax nodes; write a shorter protocol."
                )
            if depth > self.limits.depth:
                self.refuse(place, f"nested deeper than {self.limits.depth} levels; use intermediate variables.")
            waiting.extend((child, place, depth + 1) for child in reversed(list(ast.iter_child_nodes(node))))

    # -- names, before the walk ----------------------------------------------------------------------------------

    def collect(self, node: ast.AST) -> None:
        """Notes the names that a node binds."""
        if isinstance(node, ast.FunctionDef):
            if node.name in self.functions:
                self.refuse(node, f"the function {node.name} is defined twice; give each its own name.")
            self.functions[node.name] = node
        elif isinstance(node, ast.arg):
            self.bound.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            self.bound.add(node.id)
        elif isinstance(node, ast.Assign) and isinstance(node.value, (ast.Constant, ast.BinOp)):
            if any(isinstance(inner, ast.Constant) and type(inner.value) is str for inner in ast.walk(node.value)):
                self.texts.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name
                if alias.name not in MODULES:
                    near = _nearest(alias.name, MODULES) if "torch" in alias.name else ""
                    self.refuse(node, f"only torch, torch.nn.functional and math may be imported. {near}".strip())
                if "." in name:
                    self.refuse(node, "import it under a short name: import torch.nn.functional as F.")
                if self.modules.setdefault(name, alias.name) != alias.name:
                    self.refuse(node, f"the name {name!r} already stands for {self.modules[name]}.")
                self._own_name(node, name, module=True)

    def _own_name(self, node: ast.AST, name: str, module: bool = False) -> None:
        taken = name.startswith("__") or name in BUILTINS or (name in self.modules and not module)
        if taken or (name in self.functions and not isinstance(node, ast.FunctionDef)):
            self.refuse(node, f"the name {name!r} cannot be redefined; choose another.")

    # -- the walk ------------------------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> None:
        if not isinstance(node, _NODES):
            kind = type(node).__name__
            instead = _INSTEAD.get(kind.removesuffix("Star").removeprefix("Async"))
            self.refuse(node, f"{kind} is not part of the protocol language{f'; {instead}' if instead else ''}.")
        check = getattr(self, f"check_{type(node).__name__}", None)
        if check is not None:
            check(node)
        before = len(self.loops)
        if isinstance(node, ast.For):
            self.enter_loop(node, node.iter)
            self.check_growth(node)
        elif isinstance(node, _COMPREHENSIONS):
            for generator in node.generators:
                self.enter_loop(generator.iter, generator.iter)
        for child in ast.iter_child_nodes(node):
            self.visit(child)
        del self.loops[before:]

    def check_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._own_name(node, node.name)
        if node.decorator_list:
            self.refuse(node.decorator_list[0], "decorators are not accepted; leave it out.")
        if node.args.kwarg is not None:
            self.refuse(node.args.kwarg, "name every argument; ** is not accepted.")
        plain = (ast.Constant, ast.UnaryOp, ast.USub, ast.Tuple, ast.List, ast.Name, ast.Attribute, ast.Load)
        for default in [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]:
            if not all(isinstance(inner, plain) for inner in ast.walk(default)):
                self.refuse(default, "a default argument must be a plain value; compute it inside the function.")

    def check_arg(self, node: ast.arg) -> None:
        self._own_name(node, node.arg)

    def check_Name(self, node: ast.Name) -> None:
        name = node.id
        if name.startswith("__"):
            self.refuse(node, "names with two leading underscores are not accepted.")
        if isinstance(node.ctx, ast.Store):
            self._own_name(node, name)
        elif name in self.modules and node not in self.chain:
            self.refuse(node, f"the module {self.modules[name]} cannot be used as a value; call its functions.")
        elif name not in self.bound and name not in BUILTINS and name not in self.functions | self.modules.keys():
            near = _nearest(name, BUILTINS | self.bound | self.functions.keys() | self.modules.keys())
            self.refuse(node, f"{name!r} is not a name of the text or of the protocol language; {near}")
        elif name in self.functions and node not in self.called and node not in self.chain:
            self.refuse(node, f"the function {name} cannot be used as a value; call it.")

    def check_Attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.refuse(node, "attributes cannot be set; assign to a name of your own.")
        if node in self.chain:
            return
        names, base = [node.attr], node.value
        links: list[ast.AST] = []
        while isinstance(base, ast.Attribute):
            names.insert(0, base.attr)
            links.append(base)
            base = base.value
        links.append(base)
        root = base.id if isinstance(base, ast.Name) else ""
        if root in self.functions and names == ["__doc__"]:  # the published format returns a docstring this way
            self.chain.update(links)
            return
        for name in names:
            if name.startswith("_"):
                self.refuse(node, "attributes with a leading underscore are not accepted.")
        if root not in self.modules:
            if node.attr not in METHODS:
                self.refuse(node, f"{node.attr!r} is not among a protocol's operations; {_nearest(node.attr, METHODS)}")
            return
        self.chain.update(links)
        module, member = ".".join([self.modules[root], *names[:-1]]), names[-1]
        if module not in MODULES:
            known = ", ".join(MODULES)
            self.refuse(node, f"{module} is not among the modules a protocol may use; accepted are {known}.")
        if member not in MODULES[module]:
            near = _nearest(member, MODULES[module])
            self.refuse(node, f"{member!r} is not among the operations of {module} that a protocol may use; {near}")

    def check_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, (bytes, complex)):
            self.refuse(node, "bytes and complex numbers are not accepted; use texts and real numbers.")
        if type(value) is int and abs(value) > self.limits.integer:
            self.refuse(node, f"whole numbers are limited to {self.limits.integer}.")
        if type(value) is float and not abs(value) <= self.limits.real:
            self.refuse(node, f"numbers are limited to {self.limits.real:g}.")
        if isinstance(value, str) and len(value) > self.limits.text_constant:
            self.refuse(node, f"texts are limited to {self.limits.text_constant} characters.")

    def check_Call(self, node: ast.Call) -> None:
        function = node.func
        self.called.add(function)
        named = function.attr if isinstance(function, ast.Attribute) else ""
        if isinstance(function, ast.Name):
            known = BUILTINS | self.functions.keys()
            if function.id not in known:
                self.check_Name(function)
                self.refuse(node, f"{function.id!r} is not a function of the text; {_nearest(function.id, known)}")
        elif not named:
            self.refuse(node, "only named functions and methods may be called.")
        if named == "Tensor":
            self.refuse(node, "torch.Tensor(...) leaves its content undefined; use torch.tensor or torch.zeros.")
        for keyword in node.keywords:
            if keyword.arg is None:
                raise reject("name every argument; ** is not accepted.", keyword.value, self.text)
            own = isinstance(function, ast.Name) and function.id in self.functions
            if not own and keyword.arg not in KEYWORDS:
                self.refuse(keyword, f"no argument {keyword.arg!r} here; {_nearest(keyword.arg, KEYWORDS)}")
        devices = [k.value for k in node.keywords if k.arg == "device"] + (node.args if named == "to" else [])
        for value in devices:
            if isinstance(value, ast.Constant) and value.value is not None:
                self.refuse(value, "name no device; write device=o.device.")
        if self.steps(node) > self.limits.loop:
            self.refuse(node, f"a loop may have {self.limits.loop} steps; compute with whole tensors.")
        self.check_size(node, named)

    def check_BinOp(self, node: ast.BinOp) -> None:
        left = node.left
        if isinstance(node.op, ast.Mod):
            is_text = isinstance(left, ast.Constant) and isinstance(left.value, str)
            if is_text or (isinstance(left, ast.Name) and left.id in self.texts):
                self.refuse(node, "text formatting is not accepted.")
        if isinstance(node.op, ast.Mult):
            self.check_copies(node)
        self.fold(node)

    # -- loops -----------------------------------------------------------------------------------------------------

    def enter_loop(self, node: ast.AST, source: ast.AST) -> None:
        self.loops.append(max(1, self.steps(source)))
        if len(self.loops) > self.limits.loop_depth:
            self.refuse(node, f"loops are nested deeper than {self.limits.loop_depth}; compute with whole tensors.")
        if math.prod(self.loops) > self.limits.nested_loops:
            self.refuse(
                node, f"nested loops may have {self.limits.nested_loops} steps in all; compute with whole tensors."
            )

    def check_growth(self, node: ast.For) -> None:
        """Refuses a loop over a list that it makes longer: it would never end."""
        sources = {inner.id for inner in ast.walk(node.iter) if isinstance(inner, ast.Name)}
        for inner in (piece for statement in node.body for piece in ast.walk(statement)):
            function = inner.func if isinstance(inner, ast.Call) else None
            if not isinstance(function, ast.Attribute) or function.attr not in ("append", "extend"):
                continue
            if isinstance(function.value, ast.Name) and function.value.id in sources:
                self.refuse(inner, "the loop makes longer what it loops over; append to another list.")

    def check_recursion(self) -> None:
        """Refuses functions that call themselves, directly or through others."""
        calls = {
            name: {
                inner.func.id
                for inner in ast.walk(node)
                if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id in self.functions
            }
            for name, node in self.functions.items()
        }
        for name in calls:
            reached, todo = set(), list(calls[name])
            while todo:
                other = todo.pop()
                if other not in reached:
                    reached.add(other)
                    todo.extend(calls[other])
            if name in reached:
                self.refuse(self.functions[name], f"the function {name} calls itself; use a loop over a range.")

    def check_Raise(self, node: ast.Raise) -> None:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if node.cause is not None or not isinstance(error, ast.Name) or error.id not in _EXCEPTIONS:
            self.refuse(node, f"only {', '.join(_EXCEPTIONS)} may be raised, with a text.")


def _check_entry(function: ast.FunctionDef, signature: Signature, text: str) -> None:
    """Refuses an entry function that cannot be called with the arguments of its kind, by position.

    Raises:
        ProtocolRejected: layer "grammar", with the place of the function.
    """
    given, arguments = len(signature.parameters), function.args
    accepted = len(arguments.posonlyargs) + len(arguments.args)
    required = accepted - len(arguments.defaults)
    keywords = [
        a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None
    ]
    if not required <= given or (given > accepted and arguments.vararg is None) or keywords:
        expected = f"def {signature.entry}({', '.join(signature.parameters)}):"
        raise reject(
            f"the function {signature.entry} must be callable with {given} argument(s): {expected}", function, text
        )


def check_grammar(text: str, limits: TextLimits | None = None, signature: Signature = MESSAGE) -> None:
    """Refuses a text that is not in the protocol language, or lacks a function that its kind must define.

    Args:
        text: the text.
        limits: bounds on its sizes; None takes the usual ones.
        signature: its kind, which says what functions it must define and what its entry function is called with.

    Raises:
        ProtocolRejected: layer "grammar", with line, column, the offending piece and what would be accepted.
    """
    limits = limits or TextLimits()
    if len(text) > limits.characters:
        raise reject(f"the text has {len(text)} characters, at most {limits.characters} are accepted.")
    if "\x00" in text:
        raise reject("the text holds a NUL character.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the text makes the parser say is not for the user
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        line, column = getattr(err, "lineno", None), getattr(err, "offset", None)
        raise ProtocolRejected(LAYER, f"not valid Python: {getattr(err, 'msg', err)}.", line, column) from err
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name in signature.functions:
        if name not in functions:
            raise reject(f"a function {name} must be defined at the top of the text.")
    _check_entry(functions[signature.entry], signature, text)
    for node in tree.body:
        if isinstance(node, (ast.For, ast.If, ast.AugAssign, ast.Assert, ast.Raise)):
            raise reject("only imports, constants and functions may stand at the top level.", node, text)
    checker = _Checker(tree, text, limits)
    checker.visit(tree)
    checker.check_recursion()
