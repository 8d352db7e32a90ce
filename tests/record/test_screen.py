"""What a person sees of a run, and what a run does when nobody sees it any more."""

import io

from epymarl_lmac.record.screen import Screen
from epymarl_lmac.stopping import LastingStream


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
