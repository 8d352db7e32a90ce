"""A run as a process of its own: how it is waited for."""

import os
import signal
import sys
import threading

import pytest

from epymarl_lmac.compare.process import RunProcess

SLEEPS_UNTIL_ASKED = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(0)))
print("started", flush=True)
time.sleep(60)
"""


def start(tmp_path, code):
    return RunProcess([sys.executable, "-c", code], tmp_path / "log")


def test_a_run_that_ends_well_says_nothing(tmp_path):
    assert start(tmp_path, "print('fine')").run_to_end() == []


def test_a_run_that_fails_gives_its_last_lines(tmp_path):
    assert start(tmp_path, "print('no memory'); raise SystemExit(3)").run_to_end() == ["no memory"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_stop_lets_the_run_save_first(number, tmp_path, monkeypatch, hears_signals):
    process = start(tmp_path, SLEEPS_UNTIL_ASKED)
    waits = []

    def wait(timeout_s, real=process.wait):
        waits.append(timeout_s)
        if len(waits) > 1:
            return real(timeout_s)
        while b"started" not in (tmp_path / "log").read_bytes():
            threading.Event().wait(0.01)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(process, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        process.run_to_end()
    assert process.poll() == 0 and process.last_lines() == ["started", "saved"]
