"""Writes ``config/default.yaml`` and ``docs/settings.md`` from the settings' definitions."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from epymarl_lmac.errors import RecordError
from epymarl_lmac.paths import config_root
from epymarl_lmac.settings.checks import bounds_text, type_name
from epymarl_lmac.settings.fields import Setting, settings_of
from epymarl_lmac.settings.files import ALGS, ENVS, variants
from epymarl_lmac.settings.load import METHOD_REGISTRIES, merge
from epymarl_lmac.settings.schema import RunSettings

WIDTH = 109
YAML_HEAD = """\
# Every setting of a run with its default. Written by `python -m epymarl_lmac.settings write` from
# epymarl_lmac/settings/schema.py; a default that is changed here holds for this checkout.
# Order: this file < envs/ENV.yaml < its task < algs/ALG.yaml (its bases first) < its preset < command line.
# "steps" are environment steps summed over all copies; "updates" are gradient steps; "episodes" are whole episodes.
"""
DOC_HEAD = """\
# Settings

Written by `python -m epymarl_lmac.settings write` from the definitions in the code; do not edit.

A run takes each setting from the last of these that states it:

1. the defaults below (`config/default.yaml`, and a method's own);
2. the environment's file, `config/envs/ENV.yaml` (`--env-config=ENV`), then its task (`with task=NAME`);
3. the algorithm's file, `config/algs/ALG.yaml` (`--config=ALG`), after the files that it names as `base`, then its
   preset (`with preset=NAME`);
4. the command line, `with key=value`; a key inside another has a dot, to any depth: `with env_args.players=3`.

"Steps" are environment steps summed over all copies of the environment, "updates" are gradient steps, "episodes" are
whole episodes. The last column says **r** where a setting may differ between a run and its continuation, **h** where
the host's own value holds in an attached host, **-** where it is never written into a host's files.
"""


def yaml_value(value: Any) -> str:
    """Returns a value as our yaml files write it."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        text = f"{Decimal(repr(value)):f}"
        return text if "." in text else f"{text}.0"
    return json.dumps(value)


def _meaning(item: Setting) -> str:
    bounds = bounds_text(item)
    return f"{item.meaning}; {bounds}" if bounds else item.meaning


def default_yaml() -> str:
    """Returns the content of ``config/default.yaml``."""
    lines = []
    for item in settings_of(RunSettings):
        if item.section:
            lines.append(f"\n# -- {item.section} ".ljust(WIDTH, "-"))
        lines.append(f"{item.key}: {yaml_value(item.default)} # {_meaning(item)}")
    return YAML_HEAD + "\n".join(lines) + "\n"


def _rows(items: Iterable[Setting]) -> list[str]:
    rows = ["| setting | type | default | meaning | |", "| --- | --- | --- | --- | --- |"]
    for item in items:
        default = "(none)" if item.default is dataclasses.MISSING else f"`{yaml_value(item.default)}`"
        kind = type_name(item.kind).replace("|", "or")
        where = "-" if item.runner else "h" if item.host else ""
        marks = " ".join(mark for mark in ("r" if item.resume else "", where) if mark)
        rows.append(f"| `{item.key}` | {kind} | {default} | {_meaning(item).replace('|', chr(92) + '|')} | {marks} |")
    return rows


def _own_files(folder: str) -> list[str]:
    return sorted(path.stem for path in (config_root() / folder).glob("*.yaml"))


def _method_schemas() -> dict[type, tuple[str, list[str]]]:
    """Returns the methods' settings classes: what brings each, and the algorithms of ours that read it (those whose
    file alone does not, with the preset that does)."""
    found: dict[type, tuple[str, list[str]]] = {}
    env = _own_files(ENVS.folder)[0]
    for alg in _own_files(ALGS.folder):
        for preset in ("", *variants(ALGS, alg)):
            reader = f"`{alg}` with preset={preset}" if preset else f"`{alg}`"
            for part, schema in _parts(merge(alg, env, {"preset": preset} if preset else {})):
                readers = found.setdefault(schema, (part, []))[1]
                if f"`{alg}`" not in readers:
                    readers.append(reader)
    return found


def _parts(values: Mapping[str, Any]) -> Iterator[tuple[str, type]]:
    """Yields the parts of a run that have settings of their own, as "setting: name", with their settings class."""
    for key, module in METHOD_REGISTRIES.items():
        if values[key] is None:
            continue
        schema = getattr(importlib.import_module(module).REGISTRY[values[key]], "SETTINGS", None)
        if schema is not None:
            yield f"{key}: {values[key]}", schema


def settings_page() -> str:
    """Returns the content of ``docs/settings.md``."""
    lines = [DOC_HEAD]
    sections: dict[str, list[Setting]] = {}
    title = ""
    for item in settings_of(RunSettings):
        title = item.section or title
        sections.setdefault(title, []).append(item)
    for title, items in sections.items():
        lines += [f"## {title[0].upper()}{title[1:]}", "", *_rows(items), ""]
    for schema, (part, algs) in _method_schemas().items():
        lines += [f"## Of `{part}`", "", f"Read by {', '.join(algs)}.", "", *_rows(settings_of(schema)), ""]
    for kind in (ALGS, ENVS):
        named = {name: list(variants(kind, name)) for name in _own_files(kind.folder)}
        lines += [f"## {kind.variants.capitalize()}", ""]
        lines += [f"- `{name}`: {', '.join(f'`{v}`' for v in own)}" for name, own in named.items() if own] or ["None."]
        lines.append("")
    return "\n".join(lines)


def targets() -> dict[Path, str]:
    """Returns the written files and their content.

    Raises:
        RecordError: this is no checkout; an installed package has no docs folder.
    """
    docs = config_root().parent / "docs"
    if not docs.is_dir():
        raise RecordError(f"{docs} is missing; run this in a checkout of the project.")
    return {config_root() / "default.yaml": default_yaml(), docs / "settings.md": settings_page()}
