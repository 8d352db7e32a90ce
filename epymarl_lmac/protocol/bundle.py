"""Protocol bundles on disk: texts for people, programs and constants for the trainer, a manifest for both.

``protocols/<env>/<task>/<bundle>/`` holds ``k0.py k1.py k2.py``, ``program.json``, ``constants.safetensors`` and
``manifest.yaml``. The manifest has the SHA-256 of every other file and the task the bundle was made for; a bundle that
does not match is refused, and every difference is named.
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
from epymarl_lmac.protocol.build import Limits, build_program
from epymarl_lmac.protocol.program import Program
from epymarl_lmac.protocol.sandbox import detect
from epymarl_lmac.protocol.spec import ProtocolSpec, TaskSchema

PROGRAM, CONSTANTS, MANIFEST = "program.json", "constants.safetensors", "manifest.yaml"
FORMAT = 1


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """The protocols of one task, ready to run."""

    path: Path
    programs: list[Program]  # k = 0, 1, 2
    important_state: list[int]  # S_imp, indices of the state columns to be reconstructed
    history: int  # L, steps that the last protocol sees
    manifest: dict[str, Any]
    texts: list[str]

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
        texts = [files[name].decode() for name in sorted(n for n in files if n.endswith(".py"))]
        programs = _read_programs(path, files)
        x_dim = TaskSchema(**schema).x_dim
        for k, program in enumerate(programs):
            if (program.spec.n_agents, program.spec.x_dim) != (schema["n_agents"], x_dim):
                raise BundleError(f"{path}: program k={k} is for {program.spec}, the manifest for x_dim={x_dim}.")
        return Bundle(path, programs, important, history, manifest, texts)


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


def _read_programs(path: Path, files: Mapping[str, bytes]) -> list[Program]:
    try:
        entries = json.loads(files[PROGRAM])["programs"]
        constants = safetensors.torch.load(files[CONSTANTS])
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as err:
        raise BundleError(f"{path}: the program cannot be read: {err}") from err
    if not isinstance(entries, list):
        raise BundleError(f"{path}: {PROGRAM} must list programs, got {type(entries).__name__}.")
    programs = []
    for k, entry in enumerate(entries):
        prefix = f"k{k}."
        own = {name.removeprefix(prefix): t for name, t in constants.items() if name.startswith(prefix)}
        programs.append(Program.from_dict(entry, own))
    return programs


def write_bundle(
    path: str | Path,
    texts: Sequence[str],
    schema: TaskSchema,
    important_state: Sequence[int],
    history: int,
    scores: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
) -> Bundle:
    """Builds programs from texts (each in its child process) and writes a bundle, whole or not at all.

    Args:
        path: folder to write; an existing bundle there is replaced.
        texts: k = 0, 1, 2 in order; the last of three sees ``history`` steps, the others one.
        schema: the task.
        important_state: state columns to be reconstructed.
        history: L.
        scores: measured recovery, by step.
        notes: designer, prompts, tokens and whatever else belongs into the manifest.
        limits: bounds on texts and messages.

    Raises:
        ProtocolRejected: a text was refused; nothing is written.
        BundleError: the folder cannot be written.
    """
    path = Path(path)
    programs = [
        build_program(text, ProtocolSpec(schema.n_agents, schema.x_dim, history if k == 2 else None), limits)
        for k, text in enumerate(texts)
    ]
    entries, constants = [], {}
    for k, program in enumerate(programs):
        entry, own = program.as_dict(f"k{k}.")
        entries.append(entry)
        constants.update(own)
    constants["format"] = torch.tensor([FORMAT])
    files = {f"k{k}.py": text.encode() for k, text in enumerate(texts)}
    files[PROGRAM] = (json.dumps({"programs": entries}, separators=(",", ":")) + "\n").encode()
    files[CONSTANTS] = safetensors.torch.save(constants)
    manifest = {
        "format": FORMAT,
        "task_schema": schema.as_dict(),
        "important_state": list(important_state),
        "history": history,
        "message_dims": [program.message_dim for program in programs],
        "scores": dict(scores or {}),
        "isolation": detect(),
        "notes": dict(notes or {}),
        "versions": {"epymarl-lmac": epymarl_lmac.__version__, "torch": torch.__version__.split("+")[0]},
        "sha256": {name: _sha256(data) for name, data in sorted(files.items())},
    }
    files[MANIFEST] = yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None, width=110).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        temporary.chmod(0o755)
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as err:
        raise BundleError(f"Cannot write the bundle {path}: {err.strerror}.") from err
    return Bundle.load(path, schema)
