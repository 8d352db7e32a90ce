"""Attaches this project to a host's checkout and detaches it, byte for byte.

``attach`` adds config files, one line in ``src/main.py`` and a record of both. Everything is planned and checked before
anything is written.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from epymarl_lmac import __version__
from epymarl_lmac.errors import AttachError
from epymarl_lmac.paths import make_host_importable, source_root
from epymarl_lmac.plugin.changes import Change, Plan
from epymarl_lmac.plugin.configs import (
    algorithm_file,
    environment_file,
    flat_algorithms,
    flat_environments,
    left_to_environments,
    needs_label,
)
from epymarl_lmac.plugin.host import REGISTRIES, shared_packages
from epymarl_lmac.plugin.hosts import Checkout, detect
from epymarl_lmac.plugin.manifest import FILE, Manifest, digest
from epymarl_lmac.tasks import ENTRIES

ENTRY_FILE = "src/main.py"
ENTRY_LINE = (
    "from epymarl_lmac.plugin import activate; activate(__file__)"
    "  # added by 'epymarl-lmac attach', taken out by 'epymarl-lmac detach'"
)
OWN_PREFIX = "ours_"  # before registry names that the host ships with too, unless --prefix says otherwise


def our_names() -> dict[str, list[str]]:
    """Returns the names in our registries, third-party packages' included, by registry kind.

    Environments that hosts have wrappers of their own for are left out.
    """
    make_host_importable()
    names = {r.kind: sorted(importlib.import_module(r.package).REGISTRY) for r in REGISTRIES}
    names["envs"] = [name for name in names["envs"] if ENTRIES[name].in_hosts]
    return names


def with_entry_line(source: bytes) -> bytes:
    """Returns a Python file with our line before its first statement (after docstring and ``__future__``)."""
    tree = ast.parse(source)
    newline = b"\r\n" if b"\r\n" in source else b"\n"
    lines = source.splitlines(keepends=True)
    at = len(lines)
    for node in tree.body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not is_text and not is_future:
            at = node.lineno - 1
            break
    return b"".join([*lines[:at], ENTRY_LINE.encode() + newline, *lines[at:]])


def without_line(source: bytes, line: str) -> bytes | None:
    """Returns a file without one line; None if it is not there exactly once."""
    lines = source.splitlines(keepends=True)
    places = [i for i, text in enumerate(lines) if text.rstrip(b"\r\n") == line.encode()]
    return b"".join(lines[: places[0]] + lines[places[0] + 1 :]) if len(places) == 1 else None


def refuse_dirty(root: Path, name: str) -> None:
    """Raises AttachError if git knows a file and it has changes that are not committed."""
    command = ["git", "-C", str(root), "status", "--porcelain", "--", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return  # no git here: nothing to compare with
    if done.returncode == 0 and done.stdout.strip() and not done.stdout.startswith("??"):
        raise AttachError(
            f"{root / name} has changes that are not committed ({done.stdout.split()[0]}); "
            "commit or stash them, so that attaching is the only difference."
        )


class _Naming:
    """Chooses what our things are called in a host, and notes which of our names its users have taken."""

    def __init__(self, checkout: Checkout, prefix: str) -> None:
        self.checkout, self.prefix = checkout, prefix
        self.refused: list[str] = []

    def name(self, what: str, ours: str, taken: set[str], shipped: frozenset[str], own_prefix: str) -> str | None:
        """Returns the name that a thing of ours gets in the host; None if it is left out in favour of the host's own.

        Args:
            what: kind of thing, for the error.
            ours: our name.
            taken: names that the host has.
            shipped: names that every host of this kind has, as part of EPyMARL's stock.
            own_prefix: put before our name where the host has it and no prefix was given; "" leaves ours out.
        """
        if ours not in taken:
            return ours
        if not self.prefix and ours not in shipped:
            self.refused.append(f"{what} {ours!r}")
            return None
        prefix = self.prefix or own_prefix
        if not prefix:
            return None
        if prefix + ours in taken:
            self.refused.append(f"{what} {prefix + ours!r}")
        return prefix + ours

    def check(self) -> None:
        """Raises AttachError if a name of ours was taken by something that the host's users added."""
        if self.refused:
            advice = "another --prefix" if self.prefix else "--prefix, e.g. --prefix lmac-"
            raise AttachError(
                f"{self.checkout.root} already has {', '.join(self.refused)}. Rename it there or use {advice}; "
                "it is put before every name of ours that the host has too."
            )


