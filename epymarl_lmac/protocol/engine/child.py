"""Runs in the child process: executes a protocol's text and returns it as a list of tensor operations.

``fork_server.py`` loads this file by its path and calls ``answer`` in a process that is used once. Imports torch and
safetensors only, nothing of this project.
"""

import ast
import builtins
import json
import math
import operator
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

BUILTINS = (
    "abs all any bool dict enumerate float int isinstance len list max min range reversed round set "
    "sorted sum tuple zip ValueError RuntimeError AssertionError True False None "
).split()
SYMBOLIC = {
    operator.add: "sym.add",
    operator.sub: "sym.sub",
    operator.mul: "sym.mul",
    operator.floordiv: "sym.floordiv",
    operator.getitem: "getitem",
}
DROPPED_KWARGS = ("device", "layout", "pin_memory", "memory_format")


class Refused(Exception):
    """The text cannot become a program; ``layer`` says which step refused it."""

    def __init__(self, layer: str, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.layer, self.reason, self.line = layer, reason, line


def line_of(error: BaseException) -> int | None:
    """Returns the line of the protocol's text where an error arose, or None."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<protocol>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def guarded_import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] = (), level: int = 0
) -> Any:
    # PyTorch itself imports its submodules through the running frame's import.
    if name not in ("torch", "math") and not name.startswith("torch."):
        raise ImportError(f"import of {name!r} is not accepted")
    return __import__(name, globals, locals, fromlist, level)


def load_text(text: str, entry: str, instruction: str) -> tuple[Callable[[Any], Any], str]:
    """Executes the text; returns its entry function and what its instruction function says.

    Args:
        text: the text.
        entry: name of the function that computes.
        instruction: name of the function that says in words what is computed.
    """
    allowed = {name: getattr(builtins, name) for name in BUILTINS if hasattr(builtins, name)}
    allowed["__import__"] = guarded_import
    scope: dict[str, Any] = {"__builtins__": allowed, "__name__": "protocol"}
    try:
        exec(compile(ast.parse(text), "<protocol>", "exec"), scope)
        said = scope[instruction]()
    except Exception as err:
        raise Refused("run", f"{type(err).__name__}: {err}", line_of(err)) from err
    if not isinstance(said, str):
        raise Refused("run", f"{instruction}() must return a text.")
    return scope[entry], said


def encode(value: Any, index: Mapping[str, int], torch: Any) -> Any:
    """Returns an argument of an operation as JSON."""
    if isinstance(value, torch.fx.Node):
        return {"n": index[value.name]}
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, (list, tuple)):
        return [encode(item, index, torch) for item in value]
    raise Refused("extraction", f"an operation takes a {type(value).__name__}, which a program cannot hold.")


def explain(error: BaseException) -> str:
    """Returns why a text cannot be traced, in words that its writer can use."""
    first = str(error).strip().split("\n")[0][:300]
    name = type(error).__name__
    if "DataDependent" in name or "data-dependent" in str(error) or "GuardOn" in name:
        first = (
            "the result decides what is computed (an if, a loop bound or a size that depends on values); "
            "compute both cases and choose with torch.where or a mask. " + first
        )
    elif "ConstraintViolation" in str(error) or "specializ" in str(error):
        first = "the program depends on the number of episodes in the batch, which must not matter. " + first
    return f"{name}: {first}"


def trace(function: Callable[[Any], Any], shape: Sequence[int], torch: Any) -> Any:
    """Returns the function as a graph of basic operations, for batches of any size.

    Args:
        function: the text's entry function.
        shape: of its input, the batch included.
        torch: PyTorch.
    """

    class Traced(torch.nn.Module):
        def forward(self, o: Any) -> Any:
            return function(o)

    sample = torch.rand(shape)
    batch = torch.export.Dim("batch", min=2, max=1 << 20)
    try:
        exported = torch.export.export(Traced(), (sample,), dynamic_shapes=({0: batch},), strict=False)
        table = torch.export.default_decompositions()
        table.pop(torch.ops.aten.select_scatter.default, None)  # else each part that is filled costs a pass over all
        exported = exported.run_decompositions(table)
    except Exception as err:
        raise Refused("extraction", explain(err), line_of(err)) from err
    signature = exported.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise Refused("contract", "the input or a constant is modified in place; work on a clone.")
    return exported


def needed_nodes(graph: Any) -> set[Any]:
    """Returns the nodes that the output depends on; those that only a run-time assertion reads are left out."""
    needed: set[Any] = set()
    todo = [node for node in graph.nodes if node.op == "output"]
    while todo:
        node = todo.pop()
        if node not in needed:
            needed.add(node)
            todo.extend(node.all_input_nodes)
    return needed


def lifted_tensors(exported: Any) -> dict[str, Any]:
    """Returns the tensors that tracing made inputs of the graph, by the name of their node."""
    signature = exported.graph_signature
    names: dict[str, str] = {}
    names.update(signature.inputs_to_lifted_tensor_constants)
    names.update(signature.inputs_to_buffers)
    names.update(signature.inputs_to_parameters)
    return {node: exported.constants.get(name, exported.state_dict.get(name)) for node, name in names.items()}


def operation_name(target: Any) -> str:
    """Returns the name of an operation in the trainer's table."""
    if target in SYMBOLIC:
        return SYMBOLIC[target]
    name = str(target)
    if not name.startswith("aten."):
        raise Refused(
            "extraction",
            f"a size is computed from the number of episodes by {name}, which a program cannot hold; "
            "compute along agents, columns or steps.",
        )
    return name


def encode_call(node: Any, index: Mapping[str, int], torch: Any) -> dict[str, Any]:
    """Returns an operation as JSON; ``index`` has the positions of the operations before it."""
    name = operation_name(node.target)
    kwargs = {k: encode(v, index, torch) for k, v in node.kwargs.items() if k not in DROPPED_KWARGS}
    args = [encode(item, index, torch) for item in node.args]
    return {"op": name, "args": args, **({"kwargs": kwargs} if kwargs else {})}


def result_node(graph: Any, torch: Any) -> Any:
    """Returns the one node that the function returns."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    (results,) = output.args
    if len(results) != 1 or not isinstance(results[0], torch.fx.Node):
        raise Refused("contract", "the program must return one tensor that depends on its input.")
    return results[0]


def extract(
    function: Callable[[Any], Any], shape: Sequence[int], torch: Any
) -> tuple[list[dict[str, Any]], int, dict[str, Any]]:
    """Traces the function; returns (operations, output index, constants)."""
    exported = trace(function, shape, torch)
    needed, lifted = needed_nodes(exported.graph), lifted_tensors(exported)
    operations: list[dict[str, Any]] = []
    index: dict[str, int] = {}  # of the operation that a node became
    constants: dict[str, Any] = {}
    for node in exported.graph.nodes:
        if node.op == "placeholder" and node.name in lifted:
            key = f"c{len(constants)}"
            constants[key] = lifted[node.name].detach().contiguous().clone()
            operation = {"op": "constant", "args": [key]}
        elif node.op == "placeholder":
            operation = {"op": "input", "args": []}
        elif node.op == "call_function" and node in needed:
            operation = encode_call(node, index, torch)
        else:
            continue
        index[node.name] = len(operations)
        operations.append(operation)
    return operations, index[result_node(exported.graph, torch).name], constants


def handle(request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Answers one request; returns (header, tensors)."""
    import torch

    torch.set_num_threads(1)
    entry = request["entry"]
    function, instruction = load_text(request["text"], entry, request["instruction"])
    tensors, probes = {}, request["probes"]
    shape = request["shape"]
    for number, (batch, scale) in enumerate(probes):
        generator = torch.Generator().manual_seed(1000 + number)
        probe = torch.randn(batch, *shape, generator=generator) * scale
        tensors[f"probe{number}"] = probe
        try:
            with torch.no_grad():
                result = function(probe.clone())
        except Exception as err:
            raise Refused("run", f"{type(err).__name__}: {str(err)[:300]}", line_of(err)) from err
        if not isinstance(result, torch.Tensor):
            raise Refused("contract", f"{entry} must return a tensor, got {type(result).__name__}.")
        tensors[f"result{number}"] = result.detach().contiguous().clone()
    operations, output, constants = extract(function, (3, *shape), torch)
    tensors.update(constants)
    header: dict[str, Any] = {"ok": True, "operations": operations, "output": output, "instruction": instruction}
    return header, tensors


def answer(request: Mapping[str, Any], missing: Sequence[str]) -> bytes:
    """Returns the bytes that answer one request.

    Args:
        request: the text, the names of its two functions, the shape of its input without the batch, the probes and
            whether to be strict.
        missing: measures of isolation that are not in force.
    """
    data = b""
    try:
        if missing and request.get("strict", False):
            raise Refused("sandbox", f"Strict mode: this machine does not offer {', '.join(missing)}.")
        header, tensors = handle(request)
        import safetensors.torch

        data = safetensors.torch.save(tensors)
    except Refused as err:
        header = {"ok": False, "layer": err.layer, "reason": err.reason, "line": err.line}
    except BaseException as err:
        header = {"ok": False, "layer": "run", "reason": f"{type(err).__name__}: {str(err)[:300]}", "line": None}
    head = json.dumps(header).encode()
    return struct.pack("<QQ", len(head), len(data)) + head + data


def warm_up() -> None:
    """Makes PyTorch load what it loads on first use, before any text and before the locks."""
    import safetensors.torch
    import torch

    torch.set_num_threads(1)
    rows = torch.tensor([1, 0])

    def sample(o: Any) -> Any:
        parts = [o[:, rows].sum(1, keepdim=True).expand(-1, 2, 3), torch.eye(2, dtype=torch.bool).any() * o]
        masked = torch.where(o > 0, o, -o).masked_fill(o < 1, 0.0).clamp(0, 1).amax(1, keepdim=True).expand_as(o)
        return torch.cat([o, *parts, masked, torch.softmax(o @ o.transpose(1, 2), -1)], dim=-1)

    extract(sample, (3, 2, 3), torch)
    safetensors.torch.save({"x": torch.zeros(1)})
