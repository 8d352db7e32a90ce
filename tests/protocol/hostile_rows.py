"""Hostile and clumsy texts, one row per trick, each with the layer that must stop it.

A row of ``LINES`` is the beginning of a communication function; ``TEXTS`` has whole texts; ``CHILD`` has functions
that are in the protocol language and must be stopped later. Sizes: N = 3 agents, D = 5 columns, L = 4 steps.
"""

from __future__ import annotations

from dataclasses import dataclass

N, D, L = 3, 5, 4
INSTRUCTION = 'def message_design_instruction():\n    return "words"\n'
OK = "return th.cat([o, o], dim=-1)"


def text(body: str, head: str = "import torch as th\n") -> str:
    """Returns a protocol whose communication function has this body."""
    return head + INSTRUCTION + "def communication(o):\n" + "".join(f"    {line}\n" for line in body.split("\n"))


@dataclass(frozen=True)
class Row:
    """One text and what must become of it."""

    kind: str
    source: str
    layer: str  # the first layer that must refuse it
    reason: str = ""  # part of the message
    history: int | None = None

    @property
    def name(self) -> str:
        """Returns a short name for the test's id."""
        lines = self.source.split("communication(o):\n")[-1].strip().split("\n")
        return f"{self.kind}: {lines[0].strip()[:60]}"


