"""Fixtures of the tests of records."""

import os

import pytest


@pytest.fixture
def without_reader():
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream
