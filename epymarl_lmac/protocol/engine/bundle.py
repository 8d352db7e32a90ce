"""Protocol bundles on disk: texts for people, programs and constants for the trainer, a manifest for both.

``protocols/<env>/<task>/<bundle>/`` holds ``k0.py k1.py k2.py`` (fewer where a step was left out), ``program.json``,
``constants.safetensors`` and ``manifest.yaml``. The manifest has the SHA-256 of every other file and the task the
bundle was made for; a bundle that does not match is refused, and every difference is named.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml

import epymarl_lmac
from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.engine.build import Limits, build_program
from epymarl_lmac.protocol.engine.program import Program
from epymarl_lmac.protocol.engine.sandbox import detect
from epymarl_lmac.protocol.engine.signature import MESSAGE
from epymarl_lmac.protocol.engine.spec import TaskSchema

PROGRAM, CONSTANTS, MANIFEST = "program.json", "constants.safetensors", "manifest.yaml"
FORMAT = 1
PAGES = ("index.html", "report.html")  # a page may lie beside the bundle that it is about
OWN_FILES = frozenset({PROGRAM, CONSTANTS, MANIFEST, *PAGES, *(MESSAGE.text_name(k) for k in MESSAGE.numbers)})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """The protocols of one task, ready to run."""

    path: Path
    programs: list[Program]  # one a step, in order
    important_state: list[int]  # S_imp, indices of the state columns to be reconstructed
    history: int  # L, steps that the last protocol sees
    manifest: dict[str, Any]
    texts: list[str]
    steps: list[int]  # the k of every program; a step that gained nothing is left out

    @staticmethod
    def load(path: str | Path, expected: TaskSchema | None) -> Bundle:
        """Reads a bundle and checks it.

        Args:
            path: its folder.
            expected: the task at hand; None skips that comparison (to look at a bundle).

        Raises:
            BundleError: missing, damaged, tampered with, or made for another task; every difference is named.
        """
        path = Path(path)
        files = _read_files(path)
        try:
            manifest = yaml.safe_load(files[MANIFEST])
            hashes, schema = manifest["sha256"], manifest["task_schema"]
            important, history = list(manifest["important_state"]), int(manifest["history"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as err:
            raise BundleError(f"{path / MANIFEST} is damaged: {err}.") from err
        if manifest.get("format") != FORMAT:
            raise BundleError(f"{path} has format {manifest.get('format')!r}; this version reads {FORMAT}.")
        changed = [name for name, data in files.items() if name != MANIFEST and hashes.get(name) != _sha256(data)]
        if changed:
            raise BundleError(
                f"{path}: {', '.join(sorted(changed))} changed since the bundle was made (SHA-256 differs from the "
                "manifest's). Restore it, or build the bundle again from its texts."
            )
        _check_schema(path, schema, expected)
        wrong = [i for i in important if type(i) is not int or not 0 <= i < schema["state_dim"]]
        if wrong or len(set(important)) != len(important) or not important:
            raise BundleError(f"{path}: important_state must list distinct state columns, got {wrong[:5]}.")
        steps = _steps(path, manifest, files)
        texts = [files[MESSAGE.text_name(k)].decode() for k in steps]
        programs = _read_programs(path, files, steps)
        x_dim = TaskSchema(**schema).x_dim
        for k, program in zip(steps, programs, strict=True):
            if (program.spec.n_agents, program.spec.x_dim) != (schema["n_agents"], x_dim):
                raise BundleError(f"{path}: program k={k} is for {program.spec}, the manifest for x_dim={x_dim}.")
        return Bundle(path, programs, important, history, manifest, texts, steps)


def _steps(path: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> list[int]:
    """Returns the k of every program; a manifest of the old form does not list them, but the texts' names do."""
    named = sorted(name for name in files if name.endswith(".py"))
    steps = manifest.get("steps", [k for k in MESSAGE.numbers if MESSAGE.text_name(k) in named])
    known = isinstance(steps, list) and all(type(k) is int and k in MESSAGE.numbers for k in steps)
    if not known or not steps or sorted(MESSAGE.text_name(k) for k in steps) != named or sorted(set(steps)) != steps:
        raise BundleError(
            f"{path}: the steps {steps!r} of the manifest are not those of its texts ({', '.join(named)}); steps are "
            f"some of {list(MESSAGE.numbers)}, in order."
        )
    return steps


def _read_files(path: Path) -> dict[str, bytes]:
    if not (path / MANIFEST).is_file():
        raise BundleError(
            f"No protocol bundle at {path} ({MANIFEST} is missing); set protocol_path to a bundle's folder, "
            "or build one with `python -m protocol_gen build`."
        )
    manifest = (path / MANIFEST).read_bytes()
    try:
        names = [str(name) for name in yaml.safe_load(manifest)["sha256"]]
    except (yaml.YAMLError, KeyError, TypeError) as err:
        raise BundleError(f"{path / MANIFEST} is damaged: {err}.") from err
    plain = [name for name in names if Path(name).name == name]
    missing = [name for name in {*names, PROGRAM, CONSTANTS} if name not in plain or not (path / name).is_file()]
    if missing:
        raise BundleError(f"{path}: {', '.join(sorted(missing))} is missing.")
    return {MANIFEST: manifest, **{name: (path / name).read_bytes() for name in plain}}


def _check_schema(path: Path, schema: Mapping[str, Any], expected: TaskSchema | None) -> None:
    fields = set(TaskSchema.__dataclass_fields__)
    if not isinstance(schema, Mapping) or set(schema) != fields:
        raise BundleError(f"{path}: the manifest's task_schema must have the fields {sorted(fields)}.")
    if expected is None:
        return
    wanted = expected.as_dict()
    optional = {"task": "", "card_hash": None}  # what a foreign host does not know is not compared
    different = [
        f"{key}: bundle {schema[key]!r}, run {value!r}"
        for key, value in wanted.items()
        if schema[key] != value and not (key in optional and value == optional[key])
    ]
    if different:
        raise BundleError(f"The bundle at {path} was made for another task. " + "; ".join(different) + ".")


def _read_programs(path: Path, files: Mapping[str, bytes], steps: Sequence[int]) -> list[Program]:
    try:
        entries = json.loads(files[PROGRAM])["programs"]
        constants = safetensors.torch.load(files[CONSTANTS])
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as err:
        raise BundleError(f"{path}: the program cannot be read: {err}") from err
    if not isinstance(entries, list):
        raise BundleError(f"{path}: {PROGRAM} must list programs, got {type(entries).__name__}.")
    if len(entries) != len(steps):
        raise BundleError(f"{path}: {PROGRAM} lists {len(entries)} programs, the bundle has the steps {list(steps)}.")
    programs = []
    for k, entry in zip(steps, entries, strict=True):
        prefix = f"k{k}."
        own = {name.removeprefix(prefix): t for name, t in constants.items() if name.startswith(prefix)}
        programs.append(Program.from_dict(entry, own))
    return programs


def check_replaceable(path: Path) -> None:
    """Refuses a place where writing a bundle would remove anything but an earlier bundle.

    Args:
        path: nothing, an empty folder, or a folder with a bundle's own files alone.

    Raises:
        BundleError: naming what is there.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir():
        raise BundleError(f"{path} is not a folder, so no bundle is written there; name another folder.")
    try:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    except OSError as err:
        raise BundleError(f"Cannot read the folder {path}: {err.strerror}.") from err
    foreign = [name for name in names if name not in OWN_FILES]
    if foreign:
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        raise BundleError(
            f"{path} holds {', '.join(foreign[:5])}{more}, which belong to no bundle and would be lost; a bundle "
            "replaces an empty folder or another bundle only. Move them away, or name another folder."
        )
    if names and MANIFEST not in names:
        raise BundleError(
            f"{path} holds {', '.join(names)} but no {MANIFEST}, so it is no bundle and is not replaced. Move these "
            "files away, or name another folder."
        )


def _put(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes files as a folder; what was there is removed last, once the new folder has its name.

    Raises:
        BundleError: it cannot be written; the old folder is there as before.
    """
    target = path.resolve()  # behind a link, the folder itself is replaced
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        for name, data in files.items():
            (new / name).write_bytes(data)
        check_replaceable(target)  # building took a while
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    except OSError as err:
        raise BundleError(f"Cannot write the bundle {path}: {err.strerror}.") from err
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_bundle(
    path: str | Path,
    texts: Sequence[str],
    schema: TaskSchema,
    important_state: Sequence[int],
    history: int,
    scores: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    steps: Sequence[int] | None = None,
) -> Bundle:
    """Builds programs from texts (each in its child process) and writes a bundle, whole or not at all.

    Args:
        path: folder to write; an existing bundle there is replaced, a folder that holds anything else is not.
        texts: one a step, in order.
        schema: the task.
        important_state: state columns to be reconstructed.
        history: L.
        scores: measured recovery, by step.
        notes: designer, prompts, tokens and whatever else belongs into the manifest.
        limits: bounds on texts and messages.
        steps: the k of every text; None is 0, 1, ... The signature says which of them see ``history`` steps.

    Raises:
        ProtocolRejected: a text was refused; nothing is written.
        BundleError: the folder cannot be written, or holds what is no bundle's.
    """
    path = Path(path)
    check_replaceable(path)
    steps = list(range(len(texts))) if steps is None else list(steps)
    programs = [
        build_program(text, MESSAGE.spec(k, schema.n_agents, schema.x_dim, history), limits)
        for k, text in zip(steps, texts, strict=True)
    ]
    entries, constants = [], {}
    for k, program in zip(steps, programs, strict=True):
        entry, own = program.as_dict(f"k{k}.")
        entries.append(entry)
        constants.update(own)
    constants["format"] = torch.tensor([FORMAT])
    files = {MESSAGE.text_name(k): text.encode() for k, text in zip(steps, texts, strict=True)}
    files[PROGRAM] = (json.dumps({"programs": entries}, separators=(",", ":")) + "\n").encode()
    files[CONSTANTS] = safetensors.torch.save(constants)
    manifest = {
        "format": FORMAT,
        "task_schema": schema.as_dict(),
        "important_state": list(important_state),
        "history": history,
        "steps": steps,
        "message_dims": [program.message_dim for program in programs],
        "scores": dict(scores or {}),
        "isolation": detect(),
        "notes": dict(notes or {}),
        "versions": {"epymarl-lmac": epymarl_lmac.__version__, "torch": torch.__version__.split("+")[0]},
        "sha256": {name: _sha256(data) for name, data in sorted(files.items())},
    }
    files[MANIFEST] = yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None, width=110).encode()
    _put(path, files)
    return Bundle.load(path, schema)
