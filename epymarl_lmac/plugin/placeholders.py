"""Stand-ins for packages that a host imports at start although only some of its environments need them.

EPyMARL imports ``smaclite`` and PyMARL2 ``smac``, ``pysc2``, ``pygame`` and more, whatever is trained. Where such a
package is not installed, importing it gives a stand-in: names can be read, called and subclassed, so the host's modules
load, and making an environment from them raises an error that names the package.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

_MARK = "_epymarl_lmac_missing"  # on every stand-in: the package it stands for


class _StandInType(type):
    """Type of stand-ins: attributes and calls give further stand-ins; making an instance of a subclass is an error."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _stand_in(getattr(cls, _MARK), name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if _MARK in cls.__dict__:
            return _stand_in(getattr(cls, _MARK), cls.__name__)
        package = getattr(cls, _MARK)
        raise ImportError(f"{cls.__name__} needs the package {package!r}, which is not installed.", name=package)


def _stand_in(package: str, name: str) -> type:
    return _StandInType(name, (), {_MARK: package})


class _StandInModule(ModuleType):
    """A module all of whose names are stand-ins."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _stand_in(self.__name__.partition(".")[0], name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the missing packages and all their submodules; asked last."""

    def __init__(self, packages: Iterable[str]) -> None:
        self.packages = frozenset(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self.packages:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandInModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Stand-ins have no code."""


def stand_in_for_missing(packages: Iterable[str]) -> list[str]:
    """Makes importable what is not installed.

    Args:
        packages: top-level names.

    Returns:
        Those that are missing and now have a stand-in.
    """
    missing = [name for name in packages if name not in sys.modules and importlib.util.find_spec(name) is None]
    if missing:
        sys.meta_path.append(_Finder(missing))
    return missing
