"""What a person sees of a run, and what a run does when nobody sees it any more."""

import io

import pytest

from epymarl_lmac.compare.live import LiveTable
from epymarl_lmac.record.screen import Screen


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_screen_whose_reader_leaves_goes_on(without_reader, is_terminal):
    without_reader.isatty = lambda: is_terminal
    screen = Screen("a run", 100, stream=without_reader)
    screen.progress(50, 5)
    screen.line("half of it")
    screen.close()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_table_of_runs_whose_reader_leaves_goes_on(without_reader, is_terminal):
    without_reader.isatty = lambda: is_terminal
    with LiveTable(without_reader) as screen:
        screen.line("one run is done")


def test_lines_are_written_where_there_is_no_terminal():
    text = io.StringIO()
    screen = Screen("a run", 100, stream=text)
    screen.note("return_mean", 0.5)
    screen.progress(50, 5)
    screen.line("half of it")
    screen.close()
    assert text.getvalue().splitlines() == ["a run: 0 of 100 steps", "half of it"]
