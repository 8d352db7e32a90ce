"""Methods and environments of third-party packages, found through entry points.

A package adds a communication method with one module, one yaml and one line of its ``pyproject.toml``:

    [project.entry-points."epymarl_lmac.controllers"]
    shout_mac = "shout_plugin.shout:ShoutMAC"

The left side is the name in the registry, the right side the class (for an environment: its ``EnvEntry``). Nothing is
imported until the name is used. The yaml files lie in ``config/algs`` and ``config/envs`` inside the package.
docs/plugins.md has a worked example.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.lazy_registry import LazyRegistry

KINDS = ("learners", "controllers", "agents", "mixers", "comm", "envs")
PREFIX = "epymarl_lmac."


@functools.cache
def installed_points(group: str) -> tuple[EntryPoint, ...]:
    """Returns the entry points of a group, sorted; all installed packages are read for it, so it is done once."""
    return tuple(sorted(entry_points(group=group), key=lambda point: (point.name, point.value)))


def plugin_entries(kind: str) -> dict[str, str]:
    """Returns the third-party entries of one registry: name -> ``"module:attribute"``.

    Args:
        kind: one of ``KINDS``; ``envs`` are an ``epymarl_lmac.tasks.EnvEntry`` each, or a class for batches
            (``envs.batched.BatchedEnv``), or a function that makes one copy under EPyMARL's interface.

    Raises:
        SettingsError: two packages use one name.
    """
    found: dict[str, str] = {}
    for point in installed_points(PREFIX + kind):
        if found.get(point.name, point.value) != point.value:
            raise SettingsError(
                f"{kind}: two installed packages register {point.name!r}, {found[point.name]} and {point.value}; "
                "uninstall one of them.",
                point.name,
            )
        found[point.name] = point.value
    return found


def extended(
    kind: str,
    entries: Mapping[str, Any],
    unknown: Callable[[str], Exception] | None = None,
    registry: type[LazyRegistry] = LazyRegistry,
) -> LazyRegistry:
    """Returns a registry of our entries and those of third-party packages.

    Args:
        kind: one of ``KINDS``.
        entries: ours, as for ``LazyRegistry``.
        unknown: as for ``LazyRegistry``; by default a SettingsError.
        registry: the class of the registry.

    Raises:
        SettingsError: a package uses one of our names.
    """
    others = plugin_entries(kind)
    taken = sorted(set(others) & set(entries))
    if taken:
        raise SettingsError(
            f"{kind}: {others[taken[0]]} registers {taken[0]!r}, which this project has itself; rename it in the "
            "package's entry points.",
            taken[0],
        )
    return registry({**entries, **others}, unknown or (lambda message: SettingsError(f"{kind}: {message}")))


def plugin_config_roots() -> list[Path]:
    """Returns the ``config`` folders of all packages that add something here, sorted by package name."""
    packages = {entry.partition(":")[0].partition(".")[0] for kind in KINDS for entry in plugin_entries(kind).values()}
    roots = []
    for package in sorted(packages):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        folder = Path(next(iter(spec.submodule_search_locations))) / "config"
        if folder.is_dir():
            roots.append(folder)
    return roots
