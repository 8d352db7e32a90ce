"""Signals that stop a program, and streams whose reader is gone."""

import io
import signal

from epymarl_lmac.stopping import LastingStream, stop_signals


def test_a_terminal_that_closes_stops_a_program_unless_it_is_to_go_on(hears_signals):
    assert stop_signals() == (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    assert stop_signals() == (signal.SIGINT, signal.SIGTERM)


def test_a_system_without_hangups_has_the_other_signals(monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP")
    assert stop_signals() == (signal.SIGINT, signal.SIGTERM)


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