_WALKS = [
    "().__class__.__bases__[0].__subclasses__()",
    "o.__class__.__mro__",
    "''.__class__",
    "communication.__globals__",
    "communication.__code__",
    "communication.__closure__",
    "th.__dict__",
    "th.__builtins__",
    "th.__loader__",
    "o.__reduce__()",
    "(i for i in range(3)).gi_frame",
    "(i for i in range(3)).gi_frame.f_back.f_builtins",
    "ValueError('x').__traceback__.tb_frame",
    "ValueError('x').with_traceback(None)",
    "ValueError.mro()",
    "o._base",
    "o._backward_hooks",
    "o.\uff3f\uff3fclass\uff3f\uff3f",
    "th._C",
    "__builtins__",
    "__import__('os')",
    "__name__",
    "message_design_instruction.__doc__.__class__",
]
_FORMATS = [
    "f'{o.__class__}'",
    "f'{o}'",
    "'{0.__class__}'.format(o)",
    "'{0}'.format_map(o)",
    "str.format('{0.__class__}', o)",
    "'%s' % o",
    "format(o)",
    "repr(o)",
    "str(o)",
    "''.join(['a'])",
    "b'x'.decode()",
]
_NAMES = (
    "eval exec compile open input print getattr setattr delattr hasattr globals locals vars dir type object super "
    "classmethod property memoryview bytearray id hash callable iter next map filter breakpoint exit quit help "
    "chr ord pow slice issubclass staticmethod BaseException SystemExit KeyboardInterrupt"
).split()
_TORCH = [
    "th.load('f')",
    "th.save(o, 'f')",
    "th.ops.load_library('f')",
    "th.ops.aten.add(o, o)",
    "th.classes.load_library('f')",
    "th.hub.load('r', 'm')",
    "th.utils.cpp_extension.load_inline('x', '')",
    "th.utils.data.DataLoader(o)",
    "th.from_file('f', size=4)",
    "th.from_numpy(o)",
    "th.frombuffer(o)",
    "th.library.Library('aten', 'IMPL')",
    "th.library.custom_op('a::b', o)",
    "th.jit.script(o)",
    "th.compile(o)",
    "th.fx.symbolic_trace(o)",
    "th.package.PackageImporter('f')",
    "th.multiprocessing.spawn(o)",
    "th.distributed.init_process_group()",
    "th.set_num_threads(64)",
    "th.set_default_dtype(th.float64)",
    "th.set_default_device(o)",
    "th.use_deterministic_algorithms(True)",
    "th.autograd.Function",
    "th.nn.Module()",
    "th.nn.Linear(3, 3)",
    "th.nn.functional.dropout(o)",
    "th.nn.functional.os",
    "th.os.system('id')",
    "th.sys.modules",
    "th.overrides",
    "th.cuda.is_available()",
    "th.Tensor(3)",
    "th.empty(3)",
    "th.empty_like(o)",
    "th.storage",
    "th.vmap(o)",
    "th.cat.__self__",
    "th.float32.to_complex()",
    "th.math.sqrt(2)",
]
_METHODS = [
    "o.numpy()",
    "o.tolist()",
    "o[0, 0, 0].item()",
    "o.storage()",
    "o.untyped_storage()",
    "o.data_ptr()",
    "o.data",
    "o.grad_fn",
    "o.register_hook(communication)",
    "o.share_memory_()",
    "o.pin_memory()",
    "o.set_(o)",
    "o.resize_(10)",
    "o.as_strided((100,), (1,))",
    "o.map_(o, communication)",
    "o.apply_(communication)",
    "o.requires_grad_()",
    "o.backward()",
    "o.nonzero()",
    "o.unique()",
    "o.masked_select(o > 0)",
    "o.type('torch.cuda.FloatTensor')",
    "o.detach()",
]
_PATCHES = [
    "th.relu = 1",
    "th.nn.functional.pad = th.zeros",
    "o.data = o",
    "o.shape = (1,)",
    "o.data += 1",
    "th.cat, x = 1, 2",
    "for th.relu in range(3):\n    pass",
    "th = 3",
    "len = 3",
    "communication = 3",
    "message_design_instruction = 3",
    "sum = th.cat",
    "x = th\nx.load('f')",
    "x = [th]\nx[0].load('f')",
    "x = th.nn.functional",
    "x = communication\nx(o)",
    "x = th.cat\nx([o, o])",
    "th.cat([o, o], dim=-1, out=o)",
]
_RANDOM = (
    "th.rand(3)|th.randn(3)|th.randint(0, 2, (3,))|th.randperm(3)|th.rand_like(o)|th.randn_like(o)|th.bernoulli(o)|"
    "th.multinomial(o, 1)|th.normal(o, o)|th.manual_seed(0)|th.seed()|th.Generator()|o.uniform_()|o.normal_()|"
    "o.random_()|o.bernoulli_()|o.exponential_()|th.nn.functional.gumbel_softmax(o)"
).split("|")
_DEVICES = [
    "o.cuda()",
    "o.cpu()",
    "o.to('cuda')",
    "o.to('cpu')",
    "o.to(0)",
    "th.zeros(3, device='cuda')",
    "th.zeros(3, device='cpu')",
    "th.device('cuda')",
    "o.half()",
    "o.get_device()",
]
_FLOODS = [
    "10 ** 9999999",
    "9 ** 9 ** 9",
    "2 ** 65",
    "(10 ** 6) ** 3",
    "999999 * 999999",
    "99999999999",
    "1e999",
    "1e31",
    "9" * 5000,
    "'a' * 100000",
    "[0] * 100000",
    "100000 * [0]",
    "(0,) * 99999",
    "[[0] * 10000 for i in range(3)]",
    "th.zeros(100000, 100000)",
    "th.zeros((100000, 100000))",
    "th.ones([5000, 5000])",
    "th.full((5000, 5000), 1.0)",
    "th.eye(5000)",
    "o.repeat(1, 5000, 5000)",
    "o.new_zeros(900000, 90)",
    "th.nn.functional.pad(o, (0, 900000, 0, 900000, 900000 * 1, 16000000 - 1))",
    "-" * 70 + "1",
    "(" * 300 + "1" + ")" * 300,
    *("+".join(["1"] * n) for n in (70, 1500, 4000)),  # the longest are more than Python's own recursion takes
    "'" + "x" * 9000 + "'",
    "[" + "0," * 9000 + "]",
]
_LOOPS = [
    "while True:\n    pass",
    "while o.sum() > 0:\n    o = o - 1",
    "x = [0]\nfor i in x:\n    x.append(1)",
    "x = [0]\nfor i, j in enumerate(x):\n    x.extend([1])",
    "for i in range(100000):\n    pass",
    "for i in range(0, 900000, 2):\n    pass",
    "for i in range(900000, 0, -1):\n    pass",
    "for i in range(1000):\n    for j in range(1000):\n        pass",
    "x = [0 for i in range(300) for j in range(300)]",
    "x = [[0 for i in range(300)] for j in range(300)]",
    "x = [a for a in o for b in o for c in o for d in o for e in o]",
    "x = sum(i for i in range(1000000))",
    "x = list(range(99999))",
    "for i in range(3, 9, 0):\n    pass",
    "communication(o)",
    "def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\nf(o)",
]
_SYNTAX = [
    "x = lambda: 1",
    "x = sorted([1], key=lambda v: v)",
    "class A:\n    def __del__(self):\n        pass",
    "with th.no_grad():\n    pass",
    "try:\n    pass\nexcept ValueError:\n    pass",
    "try:\n    pass\nfinally:\n    pass",
    "global o",
    "def f():\n    nonlocal o",
    "yield o",
    "x = yield",
    "yield from o",
    "async def f():\n    await o",
    "if (y := 1):\n    pass",
    "match o:\n    case _:\n        pass",
    "@staticmethod\ndef f():\n    pass",
    "def f(x=th.load('f')):\n    pass",
    "def f(x=[i for i in range(3)]):\n    pass",
    "def f(**kwargs):\n    pass",
    "x = dict(**{'a': 1})",
    "del o",
    "x: th.load('f') = 1",
    "def f(x: th.load('f')):\n    pass",
    "raise SystemExit",
    "raise o",
    "raise ValueError('x') from o",
    "[1][0](2)",
    "(communication if o else communication)(o)",
    "x = 1j",
    "x = b'1'",
    "x = undefined_name",
    "def f():\n    pass\ndef f():\n    pass",
]
_IMPORTS = [
    "import os",
    "import sys, ctypes",
    "import torch.utils",
    "import torch.nn.functional",
    "import torch._C as c",
    "import torch.hub as h",
    "import math as th",
    "import math as communication",
    "import torch as __builtins__",
    "import torch as sum",
    "from os import *",
    "from torch import *",
    "from torch import load",
    "from torch.utils.cpp_extension import load_inline",
    "from . import x",
    "import numpy as np",
    "import threading, socket, subprocess",
    "import pickle, atexit, signal, gc, weakref, inspect",
]


