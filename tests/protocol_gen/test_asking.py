"""Answers that are refused, and what must not count as a refusal."""

import json
import subprocess

import pytest

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol import ProtocolSpec, build_program
from epymarl_lmac.protocol.engine import sandbox
from epymarl_lmac.protocol.engine.build import Limits
from epymarl_lmac.protocol.engine.sandbox import SandboxUnavailable, close_fork_server
from protocol_gen.asking import DesignStopped, ask
from protocol_gen.designers import ReplayDesigner
from protocol_gen.ledger import Ledger

TEXT = """import torch as th


def message_design_instruction():
    return "first column"


def communication(o):
    return th.cat([o, o[..., :1]], -1)
"""


@pytest.fixture
def ledger(tmp_path):
    answers = tmp_path / "answers"
    answers.mkdir()
    for attempt in (1, 2):
        (answers / f"k0-c1-a{attempt}.md").write_text(f"answer {attempt}")
    return Ledger(tmp_path / "work", ReplayDesigner(answers), {})


def asked(ledger, read, max_attempts=2):
    return ask(ledger, "k0/c1", "Design.", read, max_attempts, lambda event: None)


def broken_start(monkeypatch):
    def fails(*words, **more):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(sandbox.subprocess, "Popen", fails)


def dead_start(monkeypatch):
    monkeypatch.setattr(sandbox, "FORK_SERVER", sandbox.FORK_SERVER.with_name("nothing.py"))


def slow_start(monkeypatch):
    monkeypatch.setattr(sandbox, "START_S", 0.0)


def no_folder(monkeypatch):
    def fails(*words, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sandbox.tempfile, "TemporaryDirectory", fails)


@pytest.mark.parametrize("breaks", [broken_start, dead_start, slow_start, no_folder])
def test_a_machine_that_starts_no_child_stops_the_run_and_refuses_no_answer(ledger, tmp_path, monkeypatch, breaks):
    sandbox.missing_measures()
    close_fork_server()

    def read(reply):
        return build_program(TEXT, ProtocolSpec(2, 3, None), Limits(cache=False))

    with monkeypatch.context() as patched:
        breaks(patched)
        with pytest.raises(SandboxUnavailable, match=r"No child can be started.*not judged"):
            asked(ledger, read)
    assert not (tmp_path / "work/calls/k0/c1/a1/verdict.json").exists()
    program, attempts = asked(ledger, read)
    assert program.message_dim == 1 and attempts == 1


def test_measures_that_cannot_be_tried_in_time_are_a_users_error(monkeypatch):
    def hangs(*words, timeout, **more):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(sandbox.subprocess, "run", hangs)
    with pytest.raises(SandboxUnavailable, match="timed out"):
        sandbox.detect()


def test_an_accepted_answer_that_fails_later_is_not_asked_for_again(ledger, tmp_path):
    assert asked(ledger, lambda reply: reply.text) == ("answer 1", 1)

    def refuses(reply):
        raise ProtocolRejected("contract", "no longer.")

    with pytest.raises(DesignStopped, match=r"k0/c1/a1: this answer was accepted before.*no longer.*verdict\.json"):
        asked(ledger, refuses)
    calls = tmp_path / "work/calls/k0/c1"
    assert json.loads((calls / "a1/verdict.json").read_text())["accepted"] and not (calls / "a2").exists()
