"""What the kernel offers to lock the child in, applied by the child to itself before it sees any text.

Standard library only: the child loads this file by its path. Every measure is tried, none is required here; the
caller decides what must be in force. Measures cannot be undone by the process that took them. None needs root.
"""

import ctypes
import importlib.machinery
import os
import struct
import sys
import types
from collections.abc import Collection
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CAPSET = {"x86_64": 126, "aarch64": 91}
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every architecture
_LANDLOCK_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1

_EXECUTE, _WRITE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_VERSION, _NET_RIGHTS = 4, 0b11  # bind and connect of TCP
_SCOPE_VERSION, _SCOPES = 6, 0b11  # abstract Unix sockets and signals
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ_FILE | _TRUNCATE
_READ = _EXECUTE | _READ_FILE | _READ_DIR

# What an interpreter with PyTorch reads outside its own folders.
_SYSTEM_PATHS = (
    "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/proc/self", "/proc/cpuinfo",
    "/proc/meminfo", "/sys/devices/system", "/dev/null", "/dev/urandom",
)  # fmt: skip


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def no_new_privileges() -> bool:
    """Forbids gaining privileges through programs that are set to run as another user."""
    return _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


def no_network() -> bool:
    """Moves this process into a network namespace of its own, which has no interfaces up."""
    libc = _libc()
    return libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0


def landlock_version() -> int:
    """Returns the kernel's Landlock version, 0 without Landlock."""
    version = _libc().syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION_FLAG))
    return max(0, version)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not Path(path).is_dir():
            rights &= _FILE_RIGHTS
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, fd))
        libc.syscall(_LANDLOCK_ADD, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)


def files_locked(writable: str) -> bool:
    """Leaves this process only the interpreter's own files to read and one folder to write.

    Newer kernels also keep it from TCP, from abstract Unix sockets and from signals to processes outside.

    Args:
        writable: the folder.
    """
    version = landlock_version()
    if version < 1:
        return False
    libc = _libc()
    handled = _RIGHTS_BY_VERSION[max(v for v in _RIGHTS_BY_VERSION if v <= version)]
    # The kernel knows as many of these fields as its version has, and takes no more.
    fields = [handled]
    if version >= _NET_VERSION:
        fields.append(_NET_RIGHTS)
    if version >= _SCOPE_VERSION:
        fields.append(_SCOPES)
    packed = struct.pack(f"={len(fields)}Q", *fields)
    attributes = ctypes.create_string_buffer(packed, len(packed))
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(packed)), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for path in {sys.prefix, sys.base_prefix, *sys.path, str(Path(__file__).parent), *_SYSTEM_PATHS}:
            if path:
                _allow(libc, ruleset, path, handled & _READ)
        _allow(libc, ruleset, "/dev/null", handled & (_READ | _WRITE))
        _allow(libc, ruleset, writable, handled)
        return libc.syscall(_LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0)) == 0
    finally:
        os.close(ruleset)


def no_capabilities() -> bool:
    """Gives up what root may do beyond others: opening everybody's files, mounting, raising limits."""
    libc = _libc()
    number = _CAPSET.get(os.uname().machine)
    if number is None:
        return False
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))  # version 3, this process
    return libc.syscall(ctypes.c_long(number), header, ctypes.create_string_buffer(24)) == 0


def load(name: str) -> types.ModuleType:
    """Returns a module beside this file; the child's interpreter knows no packages of this project."""
    path = Path(__file__).resolve().with_name(f"{name}.py")
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = types.ModuleType(name)
    module.__file__ = str(path)
    loader.exec_module(module)
    return module


def isolate(writable: str, without: Collection[str] = ()) -> dict[str, bool]:
    """Takes every measure; one that a later one would forbid comes before it.

    Args:
        writable: the only folder that may be written.
        without: measures to leave out, to see in tests what each one is for.

    Returns:
        Name of each measure and whether it is in force.
    """
    measures = {
        "no_network": no_network,
        "no_capabilities": no_capabilities,
        "no_new_privileges": no_new_privileges,
        "files_locked": lambda: files_locked(writable),
        "calls_locked": load("syscalls").calls_locked,
    }
    return {name: name not in without and bool(take()) for name, take in measures.items()}


if __name__ == "__main__":
    import json

    print(json.dumps(isolate(str(Path.cwd()))))