def _whole() -> list[Row]:
    texts = {
        "": "must be defined",
        "import torch as th\n": "must be defined",
        "def communication(o):\n    return o\n": "message_design_instruction must be defined",
        "def (:\n": "not valid Python",
        "\x00": "NUL",
        "\ud800": "not valid Python",
        "x = 1\n" * 9000: "characters",
        "raise ValueError\n" + text(OK): "top level",
        "for i in range(3):\n    pass\n" + text(OK): "top level",
        "if True:\n    pass\n" + text(OK): "top level",
        "while True:\n    pass\n" + text(OK): "While",
        text(OK, "import os as th\n"): "imported",
        text("y = 0\n" * 2700 + OK): "syntax nodes",
        "# -*- coding: utf-7 -*-\n+AGk-mport os\n" + text(OK): "",
        text("return o") + "communication.__globals__\n": "underscore",
        text(OK).replace("communication(o)", "communication(o=open('f'))"): "default",
        "exec('1')\n" + text(OK): "'exec'",
        "class communication:\n    pass\n" + INSTRUCTION: "must be defined",
    }
    return [Row("whole text", source, "grammar", reason) for source, reason in texts.items()]


def _grammar() -> list[Row]:
    values = {
        "attribute walk": _WALKS,
        "format string": _FORMATS,
        "builtin": [f"{name}(o)" for name in _NAMES],
        "torch": _TORCH,
        "method": _METHODS,
        "random": _RANDOM,
        "device": _DEVICES,
        "flood": _FLOODS,
    }
    lines = {"patch": _PATCHES, "loop": _LOOPS, "syntax": _SYNTAX, "import": _IMPORTS}
    rows = [Row(kind, text(f"y = {value}\n{OK}"), "grammar") for kind, listed in values.items() for value in listed]
    rows += [Row(kind, text(f"{line}\n{OK}"), "grammar") for kind, listed in lines.items() for line in listed]
    return rows + _whole()


