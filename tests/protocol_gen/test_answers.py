"""What is read from answers of every shape."""

import pytest
from designs import TEXTS, fenced

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol.engine.grammar import check_grammar
from protocol_gen.answers import code_of, json_of

CODE = TEXTS[0]


@pytest.mark.parametrize(
    "answer",
    [
        fenced(CODE),
        fenced(CODE, before="", after=""),
        f"~~~py\n{CODE}~~~",
        fenced(CODE).replace("\n", "\r\n"),
        CODE,
        f"A sketch:\n```python\nx = 1\n```\nand the module:\n{fenced(CODE)}",
        f"{fenced(CODE)}\nUse it like this:\n```\nmessages = communication(o)\n```",
        f"First try:\n{fenced(CODE.replace('k = 0', 'draft'))}\nBetter:\n{fenced(CODE)}",
    ],
    ids="prose bare tilde crlf unfenced sketch usage last".split(),
)
def test_code_is_found(answer):
    assert code_of(answer) == CODE.strip() + "\n"


@pytest.mark.parametrize(
    ("answer", "finish", "reason"),
    [
        ("", "stop", "empty"),
        ("  \n", "stop", "empty"),
        ("I cannot help with that.", "stop", "no code in the answer"),
        (fenced("x = 1\n"), "stop", "no code block defines both"),
        (fenced(CODE), "length", "cut off at the length limit"),
        ("```python\n" + CODE[:300], "stop", "not closed"),
        ("Here it is:\n" + CODE, "stop", "code and prose are mixed"),
    ],
)
def test_what_is_no_protocol_is_refused_with_a_reason(answer, finish, reason):
    with pytest.raises(ProtocolRejected, match=reason) as caught:
        code_of(answer, finish)
    assert caught.value.layer == "answer"


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": 1, "b": [2]}',
        'Sure:\n```json\n{"a": 1, "b": [2]}\n```\nthat is it {really}',
        '{"other": 1} and then {"a": 1, "b": [2]} {"a": 3, "b": 4}',
        '{broken {"a": 1, "b": [2]} trailing text',
    ],
)
def test_json_is_found_whatever_stands_around_it(answer):
    assert json_of(answer, ("a", "b")) == {"a": 1, "b": [2]}


@pytest.mark.parametrize(
    ("answer", "reason"), [("", "empty"), ('{"a": 1}', r"have the keys \[\['a'\]\]"), ('{"a": 1', "no JSON object")]
)
def test_json_that_is_not_as_asked_is_refused(answer, reason):
    with pytest.raises(ProtocolRejected, match=reason):
        json_of(answer, ("a", "b"))


def test_line_breaks_inside_json_texts_are_accepted():
    assert json_of('{"a": "one\ntwo"}', ("a",)) == {"a": "one\ntwo"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"a": ' * 100_000, "nested more than 20 deep"),
        ('{"a": ' + "[" * 30 + "]" * 30 + "}", "nested more than 20 deep"),
        (r'{"a": "\ud800"}', r"'.ud800', half of a character"),
        ('{"a": "\ud800"}', r"'.ud800', half of a character"),
        (r'{"a": [{"\udc00": 1}]}', r"'.udc00', half of a character"),
    ],
    ids=["deep", "less deep", "escaped surrogate", "surrogate", "surrogate in a key"],
)
def test_json_that_no_file_can_hold_is_refused(answer, reason):
    with pytest.raises(ProtocolRejected, match=reason):
        json_of(answer, ("a",))


@pytest.mark.parametrize(
    "answer",
    [
        f"{CODE}\nx = '\ud800'\n",
        f"{CODE}\nx = {'(' * 5000}{')' * 5000}\n",
        f"{CODE}\nx = '\0'\n",
        f"{CODE}\nx = {'-' * 50_000}1\n",
    ],
    ids=["surrogate", "deep", "null byte", "very deep"],
)
def test_code_that_cannot_be_parsed_is_refused(answer):
    with pytest.raises(ProtocolRejected):
        code_of(answer)
    with pytest.raises(ProtocolRejected):
        check_grammar(code_of(fenced(answer)))


def test_a_byte_order_mark_before_an_answer_is_ignored():
    assert code_of("\ufeff" + fenced(CODE, before="")) == CODE.strip() + "\n"
