"""A cache of programs that were built before; each is found by the hash of everything that it follows from.

One file holds a program: the SHA-256 of the rest, then JSON, then safetensors. A file whose hash does not fit, or that
holds no program, is treated as absent and written anew; nothing in it is ever executed. The folder belongs to the
user: whoever can write there can also put a program in, which then still has to satisfy the contract.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from epymarl_lmac.errors import BundleError
from epymarl_lmac.protocol.engine.program import Program
from epymarl_lmac.protocol.engine.signature import Signature
from epymarl_lmac.protocol.engine.spec import ProtocolSpec

VARIABLE = "EPYMARL_LMAC_CACHE"  # a folder, or "off"
_log = logging.getLogger(__name__)


def folder() -> Path | None:
    """Returns the folder in which programs are kept; None if none are kept."""
    said = os.environ.get(VARIABLE, "")
    if said.lower() in ("off", "0", "no"):
        return None
    if said:
        return Path(said).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path("~/.cache").expanduser()) / "epymarl-lmac" / "programs"


@functools.cache
def _engine_hash() -> str:
    """Returns the hash of the engine's own source: another engine builds other programs."""
    digest = hashlib.sha256(torch.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def key(text: str, spec: ProtocolSpec, signature: Signature) -> str:
    """Returns the name under which the program of a text is kept; one text may define programs of several kinds."""
    sizes = [signature.name, spec.n_agents, spec.x_dim, spec.history]
    return hashlib.sha256(json.dumps([_engine_hash(), sizes, text]).encode()).hexdigest()


def load(name: str, spec: ProtocolSpec) -> Program | None:
    """Returns the program kept under a name, None if there is none or its file is damaged."""
    where = folder()
    if where is None:
        return None
    path = where / name
    try:
        data = path.read_bytes()
    except OSError:
        return None
    try:
        if len(data) < 40 or hashlib.sha256(data[32:]).digest() != data[:32]:
            raise BundleError("its hash does not fit")
        size = struct.unpack("<Q", data[32:40])[0]
        content: dict[str, Any] = json.loads(data[40 : 40 + size])
        program = Program.from_dict(content, safetensors.torch.load(data[40 + size :]))
        if program.spec != spec:
            raise BundleError("it is for other sizes")
        return program
    except (BundleError, ValueError, RecursionError, safetensors.SafetensorError) as err:
        _log.warning("The cached program %s is not used and built anew: %s.", path, err)
        return None


def store(name: str, program: Program) -> None:
    """Keeps a program; a folder that cannot be written is no error, the next run builds it again."""
    where = folder()
    if where is None:
        return
    content, constants = program.as_dict("")
    head = json.dumps(content, separators=(",", ":")).encode()
    body = struct.pack("<Q", len(head)) + head + safetensors.torch.save(constants)
    try:
        where.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=where)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(body).digest() + body)
            Path(temporary).replace(where / name)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as err:
        _log.warning("The program cannot be kept in %s (%s); set %s to another folder.", where, err, VARIABLE)
