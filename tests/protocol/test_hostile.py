"""Every row of ``hostile_rows.py`` is stopped by the layer that it names, with a message that says where and why."""

import collections

import pytest
from hostile_rows import CHILD, GRAMMAR, OK, D, N, Row, text

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol import ProtocolSpec, build_program
from epymarl_lmac.protocol.engine.build import Limits
from epymarl_lmac.protocol.engine.grammar import check_grammar
from epymarl_lmac.protocol.engine.sandbox import ChildLimits

LIMITS = Limits(child=ChildLimits(wall_s=30.0, cpu_s=1))


def test_the_table_is_large_and_has_every_class():
    rows = [*GRAMMAR, *CHILD]
    kinds = collections.Counter(row.kind for row in rows)
    assert len(rows) >= 150 and len({row.source for row in rows}) == len(rows)
    assert len(kinds) >= 20, kinds


@pytest.mark.parametrize("row", GRAMMAR, ids=[f"{i} {row.name}" for i, row in enumerate(GRAMMAR)])
def test_grammar_stops(row: Row):
    with pytest.raises(ProtocolRejected) as caught:
        check_grammar(row.source)
    assert caught.value.layer == "grammar" and row.reason in str(caught.value)
    if row.kind != "whole text" and "recursion" not in str(caught.value):  # of the parser, which knows no place
        assert caught.value.line is not None and caught.value.column is not None and caught.value.line >= 4


@pytest.mark.parametrize("row", CHILD, ids=[row.name for row in CHILD])
def test_later_layers_stop(row: Row):
    check_grammar(row.source)  # it is in the language, so nothing but the named layer can be what stops it
    with pytest.raises(ProtocolRejected) as caught:
        build_program(row.source, ProtocolSpec(N, D, row.history), LIMITS)
    assert (caught.value.layer, row.reason in str(caught.value)) == (row.layer, True), str(caught.value)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("th.sotfmax(o, -1)", "softmax"),
        ("o.unsqeeze(0)", "unsqueeze"),
        ("o.item()", "torch.where"),
        ("o.sum(dm=1)", "dim"),
        ("enumrate(o)", "enumerate"),
        ("o.to('cuda')", "device=o.device"),
        ("th.rand(3)", "same input must give the same message"),
    ],
)
def test_a_rejection_says_what_would_be_accepted(line, hint):
    with pytest.raises(ProtocolRejected) as caught:
        check_grammar(text(f"y = {line}\n{OK}"))
    assert hint in str(caught.value)
    assert caught.value.line == 5 and caught.value.column >= 5 and caught.value.snippet
