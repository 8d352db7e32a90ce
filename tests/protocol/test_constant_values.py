"""Constants of a program: freed when nothing reads them, and refused before they are too large."""

import pytest
import torch

from epymarl_lmac.errors import BundleError, ProtocolRejected
from epymarl_lmac.protocol import Program, ProtocolSpec, build_program
from epymarl_lmac.protocol.engine import budget
from epymarl_lmac.protocol.engine.build import Limits
from epymarl_lmac.protocol.engine.constant_values import TooMuchMemory

SPEC = ProtocolSpec(2, 3, None)
MIB = 2**20


def op(name, *args, **kwargs):
    return {"op": name, "args": list(args), **({"kwargs": kwargs} if kwargs else {})}


def ref(index):
    return {"n": index}


def program(constants, last, **more):
    """Returns a program of [x, one column], which is x plus one number of the last constant."""
    n = len(constants)
    operations = [
        *constants,
        op("input"),
        op("aten.amax.default", ref(last), [0, 1]),
        op("aten.slice.Tensor", ref(n), 2, 0, 1),
        op("aten.add.Tensor", ref(n + 2), ref(n + 1)),
        op("aten.cat.default", [ref(n), ref(n + 3)], -1),
    ]
    return Program(SPEC, operations, n + 4, {}, 1, **more)


def chain(n, size=512):
    return [op("aten.ones.default", [size, size]), *(op("aten.add.Tensor", ref(i), 1.0) for i in range(n))]


def held(made):
    return sum(budget._bytes([*made.plan.values, *made._message_plan.values]).values())


def test_intermediate_constants_are_freed_after_their_last_use():
    made = program(chain(150), 150)
    assert held(made) < 100
    o = torch.rand(SPEC.input_shape(4))
    torch.testing.assert_close(made(o)[..., 3:], o[..., :1] + 151)
    # Two neighbours of the chain live at the same time, not all 150.
    assert held(program(chain(150), 150, constant_bytes=2 * MIB)) < 100
    with pytest.raises(TooMuchMemory):
        program(chain(150), 150, constant_bytes=2 * MIB - 1)


@pytest.mark.parametrize(
    "constants",
    [
        [op("aten.ones.default", [100_000, 100_000])],
        [op("aten.eye.default", 100_000)],
        [op("aten.ones.default", [10, 1]), op("aten.repeat.default", ref(0), [10_000, 100_000])],
        [
            op("aten.ones.default", [40_000, 1]),
            op("aten.transpose.int", ref(0), 0, 1),
            op("aten.mm.default", ref(0), ref(1)),
        ],
        [
            op("aten.ones.default", [40_000, 1]),
            op("aten.transpose.int", ref(0), 0, 1),
            op("aten.add.Tensor", ref(0), ref(1)),
        ],
        [
            op("aten.ones.default", [1, 1]),
            op("aten.expand.default", ref(0), [100_000, 100_000]),
            op("aten.clone.default", ref(1)),
        ],
    ],
    ids="ones eye repeat product broadcast clone".split(),
)
def test_a_constant_that_is_too_large_is_never_computed(constants):
    with pytest.raises(BundleError, match=r"constants of the program need .* MiB at operation .*at most 4,096 MiB"):
        program(constants, len(constants) - 1)


def test_a_large_view_needs_no_memory():
    constants = [op("aten.ones.default", [1, 1]), op("aten.expand.default", ref(0), [100_000, 100_000])]
    operations = [
        *constants,
        op("aten.slice.Tensor", ref(1), 0, 0, 3),
        op("aten.slice.Tensor", ref(2), 1, 0, 3),
    ]
    assert held(program(operations, 3)) < 100


def test_constants_that_runs_read_count_against_the_budget():
    operations = [
        op("aten.ones.default", [512, 512]),
        op("input"),
        op("aten.slice.Tensor", ref(1), 2, 0, 1),
        op("aten.mul.Tensor", ref(2), ref(0)),
        op("aten.amax.default", ref(3), [1, 2]),
    ]
    spec = ProtocolSpec(512, 3, None)
    made = Program(spec, operations, 4, {}, 0)
    assert sum(budget._bytes(made.plan.values).values()) == MIB
    with pytest.raises(ProtocolRejected, match="too much memory"):
        budget.check_budget(made, budget.ProgramBudget(bytes=MIB - 1))


def test_a_text_with_large_constants_is_refused_with_what_to_do():
    text = """import torch as th


def message_design_instruction():
    return "constants"


def communication(o):
    a = th.ones(512, 512)
    for i in range(50):
        a = a + 1.0
    return th.cat([o, o[..., :1] + a[0, 0]], -1)
"""
    few = Limits(cache=False, budget=budget.ProgramBudget(bytes=3 * MIB))
    made = build_program(text, SPEC, few)
    assert held(made) <= 2 * MIB  # a view of the last one, in each plan
    less = Limits(cache=False, budget=budget.ProgramBudget(bytes=MIB))
    with pytest.raises(ProtocolRejected, match=r"layer contract.*need 2 MiB.*Make smaller constant tensors"):
        build_program(text, SPEC, less)
