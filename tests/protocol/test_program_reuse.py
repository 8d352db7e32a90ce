"""Operations that write into memory nobody else reads: which do, and that values and inputs stay what they are."""

import pytest
import torch

from epymarl_lmac.protocol import ProtocolSpec
from epymarl_lmac.protocol.program import Program

SPEC = ProtocolSpec(2, 3, None)


def program(*operations):
    """Returns a program; the last operation is the result, operation 0 the input."""
    listed = [{"op": "input", "args": []}, *({"op": f"aten.{op}", "args": args} for op, args in operations)]
    constants = {}
    return Program(SPEC, listed, len(listed) - 1, constants, 3)


def functions(made):
    return [getattr(step[1], "__name__", "") for step in made._whole.steps]


def n(index):
    return {"n": index}


FRESH = ("add.Tensor", [n(0), 1.0])  # 1
VIEW = ("slice.Tensor", [n(1), 2, 0, 1])
FILL = ("slice_scatter.default", [n(1), n(2), 2, 1, 2])  # column 1 of operation 1 becomes what operation 2 is


def test_a_value_that_is_not_read_again_is_filled_in_place():
    made = program(FRESH, ("slice.Tensor", [n(0), 2, 0, 1]), FILL, ("cat.default", [[n(0), n(3)], 2]))
    assert "_slice_scatter" in functions(made)
    o = torch.arange(6.0).view(1, 2, 3)
    expected = o + 1
    expected[..., 1] = o[..., 0]
    assert torch.equal(made(o), torch.cat([o, expected], 2))


@pytest.mark.parametrize(
    "operations",
    [
        [
            FRESH,
            ("slice.Tensor", [n(0), 2, 0, 1]),
            FILL,
            ("mul.Tensor", [n(1), n(3)]),
            ("cat.default", [[n(0), n(4)], 2]),
        ],
        [FRESH, VIEW, FILL, ("cat.default", [[n(0), n(3)], 2])],  # the source is a view of the target
        [
            FRESH,
            ("slice.Tensor", [n(0), 2, 0, 1]),
            ("slice.Tensor", [n(1), 2, 1, 2]),
            FILL,
            ("mul.Tensor", [n(4), n(3)]),  # a view of the old value is read later
            ("cat.default", [[n(0), n(5)], 2]),
        ],
        [
            ("alias.default", [n(0)]),  # the input itself
            ("slice.Tensor", [n(0), 2, 0, 1]),
            FILL,
            ("cat.default", [[n(0), n(3)], 2]),
        ],
        [
            ("sum.dim_IntList", [n(0), [1], True]),
            ("expand.default", [n(1), [1, 2, 3]]),  # one place of memory for two agents
            ("slice.Tensor", [n(0), 2, 0, 1]),
            ("slice_scatter.default", [n(2), n(3), 2, 1, 2]),
            ("cat.default", [[n(0), n(4)], 2]),
        ],
    ],
    ids=["read again", "source is a view of it", "view read later", "input", "overlapping memory"],
)
def test_what_is_still_needed_is_copied(operations):
    made = program(*operations)
    assert "_slice_scatter" not in functions(made)
    o = torch.arange(6.0).view(1, 2, 3)
    before = o.clone()
    first = made(o)
    assert torch.equal(o, before) and torch.equal(made(o), first)


def test_a_result_that_never_varies_is_a_program():
    made = Program(SPEC, [{"op": "input", "args": []}, {"op": "aten.zeros.default", "args": [[2, 2, 6]]}], 1, {}, 3)
    assert torch.equal(made(torch.ones(2, 2, 3)), torch.zeros(2, 2, 6))
    assert torch.equal(made.message(torch.ones(2, 2, 3)), torch.zeros(2, 2, 3))
