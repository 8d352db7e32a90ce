"""What our side must know about a kind of host, and which of our registries go where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from epymarl_lmac.paths import source_root


def _nothing() -> None:
    """Most hosts need no preparation."""


@dataclass(frozen=True)
class Host:
    """One kind of host.

    All differences between hosts that our code must bridge are fields here; nothing else asks which host it is in.
    """

    kind: str  # name in the manifest
    title: str  # name for people
    renamed: Mapping[str, str] = field(default_factory=dict)  # our setting -> the host's name for it
    five_values: bool = True  # env.step returns five values (Gymnasium) instead of (reward, terminated, info)
    spreads_seeds: bool = True  # the parallel runner gives every environment a seed of its own
    optional: tuple[str, ...] = ()  # packages the host imports at start, needed only by some of its environments
    algs: frozenset[str] = frozenset()  # config/algs files that the host ships with
    envs: frozenset[str] = frozenset()  # config/envs files that the host ships with
    entries: frozenset[str] = frozenset()  # registry names that the host ships with
    prepare: Callable[[], None] = _nothing  # runs before the host's own modules are imported


@dataclass(frozen=True)
class Registry:
    """One of our registries that hosts have too."""

    kind: str  # name in messages and in the manifest
    package: str  # the package whose ``REGISTRY`` it is, in the host and in our source root
    setting: str  # the setting whose value is looked up in it


REGISTRIES = (
    Registry("learners", "learners", "learner"),
    Registry("controllers", "controllers", "mac"),
    Registry("agents", "modules.agents", "agent"),
    Registry("mixers", "modules.mixers", "mixer"),
    Registry("envs", "envs", "env"),
)


def shared_packages(source: Path) -> list[str]:
    """Returns the packages of ours that a host has too, outer ones first.

    Ours come second on their paths: where both have a module of one name, the host's is used. Packages that only we
    have need no entry, as they lie inside these.

    Args:
        source: the host's ``src``.
    """
    roots = ("components", "controllers", "envs", "learners", "modules")
    ours = [
        path.parent.relative_to(source_root())
        for root in roots
        for path in source_root().glob(f"{root}/**/__init__.py")
    ]
    return sorted(".".join(path.parts) for path in ours if (source / path / "__init__.py").is_file())
