"""What hosts written for Python before 3.10 and PyYAML before 6 need in order to start."""

from __future__ import annotations

import collections
import collections.abc
from typing import Any


def restore_removed_names() -> None:
    """Gives back two names that older hosts' ``main.py`` uses and that later versions took away.

    ``collections.Mapping`` went with Python 3.10, ``yaml.load(f)`` without a loader with PyYAML 6. Hosts that use them
    do not start on any Python that this project supports. Calls that name a loader behave as before.
    """
    import yaml

    if not hasattr(collections, "Mapping"):
        collections.Mapping = collections.abc.Mapping  # type: ignore[attr-defined]

    plain_load = yaml.load

    def load(stream: Any, Loader: Any = yaml.FullLoader) -> Any:
        return plain_load(stream, Loader)

    yaml.load = load
