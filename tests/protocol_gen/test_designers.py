"""The designers behind one interface; the openai client talks to a scripted local server."""

import pytest
from chat_server import ChatServer, Turn
from designs import openai_designer

from epymarl_lmac.errors import UserError
from protocol_gen.answers import json_of
from protocol_gen.asking import ask
from protocol_gen.designers import AnswerPending, DesignerError, ManualDesigner, OpenAiDesigner, ReplayDesigner
from protocol_gen.ledger import Ledger, cost_of, read_prices

PROMPT = [{"role": "user", "content": "Design."}]


def answer(designer, folder):
    return designer.answer("k0/c1/a1", PROMPT, folder)


@pytest.mark.parametrize(
    ("turns", "retries"),
    [
        ([], 0),
        ([Turn(status=429)], 1),
        ([Turn(status=500), Turn(status=503)], 2),
        ([Turn(drops=True)], 1),
        ([Turn(delay_s=1.0)], 1),
    ],
    ids=["at once", "rate limit", "server errors", "dropped connection", "slow answer"],
)
def test_passing_failures_are_repeated_and_counted(tmp_path, turns, retries):
    with ChatServer([*turns, Turn("fine")]) as server:
        reply = answer(openai_designer(server, timeout_s=0.4), tmp_path)
        assert len(server.requests) == retries + 1
    assert (reply.text, reply.retries, reply.prompt_tokens, reply.completion_tokens) == ("fine", retries, 1000, 200)


@pytest.mark.parametrize(
    ("turns", "options", "message"),
    [
        ([], {"api_key": "wrong"}, "refused the key. Check OPENAI_API_KEY"),
        ([], {"model": "unknown"}, "knows no model 'unknown'"),
        ([Turn(status=400, message="context too long")], {}, "refused the request.*context too long"),
        ([Turn(status=403)], {}, "does not let this key use"),
    ],
    ids=["wrong key", "unknown model", "refused", "not permitted"],
)
def test_lasting_failures_stop_at_once_with_what_to_do(tmp_path, turns, options, message):
    with ChatServer(turns) as server:
        with pytest.raises(DesignerError, match=message):
            answer(openai_designer(server, **options), tmp_path)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("turn", "n", "message"),
    [
        (Turn(status=429), 3, "still limits requests after 3 requests"),
        (Turn(status=500), 3, "still fails after 3 requests"),
        (Turn(drops=True), 2, "could not be reached, or hung up, after 2 requests"),
        (Turn(delay_s=0.6), 2, "gave no answer in 0.2 s after 2 requests"),
    ],
)
def test_failures_that_do_not_pass_end_with_what_was_tried(tmp_path, turn, n, message):
    with ChatServer([turn] * n) as server:
        with pytest.raises(DesignerError, match=message):
            answer(openai_designer(server, timeout_s=0.2, max_retries=n - 1), tmp_path)
        assert len(server.requests) == n


def test_temperature_is_sent_except_to_models_that_take_none(tmp_path):
    with ChatServer([Turn("a")]) as server:
        answer(openai_designer(server), tmp_path)
        assert server.requests[0]["temperature"] == 0.6
    with ChatServer([Turn("a")]) as server:
        answer(openai_designer(server, temperature=None, max_tokens=50), tmp_path)
        assert "temperature" not in server.requests[0] and server.requests[0]["max_completion_tokens"] == 50
    refused = Turn(status=400, message="Unsupported value: temperature does not support 0.6 with this model.")
    with ChatServer([refused, Turn("a"), Turn("b")]) as server:
        designer = openai_designer(server)
        assert [answer(designer, tmp_path).text, answer(designer, tmp_path).text] == ["a", "b"]
        assert ["temperature" in r for r in server.requests] == [True, False, False]


def test_an_empty_answer_and_a_cut_off_one_are_answers(tmp_path):
    with ChatServer([Turn(None), Turn("def", finish_reason="length")]) as server:
        designer = openai_designer(server)
        assert answer(designer, tmp_path).text == ""
        assert answer(designer, tmp_path).finish_reason == "length"


def test_a_missing_key_is_reported_by_name(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DesignerError, match="OPENAI_API_KEY"):
        OpenAiDesigner()


def test_key_and_address_come_from_the_environment(tmp_path, monkeypatch):
    with ChatServer([Turn("fine")]) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "right-key")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert answer(OpenAiDesigner(model="scripted-model"), tmp_path).text == "fine"


def test_manual_waits_for_a_file_that_has_stopped_growing(tmp_path):
    texts = iter(["", "half", "half and whole", "half and whole"])

    def sleep(_):
        (tmp_path / "answer.md").write_text(next(texts))

    reply = answer(ManualDesigner(sleep=sleep), tmp_path)
    assert reply.text == "half and whole" and reply.model == "manual"


def test_manual_can_stop_and_be_restarted(tmp_path):
    ledger = Ledger(tmp_path, ManualDesigner(wait_s=0), {})
    with pytest.raises(AnswerPending, match=r"answer\.md"):
        ledger.call("k0/c1/a1", PROMPT)
    folder = tmp_path / "calls" / "k0" / "c1" / "a1"
    assert "Design." in (folder / "prompt.md").read_text()
    (folder / "answer.md").write_text("mine")
    assert ledger.call("k0/c1/a1", PROMPT).text == "mine"