def _refuse_shadowed_modules(checkout: Checkout) -> None:
    """Raises AttachError if a module of the host hides one of ours from the host's own packages."""
    for package in shared_packages(checkout.source):
        folder = package.replace(".", "/")
        if package == "components":
            continue  # the host's own are used, ours fill in what it lacks
        for path in sorted((source_root() / folder).glob("*.py")):
            theirs = checkout.source / folder / path.name
            if path.name not in ("__init__.py", "multiagentenv.py") and theirs.is_file():
                raise AttachError(
                    f"{theirs} has the name of a module of ours, which could not be imported; rename the host's file."
                )


class _EntryFile(NamedTuple):
    """Contents of the host's ``src/main.py``."""

    here: bytes  # as it is now
    before: bytes  # without our line
    after: bytes  # with our line


def _read_record(root: Path, prefix: str) -> Manifest | None:
    """Returns the record of the last attach; raises AttachError if that was done with another prefix."""
    old = Manifest.read(root)
    if old is not None and old.prefix != prefix:
        raise AttachError(
            f"{root} is attached with prefix {old.prefix!r}, not {prefix!r}; "
            f"run: epymarl-lmac detach {root}, then attach."
        )
    return old


def _read_entry_file(root: Path, old: Manifest | None) -> _EntryFile:
    """Returns the host's entry file; raises AttachError if our line cannot be added, or is not where it was added."""
    here = (root / ENTRY_FILE).read_bytes()
    if old is not None:
        before = without_line(here, old.entry_line)
        if not before:
            raise AttachError(f"{root / ENTRY_FILE} lacks the line of the last attach; detach it first.")
        return _EntryFile(here, before, here)
    refuse_dirty(root, ENTRY_FILE)
    if b"epymarl_lmac.plugin" in here:
        raise AttachError(f"{root / ENTRY_FILE} already calls epymarl_lmac, but {FILE} is missing; delete that line.")
    return _EntryFile(here, here, with_entry_line(here))


def _registry_keys(checkout: Checkout, naming: _Naming) -> dict[str, dict[str, str]]:
    """Returns by registry kind, for every name of ours that is registered, its name in the host."""
    ours = our_names()
    keys: dict[str, dict[str, str]] = {}
    for registry in REGISTRIES:
        kind, taken = registry.kind, checkout.names(registry)
        own = "" if kind == "envs" else OWN_PREFIX
        named = {name: naming.name(kind, name, taken, checkout.host.entries, own) for name in ours[kind]}
        keys[kind] = {name: key for name, key in named.items() if key is not None}
    return keys


@dataclass
class _Configs:
    """The config files that attaching adds."""

    files: dict[str, bytes]  # contents by path in the checkout
    kept: list[str]  # folder/name of those that the host has and keeps
    left_open: set[str]  # settings that are null in algorithms' files, see ``left_to_environments``
    drop_label: dict[str, bool]  # by environment: whether the host's map_name is a label only, no argument


def _config_files(
    checkout: Checkout, naming: _Naming, keys: dict[str, dict[str, str]], added: Collection[str]
) -> _Configs:
    """Returns the config files for a host.

    Args:
        checkout: the host.
        naming: gives files their names there.
        keys: our names in the host's registries, by registry kind.
        added: files that the last attach added: their names are ours.
    """
    host, algs = checkout.host, flat_algorithms()
    envs = {
        name: values
        for name, values in flat_environments().items()
        if values["env"] not in ENTRIES or ENTRIES[values["env"]].in_hosts
    }
    left_open = left_to_environments(list(envs.values()), checkout.defaults)
    labels = {values["env"]: needs_label(values["env_args"]) for values in envs.values()}
    made = _Configs({}, [], left_open, labels)
    for folder, ours, shipped in (("envs", envs, host.envs), ("algs", algs, host.algs)):
        taken = {name for name in checkout.configs(folder) if f"src/config/{folder}/{name}.yaml" not in added}
        for name, values in ours.items():
            theirs = naming.name(f"config/{folder}", name, taken, shipped, "")
            if theirs is None or (folder == "envs" and values["env"] not in keys["envs"]):
                made.kept.append(f"{folder}/{name}")
            elif folder == "algs":
                content = algorithm_file(theirs, name, values, host, keys, left_open)
                made.files[f"src/config/algs/{theirs}.yaml"] = content
            else:
                content = environment_file(keys["envs"][values["env"]], name, values, host, left_open)
                made.files[f"src/config/envs/{theirs}.yaml"] = content
    return made


def _plan_files(plan: Plan, files: dict[str, bytes], added: Collection[str]) -> None:
    """Plans to write what is not there yet, and to remove what the last attach added and this one does not."""
    for name in sorted({*files, *added}):
        path, content = plan.root / name, files.get(name)
        here = path.read_bytes() if path.is_file() else None
        if content != here:
            plan.writes[name] = content
            plan.changes.append(Change("-" if content is None else "+" if here is None else "~", name))


