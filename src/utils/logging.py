"""The logger that learners and runners write to, under EPyMARL's names."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Iterable

from epymarl_lmac.record.sinks import Sink


def get_logger() -> logging.Logger:
    """Returns the console logger: plain sentences on standard output."""
    logger = logging.getLogger("epymarl_lmac")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


class Logger:
    """Sends metrics to sinks: the metrics file, the screen, Sacred and others.

    Args:
        console_logger: for sentences.
        sinks: where metrics go; more can be added later.
    """

    def __init__(self, console_logger: logging.Logger, sinks: Iterable[Sink] = ()) -> None:
        self.console_logger = console_logger
        self.stats: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._sinks = list(sinks)

    def add_sink(self, sink: Sink) -> None:
        """Sends metrics to ``sink`` too from now on."""
        self._sinks.append(sink)

    def log_stat(self, key: str, value: float, t: int, to_sacred: bool = True) -> None:
        """Logs one metric.

        Args:
            key: its name.
            value: a number.
            t: environment steps.
            to_sacred: not read; part of EPyMARL's signature.
        """
        value = float(value)
        self.stats[key] = [(t, value)]
        for sink in self._sinks:
            sink.write(key, value, t)

    def last_values(self) -> dict[str, float]:
        """Returns the last value of every metric."""
        return {key: values[-1][1] for key, values in self.stats.items()}

    def close(self) -> None:
        """Ends all sinks, the last one added first; the first error is raised after all were tried."""
        first: Exception | None = None
        while self._sinks:
            try:
                self._sinks.pop().close()
            except Exception as err:
                first = first or err
        if first is not None:
            raise first