def test_replay_reads_plain_files_and_names_what_is_missing(tmp_path):
    (tmp_path / "k0-c1-a1.md").write_text("recorded")
    designer = ReplayDesigner(tmp_path)
    assert answer(designer, tmp_path).text == "recorded"
    with pytest.raises(DesignerError, match="k1/c1/a1: no recorded answer"):
        designer.answer("k1/c1/a1", PROMPT, tmp_path)
    with pytest.raises(DesignerError, match="is no folder"):
        ReplayDesigner(tmp_path / "nothing")


def test_costs_use_the_longest_matching_name():
    prices = read_prices(None)
    assert cost_of("gpt-4.1-2025-04-14", 1_000_000, 0, prices) == prices["gpt-4.1"]["input"]
    assert cost_of("gpt-4.1-mini", 0, 1_000_000, prices) == prices["gpt-4.1-mini"]["output"]
    assert cost_of("a-local-model", 5, 5, prices) is None
    assert cost_of("gpt-4.1", None, None, prices) is None and cost_of("manual", None, None, prices) == 0


def completion(content='"fine"', message=None, choices=None, usage="null"):
    """Returns the body of an endpoint's answer, parts of which are given as JSON."""
    message = f'{{"role": "assistant", "content": {content}}}' if message is None else message
    choices = f'[{{"index": 0, "message": {message}, "finish_reason": "stop"}}]' if choices is None else choices
    return (
        f'{{"id": "a", "object": "chat.completion", "created": 1, "model": 7, "choices": {choices}, "usage": {usage}}}'
    )


MALFORMED = {
    "no object": ("3", "holds no choices, but int 3"),
    "choices of another kind": (completion(choices='{"a": 1}'), "holds no choices, but dict"),
    "no choice": (completion(choices="[]"), r"holds no choices, but list \[\]"),
    "empty choice": (completion(choices="[{}]"), "no message with a content"),
    "null choice": (completion(choices="[null]"), "no message with a content, but NoneType None"),
    "null message": (completion(message="null"), "no message with a content"),
    "content in parts": (completion('[{"type": "text", "text": "a"}]'), r"content is no text, but list \[.*text"),
    "content a number": (completion("17"), "content is no text, but int 17"),
    "deep nesting": (completion("[" * 100_000 + "]" * 100_000), "is no chat completion"),
    "not JSON": ("{", "is no chat completion"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_answer_is_kept_and_named(tmp_path, kind):
    body, said = MALFORMED[kind]
    with ChatServer([Turn(body=body)]) as server, pytest.raises(DesignerError, match=said) as caught:
        answer(openai_designer(server), tmp_path)
    assert "k0/c1/a1" in str(caught.value) and (tmp_path / "malformed-1.txt").read_text() == body


def test_every_malformed_answer_is_kept(tmp_path):
    with ChatServer([Turn(body="3"), Turn(body="4")]) as server:
        for _ in range(2):
            with pytest.raises(DesignerError):
                answer(openai_designer(server), tmp_path)
    assert [(tmp_path / f"malformed-{n}.txt").read_text() for n in (1, 2)] == ["3", "4"]


@pytest.mark.parametrize("usage", ["3", "[1]", '{"prompt_tokens": "many"}'])
def test_a_malformed_count_of_tokens_is_an_unknown_one(tmp_path, usage):
    with ChatServer([Turn(body=completion(usage=usage))]) as server:
        reply = answer(openai_designer(server), tmp_path)
    assert (reply.text, reply.model, reply.prompt_tokens) == ("fine", "scripted-model", None)


def test_an_answer_with_half_a_character_is_kept_and_refused(tmp_path):
    with ChatServer([Turn(body=completion(r'"a \ud800 b"')), Turn("fine")]) as server:
        ledger = Ledger(tmp_path, openai_designer(server), {})
        assert ask(ledger, "select", "Choose.", read_json_answer, 2, lambda event: None) == ("fine", 2)
        assert r"a \ud800 b" in server.requests[1]["messages"][-1]["content"]
    assert (tmp_path / "calls/select/a1/answer.md").read_text() == r"a \ud800 b"
    assert ledger.call("select/a1", PROMPT).text == "a \ud800 b"


def read_json_answer(reply):
    if reply.text == "fine":
        return reply.text
    return json_of(reply.text, ("a",))


@pytest.mark.parametrize("data", ["Entwürfe".encode("latin-1"), "text".encode("utf-16")])
def test_an_answer_file_that_is_not_utf_8_is_named_and_kept(tmp_path, data):
    (tmp_path / "answer.md").write_bytes(data)
    (tmp_path / "k0-c1-a1.md").write_bytes(data)
    for designer in (ManualDesigner(wait_s=0), ReplayDesigner(tmp_path)):
        with pytest.raises(DesignerError, match=r"\.md is not UTF-8: byte 0x.*Save it as UTF-8"):
            answer(designer, tmp_path)
    assert (tmp_path / "answer.md").read_bytes() == data


def test_a_byte_order_mark_is_no_part_of_an_answer(tmp_path):
    for name in ("answer.md", "k0-c1-a1.md"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbfmine")
    for designer in (ManualDesigner(wait_s=0), ReplayDesigner(tmp_path)):
        assert answer(designer, tmp_path).text == "mine"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"text": 3}', "[" * 100_000])
def test_a_recorded_reply_that_is_none_is_named(tmp_path, text):
    path = tmp_path / "calls" / "k0" / "c1" / "a1" / "reply.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(DesignerError, match=r"reply\.json"):
        answer(ReplayDesigner(tmp_path), tmp_path)
    with pytest.raises(UserError, match=r"reply\.json"):
        Ledger(tmp_path, ReplayDesigner(tmp_path), {}).call("k0/c1/a1", PROMPT)