def _plan_entry_line(plan: Plan, entry: _EntryFile) -> None:
    """Plans to add our line to the entry file, if it is not there."""
    if entry.after != entry.here:
        line = entry.after[: entry.after.index(ENTRY_LINE.encode())].count(b"\n") + 1
        plan.writes[ENTRY_FILE] = entry.after
        plan.changes.append(Change("~", f"{ENTRY_FILE}, new line {line}: {ENTRY_LINE}"))


def _plan_record(plan: Plan, manifest: Manifest, old: Manifest | None) -> None:
    """Plans to write the record, if it says something new."""
    if manifest != old:
        plan.writes[FILE] = manifest.content()
        plan.changes.append(Change("+" if old is None else "~", f"{FILE} (the record that detach needs)"))


def plan_attach(path: Path, prefix: str = "") -> Plan:
    """Returns what attaching would do.

    Args:
        path: a host's checkout.
        prefix: put before names of ours that the host has too. With "" our things of names that every host of this kind
            ships with are left out where nothing needs them, and any other name that is taken is refused.

    Raises:
        AttachError: it is no host, a name is taken, or ``src/main.py`` has changes that are not committed.
    """
    checkout = detect(path)
    root, host = checkout.root, checkout.host
    old = _read_record(root, prefix)
    entry = _read_entry_file(root, old)
    _refuse_shadowed_modules(checkout)

    naming, added = _Naming(checkout, prefix), set(old.files) if old else set()
    keys = _registry_keys(checkout, naming)
    configs = _config_files(checkout, naming, keys, added)
    naming.check()
    manifest = Manifest(
        kind=host.kind,
        version=__version__,
        prefix=prefix,
        entry_file=ENTRY_FILE,
        entry_line=ENTRY_LINE if old is None else old.entry_line,
        entry_before=digest(entry.before),
        entry_after=digest(entry.after),
        files={name: digest(content) for name, content in configs.files.items()},
        registries={kind: {key: ours for ours, key in named.items()} for kind, named in keys.items()},
        envs={
            key: {"name": ours, "drop": ["seed", *(["map_name"] if configs.drop_label.get(ours, True) else [])]}
            for ours, key in keys["envs"].items()
        },
        left_open=sorted(configs.left_open),
    )
    _refuse_edited(root, old)

    plan = Plan(root, host.title)
    _plan_files(plan, configs.files, added)
    _plan_entry_line(plan, entry)
    _plan_record(plan, manifest, old)
    for registry in REGISTRIES:
        plan.notes.append(f"registers {registry.kind}: {', '.join(sorted(manifest.registries[registry.kind]))}")
    if configs.kept:
        kept = ", ".join(sorted(configs.kept))
        plan.notes.append(f"keeps the host's own {kept}; to have ours beside them, attach with --prefix")
    return plan


def _refuse_edited(root: Path, old: Manifest | None) -> None:
    """Raises AttachError if a file that attach added was changed since."""
    for name, content_digest in (old.files if old else {}).items():
        path = root / name
        if path.is_file() and digest(path.read_bytes()) != content_digest:
            raise AttachError(
                f"{path} was changed after it was added; move it to another name to keep the changes, then try again."
            )


def plan_detach(path: Path) -> Plan:
    """Returns what detaching would do.

    Raises:
        AttachError: it is not attached, or a file that attach added was changed since.
    """
    checkout = detect(path)
    root = checkout.root
    old = Manifest.read(root)
    if old is None:
        raise AttachError(f"{root} is not attached: it has no {FILE}.")
    _refuse_edited(root, old)
    plan = Plan(root, checkout.host.title)
    for name in sorted(old.files):
        if (root / name).is_file():
            plan.writes[name] = None
            plan.changes.append(Change("-", name))
    main = (root / old.entry_file).read_bytes()
    rest = without_line(main, old.entry_line)
    if rest is not None:
        plan.writes[old.entry_file] = rest
        plan.changes.append(Change("~", f"{old.entry_file}, line taken out"))
    elif digest(main) != old.entry_before and b"epymarl_lmac.plugin" in main:
        raise AttachError(
            f"{root / old.entry_file} no longer has the added line as it was; delete what calls epymarl_lmac there."
        )
    if rest is not None and digest(rest) != old.entry_before:
        plan.notes.append(f"{old.entry_file} was changed after attaching; these changes stay")
    plan.writes[FILE] = None
    plan.changes.append(Change("-", FILE))
    return plan