_BODIES: list[tuple[str, str, str, str, int | None]] = [
    # kind, body, layer, part of the message, history
    ("not finite", "return th.cat([o, 1.0 / o], dim=-1)", "contract", "not finite", None),
    ("not finite", "return th.cat([o, th.log(o)], dim=-1)", "contract", "not finite", None),
    ("not finite", "return th.cat([o, o * float('nan')], dim=-1)", "contract", "not finite", None),
    ("not finite", "return th.cat([o, (o * 100).exp()], dim=-1)", "contract", "not finite", None),
    ("in place", "o[:, 0] = 0.0\nreturn th.cat([o, o], dim=-1)", "contract", "modified", None),
    ("in place", "o.add_(1.0)\nreturn th.cat([o, o], dim=-1)", "contract", "modified", None),
    ("in place", "v = o[:, :, 0]\nv.fill_(0.0)\nreturn th.cat([o, o], dim=-1)", "contract", "modified", None),
    ("batch leak", "return th.cat([o, o - o.mean(dim=0, keepdim=True)], dim=-1)", "contract", "depend", None),
    ("batch leak", "return th.cat([o, o.flip(0)], dim=-1)", "contract", "depend", None),
    ("batch leak", "return th.cat([o, o.cumsum(0)], dim=-1)", "contract", "depend", None),
    ("batch leak", "return th.cat([o, o.roll(1, 0)], dim=-1)", "extraction", "episodes", None),
    ("batch leak", "return th.cat([o, o.sort(dim=0).values], dim=-1)", "contract", "depend", None),
    ("batch leak", "return th.cat([o, o[:1].expand_as(o)], dim=-1)", "contract", "depend", None),
    ("batch size", "k = 1.0 if o.shape[0] > 4 else 2.0\nreturn th.cat([o, o * k], dim=-1)", "extraction", "batch",
     None),
    ("batch size", "return th.cat([o, o * o.shape[0]], dim=-1)", "contract", "depend", None),
    ("mix-up", "return th.cat([o.flip(1), o], dim=-1)", "contract", "own current x", None),
    ("mix-up", "return th.cat([o * 2, o], dim=-1)", "contract", "own current x", None),
    ("mix-up", "return th.cat([o, o], dim=1)", "contract", "shape", None),
    ("mix-up", "v = o.reshape(-1, 5, 3).transpose(1, 2)\nreturn th.cat([v, o], dim=-1)", "contract", "own", None),
    ("mix-up", "v = o.permute(1, 0, 2).reshape(-1, 3, 5)\nreturn th.cat([o, v], dim=-1)", "extraction", "batch", None),
    ("time mix-up", "return th.cat([o[:, 0], o[:, -1]], dim=-1)", "contract", "oldest step", L),
    ("time mix-up", "return th.cat([o.mean(1), o[:, -1]], dim=-1)", "contract", "own current x", L),
    ("time mix-up", "return th.cat([o, o], dim=-1)", "contract", "shape", L),
    ("wrong shape", "return o[0]", "contract", "shape", None),
    ("wrong shape", "return th.cat([o, o], dim=-1)[:, :2]", "contract", "shape", None),
    ("wrong shape", "return o[..., :4]", "contract", "shape", None),
    ("wrong shape", "return o.sum()", "contract", "shape", None),
    ("wrong type", "return th.cat([o, o], dim=-1).double()", "contract", "float32", None),
    ("wrong type", "return (th.cat([o, o], dim=-1) > 0)", "contract", "float32", None),
    ("wrong type", "return 3", "contract", "must return a tensor", None),
    ("wrong type", "return [o, o]", "contract", "must return a tensor", None),
    ("wrong type", "pass", "contract", "must return a tensor", None),
    ("wrong type", "return th.zeros(3, 3, 10)", "contract", "", None),
    ("data-dependent", "if o.sum() > 0:\n    return th.cat([o, o], dim=-1)\nreturn th.cat([o, -o], dim=-1)",
     "extraction", "torch.where", None),
    ("data-dependent", "k = int(o.sum())\nreturn th.cat([o, o * k], dim=-1)", "extraction", "", None),
    ("data-dependent", "v = o[o > 0]\nreturn th.cat([o, o + v.sum()], dim=-1)", "contract", "depend", None),
    ("data-dependent", "assert o.max() < 1e9\nreturn th.cat([o, o], dim=-1)", "extraction", "torch.where", None),
    ("raises", "return th.cat([o, o.view(7, 7)], dim=-1)", "run", "invalid for input", None),
    ("raises", "return th.cat([o, o[:, 7]], dim=-1)", "run", "out of bounds", None),
    ("raises", "raise ValueError('no')", "run", "no", None),
    ("raises", "return th.cat([o, th.argmax(o > 0, dim=1)], dim=-1)", "run", "", None),
    ("flood", "n = 30000\nreturn th.cat([o, th.zeros(n, n, n).sum() + o], dim=-1)", "run", "", None),
    ("flood", "x = [0]\nfor i in range(3000):\n    x = x + x\nreturn o", "sandbox", "", None),
    ("flood", "n = 999\nx = 7\nfor i in range(n):\n    x = x * x\nreturn o", "sandbox", "processor time", None),
    ("flood", "return th.cat([o, o.repeat(1, 1, 9000)], dim=-1)", "contract", "memory", None),
    ("flood", "v = o.repeat(1, 1, 20000).sum(-1, keepdim=True)\nreturn th.cat([o, v], dim=-1)", "contract", "memory",
     None),
]  # fmt: skip

GRAMMAR = _grammar()
CHILD = [Row(kind, text(body), layer, reason, history) for kind, body, layer, reason, history in _BODIES]
