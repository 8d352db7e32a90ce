"""Operations that write into memory nobody else reads: which do, and that values and inputs stay what they are."""

from collections import Counter

import numpy as np
import pytest
import torch

from epymarl_lmac.protocol import ProtocolSpec
from epymarl_lmac.protocol.engine import plan
from epymarl_lmac.protocol.engine.program import Program

SPEC = ProtocolSpec(2, 3, None)


def program(*operations):
    """Returns a program; the last operation is the result, operation 0 the input."""
    listed = [{"op": "input", "args": []}, *({"op": f"aten.{op}", "args": args} for op, args in operations)]
    constants = {}
    return Program(SPEC, listed, len(listed) - 1, constants, 3)


def functions(made):
    return [getattr(step.function, "__name__", "") for step in made.plan.steps]


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


PART = ("select.int", [n(1), 1, 1])  # 2, agent 1 of operation 1
SOURCE = ("slice.Tensor", [n(3), 1, 0, 1])


def part_of_a_part(*between, back=(1, 1)):
    """Returns a program that fills column 1 of agent 1 of operation 1 and puts the part back."""
    size = len(between)
    listed = [
        FRESH,
        PART,
        ("select.int", [n(0), 1, 0]),
        SOURCE,  # 4
        ("slice_scatter.default", [n(2), n(4), 1, 1, 2]),  # 5
        *between,
        ("select_scatter.default", [n(1), n(5), *back]),  # 6 + size
    ]
    return program(*listed, ("cat.default", [[n(0), n(6 + size), *(n(6 + i) for i in range(size))], 2]))


def test_a_part_of_a_part_is_filled_and_not_copied_back():
    made = part_of_a_part()
    assert {"_slice_scatter", "_written_already"} <= set(functions(made))
    o = torch.arange(6.0).view(1, 2, 3)
    expected = o + 1
    expected[:, 1, 1] = o[:, 0, 0]
    assert torch.equal(made(o), torch.cat([o, expected], 2))


def test_a_part_that_goes_elsewhere_or_is_read_in_between_is_copied():
    for made in (part_of_a_part(back=(1, 0)), part_of_a_part(("mul.Tensor", [n(1), n(1)]))):
        assert not {"_slice_scatter", "_written_already"} & set(functions(made))


def random_operations(rng):
    """Returns operations on values of shape (1, 2, 3) or, taken from one agent, (1, 3)."""
    wide, narrow, listed = [0], [], []

    def add(op, args, values):
        listed.append((op, args))
        values.append(len(listed))

    for _ in range(14):
        w, other = (n(int(rng.choice(wide))) for _ in range(2))
        agent, start = int(rng.integers(2)), int(rng.integers(3))
        kind = rng.integers(10 if narrow else 5)
        if kind == 0:
            add("add.Tensor", [w, other], wide)
        elif kind == 1:
            add("select.int", [w, 1, agent], narrow)
        elif kind == 2:
            add("copy.default", [w, other], wide)
        elif kind == 3:
            listed.append(("slice.Tensor", [other, 2, start, start + 1]))
            add("slice_scatter.default", [w, n(len(listed)), 2, start, start + 1], wide)
        elif kind == 4:
            listed.append(("gt.Tensor", [w, other]))
            add("where.self", [n(len(listed)), other, w], wide)
        else:
            p, q = (n(int(rng.choice(narrow[-3:]))) for _ in range(2))
            if kind == 5:
                add("select_scatter.default", [w, p, 1, agent], wide)
            elif kind == 6:
                add("copy.default", [p, q], narrow)
            elif kind == 7:
                listed.append(("slice.Tensor", [q, 1, start, start + 1]))
                add("slice_scatter.default", [p, n(len(listed)), 1, start, start + 1], narrow)
            else:  # a part is taken, changed and put back
                listed.append(("select.int", [w, 1, agent]))
                part = len(listed)
                listed.append(("slice.Tensor", [p, 1, 0, 1]))
                listed.append(("slice_scatter.default", [n(part), n(part + 1), 1, start, start + 1]))
                narrow.extend([part, part + 2] if kind == 8 else [])
                add("select_scatter.default", [w, n(part + 2), 1, agent], wide)
    return [*listed, ("cat.default", [[n(0), n(wide[-1])], 2])]


def test_random_fills_give_what_copies_give(monkeypatch):
    rng, in_place = np.random.default_rng(0), Counter()
    for _ in range(400):
        operations = random_operations(rng)
        made = program(*operations)
        in_place.update(functions(made))
        with monkeypatch.context() as patch:
            patch.setattr(plan, "overwritable", lambda *_: {})
            copying = program(*operations)
        o = torch.from_numpy(rng.normal(size=(1, 2, 3))).float()
        before = o.clone()
        first = made(o).clone()
        assert torch.equal(first, copying(o)), operations
        assert torch.equal(made(o), first) and torch.equal(o, before), operations
    for name in ("_slice_scatter", "_select_scatter", "_where", "_written_already", "_copy"):
        assert in_place[name] > 20, in_place


@pytest.mark.parametrize(
    ("rows", "fast"),
    [([1, 0, 1], True), ([-1, 0], False), (list(range(2)) * 20, False)],
    ids=["few", "negative", "many"],
)
def test_few_known_rows_are_taken_directly(rows, fast):
    listed = [{"op": "input", "args": []}, {"op": "constant", "args": ["rows"]}]
    listed.append({"op": "aten.index.Tensor", "args": [n(0), [None, n(1)]]})
    made = Program(SPEC, listed, 2, {"rows": torch.tensor(rows)}, 3)
    assert ("<lambda>" in functions(made)) == fast
    o = torch.rand(4, 2, 3)
    assert torch.equal(made(o), o[:, rows])
