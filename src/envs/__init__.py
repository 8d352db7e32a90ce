"""Environments by name. Their modules are imported when an environment is first used.

``ENTRIES`` says what each environment is (``epymarl_lmac/tasks/entry.py``); to add one, add a line to
``epymarl_lmac/tasks/entries.py``. ``REGISTRY`` makes one copy of each under EPyMARL's interface and calling convention:
it is what hosts read.
"""

from __future__ import annotations

from envs.making import Makers
from epymarl_lmac.tasks import ENTRIES, EnvEntry

REGISTRY = Makers(ENTRIES)

__all__ = ["ENTRIES", "REGISTRY", "EnvEntry"]
