"""Runners with environment processes, closed at the end of a test."""

import pytest
from fake_run import make_args, make_runner, register


@pytest.fixture
def parallel(monkeypatch):
    """Returns a function that makes a parallel runner on a fake environment; returns (runner, log)."""
    register(monkeypatch)
    runners = []

    def make(mac, **changes):
        runner, log = make_runner("parallel", make_args(**changes), mac)
        runners.append(runner)
        return runner, log

    yield make
    for runner in runners:
        runner.close_env()
