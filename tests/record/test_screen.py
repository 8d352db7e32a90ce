"""What a person sees of a run, and what a run does when nobody sees it any more."""

import io
import os

import pytest

from epymarl_lmac.record.screen import Screen
from epymarl_lmac.stopping import LastingStream


@pytest.fixture
def without_reader():
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


def test_a_stream_outlives_its_reader(without_reader):
    lasting = LastingStream(without_reader)
    for _ in range(2):
        assert lasting.write("a line that nobody reads\n") == 25
        lasting.flush()
    without_reader.write("others that write there go on too")
    without_reader.flush()


def test_a_stream_that_is_read_gets_everything():
    text = io.StringIO()
    print("two", "words", file=LastingStream(text), flush=True)
    assert text.getvalue() == "two words\n" and not LastingStream(text).isatty()


class Terminal(LastingStream):
    def isatty(self):
        return True


def test_a_table_on_a_terminal_that_closes_goes_on(without_reader):
    screen = Screen("a run", 100, stream=Terminal(without_reader))
    screen.progress(50, 5)
    screen.line("half of it")
    screen.close()


def test_lines_are_written_where_there_is_no_terminal():
    text = io.StringIO()
    screen = Screen("a run", 100, stream=text)
    screen.note("return_mean", 0.5)
    screen.progress(50, 5)
    screen.line("half of it")
    screen.close()
    assert text.getvalue().splitlines() == ["a run: 0 of 100 steps", "half of it"]
