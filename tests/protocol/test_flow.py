"""The flow map: nothing that influences is missing, and for programs that move data nothing is added."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epymarl_lmac.errors import BundleError
from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol import Bundle, Program, ProtocolSpec, build_program
from epymarl_lmac.protocol.analysis.flow import flow_map
from epymarl_lmac.protocol.analysis.flow_rules import RULES, _anything
from epymarl_lmac.protocol.analysis.profile import FEW, profile_program
from epymarl_lmac.protocol.analysis.sets import Unions
from epymarl_lmac.protocol.commands.check import check_text
from epymarl_lmac.protocol.commands.samples import Played, windows
from epymarl_lmac.protocol.engine.operations import TABLE

N, D, L = 3, 4, 2
BUNDLES = sorted(path.parent for path in protocols_root().glob("*/*/default/manifest.yaml"))
HEAD = 'import torch as th\ndef message_design_instruction():\n    return "words"\ndef communication(o):\n'


def program_of(*operations, constants=None, message_dim=D, history=None):
    """Returns a program from (op, args, kwargs) rows; operation 0 is the input, and the last row's result is sent.

    With a history, operation 1 is the current step.
    """
    spec = ProtocolSpec(N, D, history)
    rows = [{"op": "input", "args": []}]
    if history is not None:
        rows.append({"op": "aten.select.int", "args": [{"n": 0}, 1, -1]})
    own = len(rows) - 1
    for name in constants or {}:
        rows.append({"op": "constant", "args": [name]})
    rows += [{"op": op, "args": args, "kwargs": kwargs[0] if kwargs else {}} for op, args, *kwargs in operations]
    rows.append({"op": "aten.cat.default", "args": [[{"n": own}, {"n": len(rows) - 1}], -1]})
    return Program(spec, rows, len(rows) - 1, constants or {}, message_dim)


def influence(program, kinds=("normal", "binary"), rows=64):
    """Returns (N, D + M, L, N, D): which input element was seen to change which output element."""
    generator = torch.Generator().manual_seed(5)
    seen = None
    for kind in kinds:
        o = torch.randn(program.spec.input_shape(rows), generator=generator)
        other = torch.randn(o.shape, generator=generator)
        if kind == "binary":
            o, other = (o > 0).float(), (other > 0).float()
        base, flat = program(o), o.reshape(rows, -1)
        found = []
        for i in range(flat.shape[1]):
            changed = flat.clone()
            changed[:, i] = other.reshape(rows, -1)[:, i]
            found.append((program(changed.reshape(o.shape)) != base).any(0))
        stacked = torch.stack(found, dim=-1).numpy()
        seen = stacked if seen is None else seen | stacked
    steps = program.spec.history or 1
    return seen.reshape(*seen.shape[:2], steps, program.spec.n_agents, program.spec.x_dim)


X = {"n": 0}  # the input
C = {"n": 1}  # the first constant, or the current step
WIDE = {"n": 3}  # the first constant for every episode, after WIDEN
WIDEN = (("aten.sym_size.int", [X, 0]), ("aten.expand.default", [C, [{"n": 2}, -1, -1]]))
PERM = torch.tensor([2, 0, 1])
COLUMNS = torch.tensor([[[3, 0, 1, 2]] * N])

# name -> program that only moves data: the map must equal the influence.
MOVES = {
    "index table": program_of(("aten.index.Tensor", [X, [None, C]]), constants={"c0": PERM}),
    "index_select": program_of(("aten.index_select.default", [X, 2, C]), constants={"c0": torch.tensor([3, 3, 0, 1])}),
    "gather": program_of(*WIDEN, ("aten.gather.default", [X, 2, WIDE]), constants={"c0": COLUMNS}),
    "flip and roll": program_of(("aten.flip.default", [X, [1]]), ("aten.roll.default", [{"n": 1}, [1], [2]])),
    "pad and slice": program_of(
        ("aten.constant_pad_nd.default", [X, [1, 0], 7.0]), ("aten.slice.Tensor", [{"n": 1}, 2, 0, 4])
    ),
    "split and stack": program_of(
        ("aten.split.Tensor", [X, 1, 1]),
        ("getitem", [{"n": 1}, 2]),
        ("aten.expand.default", [{"n": 2}, [-1, N, -1]]),
    ),
    "triangle": program_of(("aten.tril.default", [X])),
    "constant mask": program_of(
        ("aten.masked_fill.Scalar", [X, C, 0.0]), constants={"c0": torch.eye(N, D, dtype=torch.bool)}
    ),
    "constant choice": program_of(
        ("aten.flip.default", [X, [1]]),
        ("aten.where.self", [C, {"n": 2}, X]),
        constants={"c0": torch.tensor([[True, False, True, False]])},
    ),
    "scatter to constant places": program_of(
        *WIDEN,
        ("aten.zeros_like.default", [X]),
        ("aten.scatter.src", [{"n": 4}, 2, WIDE, X]),
        constants={"c0": COLUMNS},
    ),
    "steps in order": program_of(
        ("aten.select.int", [X, 1, 0]), ("aten.permute.default", [{"n": 2}, [0, 1, 2]]), history=L
    ),
    "product with a table of 0 and 1": program_of(
        ("aten.mul.Tensor", [X, C]), constants={"c0": torch.tensor([[1.0, 0, 1, 0]] * N)}
    ),
}

# Everything else: the map holds all influence; for these programs it is also not larger.
COMBINED = {
    "weighted sum of agents": program_of(
        ("aten.unsqueeze.default", [X, 1]),
        ("aten.mul.Tensor", [{"n": 2}, C]),
        ("aten.sum.dim_IntList", [{"n": 3}, [2]]),
        constants={"c0": torch.tensor([[0.0, 1, 0], [1, 0, 2], [0, 0, 0]]).unsqueeze(-1)},
    ),
    "matrix product with zeros": program_of(
        *WIDEN, ("aten.bmm.default", [WIDE, X]), constants={"c0": torch.tensor([[[0.0, 1, 0], [1, 0, 2], [0, 0, 0]]])}
    ),
    "running sum": program_of(("aten.cumsum.default", [X, 2])),
    "largest of all steps": program_of(("aten.amax.default", [X, [1]]), history=L),
    "sorted columns": program_of(("aten.sort.default", [X, 2]), ("getitem", [{"n": 1}, 0])),
    "softmax of masked scores": program_of(
        ("aten.masked_fill.Scalar", [X, C, {"float": "-inf"}]),
        ("aten._softmax.default", [{"n": 2}, 2, False]),
        constants={"c0": torch.tensor([[True, False, False, True]] * N)},
    ),
    "choice by a value": program_of(
        ("aten.flip.default", [X, [1, 2]]),
        ("aten.gt.Scalar", [{"n": 1}, 0.0]),
        ("aten.where.ScalarOther", [{"n": 2}, X, 1.0]),
    ),
    "filled by a value": program_of(
        ("aten.flip.default", [X, [1, 2]]),
        ("aten.gt.Scalar", [{"n": 1}, 0.0]),
        ("aten.masked_fill.Scalar", [X, {"n": 2}, 1.0]),
    ),
    "sum at constant places": program_of(
        *WIDEN, ("aten.scatter_add.default", [X, 2, WIDE, X]), constants={"c0": torch.tensor([[[0, 0, 1, 1]] * N])}
    ),
    "largest and where": program_of(
        ("aten.max.dim", [X, 2, True]),
        ("getitem", [{"n": 1}, 1]),
        ("aten._to_copy.default", [{"n": 2}], {"dtype": {"dtype": "float32"}}),
        message_dim=1,
    ),
}

# Places that depend on data: the map may be larger, and says so.
WIDENED = {
    "gather": (
        ("aten.argmax.default", [X, 2, True]),
        ("aten.gather.default", [X, 2, {"n": 1}]),
    ),
    "index": (
        ("aten.argmax.default", [X, 2]),
        ("aten.index.Tensor", [C, [{"n": 2}]]),
        ("aten.unsqueeze.default", [{"n": 3}, 2]),
    ),
    "scatter": (
        ("aten.argmax.default", [X, 2, True]),
        ("aten.scatter.value", [X, 2, {"n": 1}, 5.0]),
        ("aten.slice.Tensor", [{"n": 2}, 2, 0, 1]),
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_program_that_moves_data_has_exactly_its_influence(name):
    flow = flow_map(MOVES[name])
    assert np.array_equal(flow.matrix(), influence(MOVES[name], kinds=("normal",)))
    assert flow.exact
    assert flow.moves_only == (name != "product with a table of 0 and 1")


@pytest.mark.parametrize("name", COMBINED)
def test_a_program_that_combines_has_all_its_influence_and_here_no_more(name):
    flow = flow_map(COMBINED[name])
    assert np.array_equal(flow.matrix(), influence(COMBINED[name], rows=512))
    assert flow.exact and not flow.moves_only


@pytest.mark.parametrize("name", WIDENED)
def test_data_dependent_places_are_a_superset_and_said_to_be(name):
    constants = {"c0": torch.arange(4.0)} if name == "index" else None
    program = program_of(*WIDENED[name], constants=constants, message_dim=1)
    flow = flow_map(program)
    assert not (influence(program, rows=256) & ~flow.matrix()).any()
    assert not flow.exact
    # A receiver still hears only of itself.
    assert np.array_equal(flow.senders()[:, 0], np.eye(N, dtype=bool))


def test_cancelling_values_are_listed():
    program = program_of(("aten.sub.Tensor", [X, X]))
    flow = flow_map(program)
    assert flow.reaches(1, D + 2)[0, 1, 2] and not influence(program)[1, D + 2].any()
    assert not flow.moves_only


def _long(path):
    """Twenty-two agents take a minute; the other bundles seconds."""
    return pytest.param(path, id=path.parent.name, marks=pytest.mark.slow if "2o_20b" in path.parent.name else ())


@pytest.mark.parametrize("path", [_long(path) for path in BUNDLES])
def test_shipped_bundles_have_no_influence_outside_their_map(path):
    for program in Bundle.load(path, None).programs:
        flow = flow_map(program)
        generator = torch.Generator().manual_seed(8)
        o = (torch.randn(program.spec.input_shape(48), generator=generator) > 0).float()
        base, flat = program(o), o.reshape(48, -1)
        held = np.unpackbits(flow.packed, axis=1, count=flat.shape[1], bitorder="little").astype(bool)
        for i in range(0, flat.shape[1], 1 if flat.shape[1] < 500 else 7):
            changed = flat.clone()
            changed[:, i] = 1 - changed[:, i]
            touched = (program(changed.reshape(o.shape)) != base).any(0).numpy()
            assert not (touched & ~held[:, i][flow.place]).any()


def test_the_own_columns_of_the_result_are_the_receivers_x():
    for program in Bundle.load(BUNDLES[-1], None).programs:
        flow = flow_map(program)
        for receiver in range(flow.n_agents):
            for column in range(flow.x_dim):
                assert np.argwhere(flow.reaches(receiver, column)).tolist() == [[flow.steps - 1, receiver, column]]


def test_every_operation_of_the_table_has_a_rule_of_its_own():
    assert set(RULES) == set(TABLE)
    assert [op for op, rule in RULES.items() if rule is _anything] == []


def test_unions_equal_python_sets():
    rng = np.random.default_rng(3)
    unions, sets = Unions(150), [set(), *({i} for i in range(150))]
    ids = np.arange(151)
    for _ in range(6):
        rows = rng.choice(ids, size=(40, 5))
        made = unions.rows(rows)
        for row, number in zip(rows, made, strict=True):
            while len(sets) <= number:
                sets.append(set())
            sets[number] = set().union(*(sets[i] for i in row))
        ids = np.concatenate([ids, made])
    bits = np.unpackbits(unions.members(ids), axis=1, count=150, bitorder="little")
    assert [set(np.flatnonzero(row).tolist()) for row in bits] == [sets[i] for i in ids]
    prefix = unions.prefixes(np.array([[1, 2, 0, 3]]), 1)[0]
    assert [row.sum() for row in np.unpackbits(unions.members(prefix), axis=1)] == [1, 2, 2, 3]


def test_members_are_the_same_in_many_small_passes(monkeypatch):
    program = Bundle.load(protocols_root() / "lbf" / "8x8-2p-2f-s1-coop" / "forwarding", None).programs[2]
    flow = flow_map(program)
    monkeypatch.setattr("epymarl_lmac.protocol.analysis.sets.WORK_BYTES", 1)
    again = flow_map(program)
    assert np.array_equal(flow.packed[flow.place], again.packed[again.place])


def test_a_program_too_large_to_follow_is_refused_and_the_verdict_stands(monkeypatch):
    monkeypatch.setattr("epymarl_lmac.protocol.analysis.sets.MAX_WORK", 10)
    with pytest.raises(BundleError, match="too large to follow"):
        flow_map(COMBINED["running sum"])
    verdict = check_text(HEAD + "    return th.cat([o, o.cumsum(2)], dim=-1)\n", ProtocolSpec(N, D, None))
    assert verdict.accepted and verdict.profile is None and "too large to follow" in verdict.no_profile


def test_an_operation_that_fails_is_named():
    program = program_of(("aten.select.int", [X, 2, 99]))
    with pytest.raises(BundleError, match="operation 1"):
        flow_map(program)


# From one or two values of shape (B, N, D) to another one; "a" and "b" are earlier values, "last" the row before.
STEPS = [
    [("aten.add.Tensor", ["a", "b"])],
    [("aten.mul.Tensor", ["a", "b"])],
    [("aten.mul.Tensor", ["a", C])],
    [("aten.maximum.default", ["a", "b"])],
    [("aten.flip.default", ["a", [1]])],
    [("aten.roll.default", ["a", [1], [2]])],
    [("aten.relu.default", ["a"])],
    [("aten.cumsum.default", ["a", 1])],
    [("aten._softmax.default", ["a", 2, False])],
    [("aten.triu.default", ["a"])],
    [("aten.gt.Tensor", ["a", "b"]), ("aten.where.self", ["last", "a", C])],
    [("aten.gt.Tensor", [C, C]), ("aten.where.self", ["last", "a", "b"])],
    [("aten.amax.default", ["a", [1], True]), ("aten.sub.Tensor", ["a", "last"])],
    [("aten.sort.default", ["a", 2]), ("getitem", ["last", 0])],
    [
        ("aten.argmax.default", ["a", 2, True]),
        ("aten.gather.default", ["b", 2, "last"]),
        ("aten.add.Tensor", ["a", "last"]),
    ],
    [
        ("aten.permute.default", ["a", [0, 2, 1]]),
        ("aten.bmm.default", ["b", "last"]),
        ("aten.bmm.default", ["last", "a"]),
    ],
    [("aten.argmax.default", ["a", 1, True]), ("aten.scatter.value", ["b", 1, "last", 2.0])],
]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(range(len(STEPS))), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5
    )
)
def test_random_programs_have_no_influence_outside_their_map(chosen):
    rows = [("aten.flip.default", [X, [1]]), ("aten.roll.default", [X, [1], [2]])]
    made = [0, 2, 3]  # the constant is 1
    for number, left, right in chosen:
        operands = {"a": {"n": made[left % len(made)]}, "b": {"n": made[right % len(made)]}}
        for op, args in STEPS[number]:
            operands["last"] = {"n": len(rows) + 1}
            rows.append((op, [operands[arg] if isinstance(arg, str) else arg for arg in args]))
        made.append(len(rows) + 1)
    program = program_of(*rows, constants={"c0": torch.tensor([[0.0, 1, 0, 2], [1, 0, 0, 1], [3, 1, 1, 0]])})
    assert not (influence(program, rows=48) & ~flow_map(program).matrix()).any()


def test_recorded_episodes_show_no_influence_outside_the_map():
    played = Played("lookout", [], 32)
    for program in Bundle.load(protocols_root() / "lookout" / "3a-4k" / "default", None).programs:
        o = played.inputs(program.spec)[:512]
        base, flat = program(o), o.reshape(len(o), -1)
        held = np.unpackbits(flow_map(program).packed, axis=1, count=flat.shape[1], bitorder="little").astype(bool)
        place, moved = flow_map(program).place, 0
        for i in range(flat.shape[1]):
            changed = flat.clone()
            changed[:, i] = 1 - changed[:, i]
            touched = (program(changed.reshape(o.shape)) != base).any(0).numpy()
            assert not (touched & ~held[:, i][place]).any()
            moved += touched[:, program.spec.x_dim :].sum()
        assert moved > 0


# -- profile ---------------------------------------------------------------------------------------------


def profile_of(body, spec=None, data=None):
    text = HEAD + "".join(f"    {line}\n" for line in body.split("\n"))
    return profile_program(build_program(text, spec or ProtocolSpec(N, D, None)), data)


def test_columns_are_told_apart():
    profile = profile_of(
        "first = o[:, 0:1].expand(-1, 3, -1)\n"
        "flag = (first[..., 0:1] > 0).float()\n"
        "team = o[..., 3:4].sum(1, keepdim=True).expand(-1, 3, 1)\n"
        "parts = [o, first[..., 1:2], first[..., 1:2], flag, team, o[..., 2:3], o[..., 0:1] * 2, team * 0]\n"
        "return th.cat(parts, dim=-1)"
    )
    kinds = {r: [c.kind for c in profile.columns if c.receiver == r] for r in range(N)}
    assert kinds[1] == kinds[2] == ["single", "duplicate", "single", "aggregate", "own", "own", "constant"]
    assert kinds[0] == ["own", "own", "own", "aggregate", "own", "own", "constant"]
    column = {c.column: c for c in profile.columns if c.receiver == 1}
    assert (column[0].equal_to, column[1].equal_to, column[4].equal_to) == ("", "message[0]", "x[2]")
    assert [column[i].bits for i in (0, 2, 3)] == [32, 1, 32]
    assert [column[i].distinct for i in (0, 2, 6)] == [FEW + 1, 2, 1]
    assert column[3].senders == (0, 2)
    # From agent 0 to agent 1: x[1], the flag and its part of the sum; the copy of x[1] is raw only.
    assert (profile.floats[0, 1], profile.raw_floats[0, 1], profile.bits[0, 1]) == (3, 4, 65)
    assert (profile.floats[1, 0], profile.floats[1, 2], profile.bits[2, 1]) == (1, 1, 32)
    assert profile.inputs[0, 1] == 3 and profile.inputs[1, 1] == 0


def test_real_data_say_how_many_values_a_column_takes():
    body = "return th.cat([o, o[:, 0:1, 0:2].expand(-1, 3, 2)], dim=-1)"
    data = torch.zeros(40, N, D)
    data[:, 0, 0] = torch.arange(40) % 5
    data[:, :, 3] = torch.rand(40, N)
    synthetic, real = profile_of(body), profile_of(body, data=data)
    assert synthetic.bits[0, 1] == 64 and synthetic.data == "synthetic data"
    assert real.bits[0, 1] == 3 and real.floats[0, 1] == 1 and real.rows == 40
    assert [c.kind for c in real.columns if c.receiver == 1] == ["single", "constant"]


def test_ages_of_steps_are_told():
    body = "old = o[:, 0, 1:2].expand(-1, 3, 4)\nreturn th.cat([o[:, -1], old], dim=-1)"
    profile = profile_of(body, ProtocolSpec(N, D, 3))
    assert {c.steps for c in profile.columns} == {(2,)}
    assert [c.equal_to for c in profile.columns if c.receiver == 1] == [f"x[{d}], 2 steps ago" for d in range(D)]


def test_data_of_another_shape_are_refused():
    program = program_of(("aten.flip.default", [X, [1]]))
    with pytest.raises(BundleError, match=r"shape \(5, 3, 7\)"):
        profile_program(program, torch.zeros(5, N, 7))


def test_windows_are_filled_before_the_start():
    x = torch.arange(2 * 3 * 1 * 2).float().reshape(2, 3, 1, 2)
    rows = windows(x, 3, id_columns=1)
    assert rows.shape == (6, 3, 1, 2)
    assert rows[0, :, 0].tolist() == [[-1, 1], [-1, 1], [0, 1]]
    assert rows[5, :, 0].tolist() == x[1, :, 0].tolist()
    assert torch.equal(windows(x, None), x.flatten(0, 1))
