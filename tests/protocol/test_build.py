"""From text to program: good protocols come out equal to what they say, bad ones are refused by the right layer."""

from pathlib import Path

import pytest
import torch

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol import Program, ProtocolSpec, build_program
from epymarl_lmac.protocol.engine import sandbox
from epymarl_lmac.protocol.engine.build import Limits
from epymarl_lmac.protocol.engine.grammar import TextLimits, check_grammar
from epymarl_lmac.protocol.engine.sandbox import ChildLimits, run_child
from epymarl_lmac.protocol.engine.signature import MESSAGE

N, D, L = 3, 5, 4
INSTRUCTION = 'def message_design_instruction():\n    return "words"\n'


def text(body, head="import torch as th\n"):
    return head + INSTRUCTION + "def communication(o):\n" + "".join(f"    {line}\n" for line in body.split("\n"))


def child_request(body):
    """What a child is asked for a text with this body."""
    names = {"entry": MESSAGE.entry, "instruction": MESSAGE.instruction}
    return {"text": text(body), **names, "shape": [N, D], "probes": [[3, 1.0]]}


def own_and(o, message):
    return torch.cat([o, message], dim=-1)


GOOD = {
    "broadcast": (
        "heard = o.reshape(-1, 1, 15).expand(-1, 3, 15)\nreturn th.cat([o, heard], dim=-1)",
        lambda o: own_and(o, o.reshape(-1, 1, 15).expand(-1, 3, 15)),
    ),
    "index table and gather": (
        "table = th.tensor([1, 2, 0])\nheard = o[:, table, 0:2]\nreturn th.cat([o, heard], dim=-1)",
        lambda o: own_and(o, o[:, [1, 2, 0], 0:2]),
    ),
    "mask": (
        "eye = th.eye(3, dtype=th.bool)\nv = o[..., 0].unsqueeze(1).expand(-1, 3, 3).masked_fill(eye, 0.0)\n"
        "return th.cat([o, v], dim=-1)",
        lambda o: own_and(o, o[..., 0].unsqueeze(1).expand(-1, 3, 3).masked_fill(torch.eye(3).bool(), 0.0)),
    ),
    "comprehension over agents": (
        "parts = [o[:, i, 0:1] * (i + 1) for i in range(o.shape[1])]\n"
        "heard = th.stack(parts, dim=1).sum(dim=1, keepdim=True).expand(-1, 3, 1)\nreturn th.cat([o, heard], dim=-1)",
        lambda o: own_and(o, (o[..., :1] * torch.tensor([[1.0], [2], [3]])).sum(1, keepdim=True).expand(-1, 3, 1)),
    ),
    "nothing to say": ("return th.cat([o, o[..., :0]], dim=-1)", lambda o: o),
    "where and comparisons": (
        "v = th.where(o > 0, o, -o).amax(dim=1, keepdim=True).expand(-1, 3, 5)\nreturn th.cat([o, v], dim=-1)",
        lambda o: own_and(o, o.abs().amax(1, keepdim=True).expand(-1, 3, 5)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_program_equals_what_the_text_says_at_any_batch_size(name):
    body, expected = GOOD[name]
    program = build_program(text(body), ProtocolSpec(N, D, None))
    for batch in (1, 2, 7, 64):
        o = torch.randn(batch, N, D)
        assert torch.equal(program(o), expected(o))
        assert torch.equal(program.message(o), expected(o)[..., D:])
    assert program.message_dim == expected(torch.zeros(1, N, D)).shape[-1] - D


def test_history_protocol_sees_steps_in_order():
    body = "heard = (o[:, -1] - o[:, 0]).flip(1)\nreturn th.cat([o[:, -1], heard], dim=-1)"
    program = build_program(text(body), ProtocolSpec(N, D, L))
    o = torch.randn(6, L, N, D)
    assert torch.equal(program.message(o), (o[:, 3] - o[:, 0]).flip(1))


def test_helpers_constants_and_math_are_part_of_the_language():
    source = (
        "import math\nimport torch\nSCALE = 2.0\ndef helper(x, k=1):\n    return x * SCALE / math.sqrt(4) + k\n"
        + INSTRUCTION
        + "def communication(o):\n    return torch.cat([o, helper(o, k=3)], dim=-1)\n"
    )
    program = build_program(source, ProtocolSpec(N, D, None))
    o = torch.randn(2, N, D)
    assert torch.equal(program.message(o), o + 3)


REFUSED = {
    "first columns": ("return th.cat([o * 2, o], dim=-1)", "contract", "own current x"),
    "batch mean": ("return th.cat([o, o - o.mean(dim=0, keepdim=True)], dim=-1)", "contract", "other"),
    "not finite": ("return th.cat([o, 1.0 / o], dim=-1)", "contract", "not finite"),
    "float64": ("return th.cat([o, o], dim=-1).double()", "contract", "float32"),
    "random": ("return th.cat([o, o * 0 + th.tensor(0.0).uniform_()], dim=-1)", "grammar", "uniform_"),
    "wrong rank": ("return o[0]", "contract", "shape"),
    "agents dropped": ("return th.cat([o, o], dim=-1)[:, :2]", "contract", "shape"),
    "data-dependent branch": ("if o.sum() > 0:\n    return th.cat([o, o], dim=-1)\nreturn th.cat([o, -o], dim=-1)",
                              "extraction", "torch.where"),
    "batch branch": ("k = 1.0 if o.shape[0] > 4 else 2.0\nreturn th.cat([o, o * k], dim=-1)", "extraction", "batch"),
    "raises": ("return th.cat([o, o.view(7, 7)], dim=-1)", "run", "invalid for input"),
    "not a tensor": ("return 3", "contract", "must return a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_protocol_is_refused_by_the_right_layer(name):
    body, layer, reason = REFUSED[name]
    with pytest.raises(ProtocolRejected) as caught:
        build_program(text(body), ProtocolSpec(N, D, None))
    assert caught.value.layer == layer
    assert reason in str(caught.value)


def test_message_size_limit():
    with pytest.raises(ProtocolRejected, match="gets 5 numbers; at most 4"):
        build_program(text("return th.cat([o, o], dim=-1)"), ProtocolSpec(N, D, None), Limits(max_message_dim=4))


GRAMMAR = {
    "import os": "os may",
    "from torch import load": "ImportFrom",
    "x = ().__class__": "leading underscore",
    "x = (1).__class__.__bases__": "leading underscore",
    "x = f'{o}'": "JoinedStr",
    "x = '{0}'.format(o)": "'format'",
    "x = '%s' % o": "text formatting",
    "x = eval('1')": "'eval'",
    "x = lambda: 1": "Lambda",
    "class A:\n    pass": "ClassDef",
    "with o:\n    pass": "With",
    "try:\n    pass\nexcept Exception:\n    pass": "Try",
    "global o": "Global",
    "(y := 1)": "NamedExpr",
    "x = th.load('f')": "'load'",
    "x = th.ops": "'ops'",
    "x = th.hub": "'hub'",
    "x = th.utils": "'utils'",
    "x = th.from_file('f')": "'from_file'",
    "th.relu = 1": "cannot be set",
    "x = 10 ** 9999999": "limited to",
    "x = [1][0](2)": "only named functions",
    "x = o.numpy()": "'numpy'",
    "x = o.register_hook": "'register_hook'",
    "yield o": "Yield",
    "del o": "Delete",
    "th = 3": "cannot be redefined",
    "x = b'1'": "bytes",
}


@pytest.mark.parametrize("line", GRAMMAR)
def test_grammar_refuses_with_the_place(line):
    source = text(line + "\nreturn th.cat([o, o], dim=-1)")
    with pytest.raises(ProtocolRejected) as caught:
        check_grammar(source)
    assert caught.value.layer == "grammar" and caught.value.line == 5
    assert GRAMMAR[line].split()[0] in str(caught.value)


@pytest.mark.parametrize(
    "source", ["", "import torch as th\n", "def communication(o):\n    return o\n", "def (:\n", "\x00"]
)
def test_what_is_no_protocol_is_refused(source):
    with pytest.raises(ProtocolRejected) as caught:
        check_grammar(source)
    assert caught.value.layer == "grammar"


def test_size_limits_of_texts():
    long = text("x = 0\n" * 30 + "return th.cat([o, o], dim=-1)")
    with pytest.raises(ProtocolRejected, match="characters"):
        check_grammar(long, TextLimits(characters=100))
    with pytest.raises(ProtocolRejected, match="more than 50 syntax nodes"):
        check_grammar(long, TextLimits(nodes=50))


def test_endless_loop_ends_at_the_deadline_and_leaves_no_process():
    # The tensor slows the loop down: its list alone would reach the memory limit first on a fast machine.
    request = child_request("x = [0]\nfor i in x:\n    x.append(1)\n    th.zeros(1)")
    with pytest.raises(ProtocolRejected, match="did not finish in time"):
        run_child(request, ChildLimits(wall_s=6.0))
    assert sandbox._server is not None and sandbox._server.process.poll() is None
    server = sandbox._server.process.pid
    assert Path(f"/proc/{server}/task/{server}/children").read_text() == ""


def test_memory_flood_is_stopped():
    request = child_request("x = th.ones(100000, 100000)\nreturn x")
    with pytest.raises(ProtocolRejected) as caught:
        run_child(request, ChildLimits())
    assert caught.value.layer in ("run", "sandbox")


def test_child_sees_no_environment_and_no_files_of_ours(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "do not tell")
    body = "import os\nraise ValueError(str(sorted(os.environ)) + os.getcwd())"
    with pytest.raises(ProtocolRejected) as caught:  # layer 1 is skipped: the text goes straight to the child
        run_child(child_request(body), ChildLimits())
    assert caught.value.layer == "run" and "SECRET" not in str(caught.value)


def test_programs_survive_files():
    program = build_program(text(GOOD["index table and gather"][0]), ProtocolSpec(N, D, None))
    content, constants = program.as_dict("k0.")
    again = Program.from_dict(content, {k.removeprefix("k0."): v for k, v in constants.items()})
    o = torch.randn(4, N, D)
    assert torch.equal(again(o), program(o))
