"""How far a run is, read from the end of its metrics file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from epymarl_lmac.record.metrics import FILE_NAME, PERF

TAIL_BYTES = 32_768


class Progress(NamedTuple):
    """What the end of a metrics file says."""

    t_env: int  # environment steps of the last row
    value: float | None  # last value of the metric that is compared
    steps_per_s: float | None


UNKNOWN = Progress(0, None, None)


def read_progress(folder: Path, key: str) -> Progress:
    """Returns how far a run is; zeros and None where its file does not say.

    Args:
        folder: the run's folder.
        key: the metric to show.
    """
    try:
        with (folder / FILE_NAME).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return UNKNOWN
    found: dict[str, float] = {}
    t_env = 0
    for line in lines[:-1]:
        try:
            row = json.loads(line)
            t_env = int(row["t_env"])
            found[row["key"]] = row["value"]
        except (ValueError, KeyError, TypeError):
            continue  # the first line of the tail is cut, a resumed run's mark has no key
    return Progress(t_env, found.get(key), found.get(PERF + "steps_per_s"))
