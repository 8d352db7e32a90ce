"""The project inside a foreign host: EPyMARL, PyMARL2 and their forks.

``attach.py`` writes config files and one line into a host's checkout and takes them out again; that line calls
``activate`` when the host starts. ``runtime.py`` then puts our entries into the host's registries, and ``bridge.py``
translates between the host's names and ours. What differs from host to host is one ``Host`` a host (``hosts.py``).

Nothing here imports torch: the host decides what is loaded, and environment processes stay small.
"""

from __future__ import annotations

import os


def activate(main_file: str | os.PathLike[str]) -> None:
    """Registers our methods and environments in the running host; called by the line that ``attach`` adds.

    Args:
        main_file: the host's ``src/main.py``.

    Raises:
        AttachError: the host changed since it was attached.
    """
    from epymarl_lmac.plugin.runtime import activate_host

    activate_host(main_file)
