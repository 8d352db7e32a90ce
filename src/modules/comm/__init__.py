"""Communication methods: a method is one file here, one yaml in ``config/algs`` and one line in ``registry.py``.

``base.py`` says what a method offers. Methods are imported when they are used.
"""

from modules.comm.registry import REGISTRY

__all__ = ["REGISTRY"]
