"""The logger that learners and runners write to, under EPyMARL's names."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from typing import Any

from epymarl_lmac.record.metrics import MetricsWriter
from epymarl_lmac.record.screen import Screen


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
    """Sends figures to the metrics file, to Sacred and to the screen.

    Args:
        console_logger: for sentences.
    """

    def __init__(self, console_logger: logging.Logger) -> None:
        self.console_logger = console_logger
        self.stats: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._metrics: MetricsWriter | None = None
        self._screen: Screen | None = None
        self._sacred_run: Any = None

    def setup_metrics(self, metrics: MetricsWriter) -> None:
        """Writes figures to a run's metrics file from now on."""
        self._metrics = metrics

    def setup_screen(self, screen: Screen) -> None:
        """Shows figures on a screen from now on."""
        self._screen = screen

    def setup_sacred(self, sacred_run: Any) -> None:
        """Sends figures to a Sacred run's observers from now on."""
        self._sacred_run = sacred_run

    def log_stat(self, key: str, value: float, t: int, to_sacred: bool = True) -> None:
        """Logs one figure.

        Args:
            key: its name.
            value: a number.
            t: environment steps.
            to_sacred: False keeps it out of Sacred's record.
        """
        value = float(value)
        self.stats[key] = [(t, value)]
        if self._metrics is not None:
            self._metrics.write(key, value, t)
        if self._screen is not None:
            self._screen.note(key, value)
        if to_sacred and self._sacred_run is not None:
            self._sacred_run.log_scalar(key, value, t)
