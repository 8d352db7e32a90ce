"""Which kind of host a folder is, read from its files; nothing of it is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from epymarl_lmac.errors import AttachError
from epymarl_lmac.plugin import epymarl, epymarl_v1, pymarl2
from epymarl_lmac.plugin.host import REGISTRIES, Host, Registry

HOSTS = {module.HOST.kind: module.HOST for module in (epymarl, epymarl_v1, pymarl2)}

Found = TypeVar("Found")

_NEEDED = (
    "main.py",
    "config/default.yaml",
    "config/algs",
    "config/envs",
    "components/episode_buffer.py",
    "runners/episode_runner.py",
    "controllers/__init__.py",
    "learners/__init__.py",
    "modules/agents/__init__.py",
    "envs/__init__.py",
)


@dataclass(frozen=True)
class Checkout:
    """A host's checkout."""

    root: Path
    host: Host
    defaults: dict  # its config/default.yaml

    @property
    def source(self) -> Path:
        """Folder with ``main.py``."""
        return self.root / "src"

    def names(self, registry: Registry) -> set[str]:
        """Returns the names of one of its registries, as far as they are written out in the package's file."""
        path = self.source / registry.package.replace(".", "/") / "__init__.py"
        return _of_source(path, registry_names) if path.is_file() else set()

    def configs(self, folder: str) -> set[str]:
        """Returns the names of the files in ``config/algs`` or ``config/envs``."""
        return {path.stem for path in (self.source / "config" / folder).glob("*.yaml")}


def detect(path: Path) -> Checkout:
    """Returns what a folder is.

    Args:
        path: a checkout's root or its ``src``.

    Raises:
        AttachError: it is no host, or one that is not supported.
    """
    given = path.expanduser().resolve()
    root = given.parent if given.name == "src" and (given / "main.py").is_file() else given
    source = root / "src"
    missing = [name for name in _NEEDED if not (source / name).exists()]
    if missing:
        raise AttachError(
            f"{path} is not a host: it has no src/{missing[0]}. "
            "Give the folder of an EPyMARL or PyMARL2 checkout, the one that contains src/main.py."
        )
    if (source.parent / "epymarl_lmac").is_dir():
        raise AttachError(f"{path} is this project itself; its own host needs no attaching.")
    defaults = _defaults(source / "config" / "default.yaml")
    n_values = _of_source(source / "runners" / "episode_runner.py", step_values)
    key = "hidden_dim" if "hidden_dim" in defaults else "rnn_hidden_dim" if "rnn_hidden_dim" in defaults else None
    kinds = {("hidden_dim", 5): "epymarl", ("hidden_dim", 3): "epymarl_v1", ("rnn_hidden_dim", 3): "pymarl2"}
    kind = kinds.get((key, n_values)) if key else None
    if kind is None:
        raise AttachError(
            f"{path} is a host of a kind that is not supported: its default.yaml sets {key or 'no hidden_dim'} and its "
            f"episode runner takes {n_values} values from env.step. Supported: "
            + ", ".join(host.title for host in HOSTS.values())
            + " (docs/hosts.md)."
        )
    return Checkout(root, HOSTS[kind], defaults)


def _defaults(path: Path) -> dict[str, Any]:
    """Returns a host's default.yaml.

    Raises:
        AttachError: it cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise AttachError(f"{path} cannot be read: {' '.join(str(err).split())}. Mend it, then attach again.") from err
    if not isinstance(content, dict):
        raise AttachError(
            f"{path} must hold names and values, and is a {type(content).__name__}. Mend it, then attach again."
        )
    return content


def _of_source(path: Path, find: Callable[[str], Found]) -> Found:
    """Returns what ``find`` reads from a host's Python file.

    Raises:
        AttachError: the file is no Python that can be read.
    """
    try:
        return find(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as err:
        raise AttachError(f"{path} cannot be read: {err}. Mend it, then attach again.") from err


def step_values(runner: str) -> int:
    """Returns how many values a runner's source takes from ``env.step``; 0 where it calls none."""
    for node in ast.walk(ast.parse(runner)):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
            and node.value.func.attr == "step"
            and isinstance(node.targets[0], ast.Tuple)
        ):
            return len(node.targets[0].elts)
    return 0


def registry_names(source: str) -> set[str]:
    """Returns the names that a package's file puts into ``REGISTRY``, by assignment or as a literal."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Subscript) and _is_registry(target.value):
                names |= _texts([target.slice])
            elif _is_registry(target) and isinstance(node.value, ast.Dict):
                names |= _texts(node.value.keys)
    return names


def _is_registry(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "REGISTRY"


def _texts(nodes: list) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


__all__ = ["HOSTS", "REGISTRIES", "Checkout", "detect", "registry_names", "step_values"]
