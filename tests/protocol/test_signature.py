"""Everything that depends on the kind of a generated program comes from its signature: another kind is another one."""

import dataclasses

import pytest
import torch

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol.engine.build import Limits, build_program
from epymarl_lmac.protocol.engine.grammar import check_grammar
from epymarl_lmac.protocol.engine.outputs import MessageOutput
from epymarl_lmac.protocol.engine.signature import MESSAGE
from epymarl_lmac.protocol.engine.spec import ProtocolSpec
from protocol_gen.answers import code_of

SPEC = ProtocolSpec(2, 3, None)
TEXT = """import torch


def describe_rating():
    return "the sum of what an agent perceives"


def rate(o):
    return torch.cat([o, o.sum(-1, keepdim=True){}], dim=-1)
"""


class RatingOutput(MessageOutput):
    """[own x, one rating that is not negative]."""

    def check(self, spec, o, result, kind):
        super().check(spec, o, result, kind)
        if (result[..., spec.x_dim :] < 0).any():
            raise ProtocolRejected("contract", f"a rating is negative on {kind} input; use abs().")


RATING = dataclasses.replace(MESSAGE, name="rating", entry="rate", instruction="describe_rating", output=RatingOutput())


def test_a_program_of_another_kind_is_built():
    program = build_program(TEXT.format(".abs()"), SPEC, Limits(cache=False), signature=RATING)
    o = torch.tensor([[[1.0, -4.0, 2.0], [0.5, 0.5, 1.0]]])
    assert torch.equal(program.message(o), torch.tensor([[[1.0], [2.0]]]))


def test_its_own_output_rule_is_checked():
    with pytest.raises(ProtocolRejected, match="a rating is negative on"):
        build_program(TEXT.format(""), SPEC, Limits(cache=False), signature=RATING)


def test_its_functions_are_asked_for_by_name():
    with pytest.raises(ProtocolRejected, match="a function message_design_instruction must be defined"):
        check_grammar(TEXT.format(""))
    check_grammar(TEXT.format(""), signature=RATING)


@pytest.mark.parametrize("arguments", ["", "o, k", "o, *, k", "*, o"])
def test_an_entry_function_with_other_arguments_is_refused_with_its_place(arguments):
    with pytest.raises(ProtocolRejected, match=r"callable with 1 argument.*def rate\(o\):") as caught:
        check_grammar(TEXT.format("").replace("rate(o)", f"rate({arguments})"), signature=RATING)
    assert caught.value.layer == "grammar" and caught.value.line == 8


@pytest.mark.parametrize("arguments", ["o", "o, k=1", "o, *rest", "o, *, k=1", "*o", "o=None"])
def test_an_entry_function_is_accepted_if_it_can_be_called_as_its_kind_says(arguments):
    check_grammar(TEXT.format("").replace("rate(o)", f"rate({arguments})"), signature=RATING)


def test_a_kind_of_two_arguments_asks_for_two():
    pair = dataclasses.replace(RATING, parameters=("o", "r"))
    check_grammar(TEXT.format("").replace("rate(o)", "rate(o, r)"), signature=pair)
    with pytest.raises(ProtocolRejected, match=r"callable with 2 argument.*def rate\(o, r\):"):
        check_grammar(TEXT.format(""), signature=pair)


def test_answers_are_searched_for_its_functions():
    answer = f"```python\n{TEXT.format('')}```"
    assert code_of(answer, signature=RATING) == TEXT.format("")
    with pytest.raises(
        ProtocolRejected, match="no code block defines both message_design_instruction and communication"
    ):
        code_of(answer)


def test_forwarding_everything_is_a_program_of_the_message_kind():
    program = build_program(MESSAGE.forward_all.replace("AGENTS", "2"), SPEC, Limits(cache=False))
    o = torch.randn(3, 2, 3)
    assert torch.equal(program.message(o), o.flatten(1).unsqueeze(1).expand(-1, 2, -1))
