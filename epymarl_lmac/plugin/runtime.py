"""Runs inside a host: puts our modules on the paths of its packages and our entries into its registries.

Entries are imported when they are used, so a host whose own methods run pays nothing for ours.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epymarl_lmac.errors import AttachError, SettingsError
from epymarl_lmac.paths import source_root
from epymarl_lmac.plugin.bridge import (
    SEED_STRIDE,
    HostEnv,
    bridged_args,
    own_env_args,
    with_own_settings,
    worker_number,
)
from epymarl_lmac.plugin.host import REGISTRIES, shared_packages
from epymarl_lmac.plugin.hosts import HOSTS
from epymarl_lmac.plugin.manifest import Manifest
from epymarl_lmac.plugin.placeholders import stand_in_for_missing

COMM_PACKAGE = "modules.comm"  # of our registry of communication methods; hosts have none


@functools.cache
def our_registry(package: str) -> Mapping[str, Any]:
    """Returns one of our registries inside a host.

    Our package's file runs under a private name: in a host, ``learners`` is the host's package. What it imports comes
    from the host's packages, whose paths include our folders.
    """
    path = source_root() / package.replace(".", "/") / "__init__.py"
    spec = importlib.util.spec_from_file_location(f"_epymarl_lmac_{package.replace('.', '_')}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.REGISTRY


@dataclass(frozen=True)
class MethodEntry:
    """A learner, controller, agent or mixer of ours in a host's registry; called like the class itself."""

    package: str
    name: str  # in our registry
    key: str  # in the host's
    kind: str  # of the host
    envs: Mapping[str, Mapping[str, Any]]
    left_open: tuple[str, ...]

    def __call__(self, *arguments: Any) -> Any:
        """Builds it. The last argument is the host's settings, as in every registry here."""
        *rest, args = arguments
        bridged = bridged_args(args, HOSTS[self.kind], self.envs, self.left_open)
        refuse_learner(bridged.learner)
        entry = our_registry(self.package)[self.name]
        bridged = with_own_settings(entry, self.key, bridged)
        if bridged.comm is not None:
            bridged = with_own_settings(our_registry(COMM_PACKAGE)[bridged.comm], bridged.comm, bridged)
        return entry(*rest, bridged)


@dataclass(frozen=True)
class HostEnvEntry:
    """An environment of ours in a host's registry; called with the host's ``env_args``."""

    name: str
    kind: str
    drop: tuple[str, ...]  # arguments that only the host reads

    def __call__(self, **env_args: Any) -> HostEnv:
        """Makes one environment.

        ``seed`` is the host's; where the host gives all its processes the same seed, each gets one of its own.
        """
        host = HOSTS[self.kind]
        arguments = own_env_args(env_args, [key for key in self.drop if key != "seed"])
        seed = arguments.pop("seed", None)
        seed = 0 if seed is None else int(seed)
        if not host.spreads_seeds:
            seed += SEED_STRIDE * worker_number()
        return HostEnv(our_registry("envs")[self.name](seed=seed, **arguments), host.five_values)


def refuse_learner(key: str) -> None:
    """Raises SettingsError if the learner of a run is one of ours that only our own host can serve.

    Every part of ours asks, so that it is said before a part that comes first fails for another reason.

    Args:
        key: the learner's name in the host's registry.
    """
    entry = importlib.import_module("learners").REGISTRY.get(key)
    if not isinstance(entry, MethodEntry):
        return
    reason = getattr(our_registry("learners")[entry.name], "needs_own_host", "")
    if reason:
        raise SettingsError(
            f"learner={key} cannot learn in this host: {reason}. Train it with epymarl-lmac itself "
            "(epymarl-lmac train, or src/main.py of its checkout).",
            "learner",
        )


def extend_packages(source: Path) -> None:
    """Appends our folders to the paths of the host's packages.

    Args:
        source: the host's ``src``.
    """
    for name in shared_packages(source):
        module = importlib.import_module(name)
        ours = str(source_root() / name.replace(".", "/"))
        if ours not in module.__path__:
            module.__path__.append(ours)


def activate_host(main_file: Any) -> None:
    """Does what ``epymarl_lmac.plugin.activate`` promises."""
    source = Path(main_file).resolve().parent
    manifest = Manifest.read(source.parent)
    if manifest is None:
        raise AttachError(
            f"{source / 'main.py'} calls epymarl_lmac, but {source.parent} has no record of an attach; "
            f"delete that line, or run: epymarl-lmac attach {source.parent}"
        )
    # Our own host has packages of the same names; a host's ``utils`` without __init__.py would lose against ours.
    sys.path[:] = [str(source), *(p for p in sys.path if Path(p).resolve() not in (source, source_root()))]
    host = HOSTS[manifest.kind]
    host.prepare()
    stand_in_for_missing(host.optional)
    extend_packages(source)
    for registry in REGISTRIES:
        module = importlib.import_module(registry.package)
        if not hasattr(module, "REGISTRY"):  # both hosts choose mixers by hand
            module.REGISTRY = {}  # type: ignore[attr-defined]
        for key, name in manifest.registries.get(registry.kind, {}).items():
            if isinstance(module.REGISTRY.get(key), (MethodEntry, HostEnvEntry)):
                continue
            if key in module.REGISTRY:
                raise AttachError(
                    f"The host's {registry.kind} now has an entry {key!r} of its own; "
                    f"run: epymarl-lmac detach {source.parent}, then attach it with --prefix."
                )
            if registry.kind == "envs":
                module.REGISTRY[key] = HostEnvEntry(name, manifest.kind, tuple(manifest.envs[key]["drop"]))
            else:
                module.REGISTRY[key] = MethodEntry(
                    registry.package, name, key, manifest.kind, manifest.envs, tuple(manifest.left_open)
                )
