"""Fixtures of all tests."""

import signal

import pytest


@pytest.fixture
def hears_signals():
    """Programs that a shell starts in the background ignore SIGINT, those under nohup SIGHUP; the tests' must not."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)
