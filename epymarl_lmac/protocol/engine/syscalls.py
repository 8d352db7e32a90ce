"""The kernel calls left to the child: a seccomp filter that allows what computing needs and refuses the rest.

Standard library only: the child loads this file by its path. A refused call fails with "operation not permitted", so
the text gets an ordinary error. There is no call among those left that makes a process or a thread, runs a program,
opens a socket, opens a file for writing, removes or renames one, signals another process, traces, mounts or raises a
limit.
"""

import ctypes
import os
import platform
import struct
import sys

# Number on x86_64 and on aarch64; None where the architecture has no such call.
_ALLOWED = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "close": (3, 57),
    "fstat": (5, 80), "lseek": (8, 62), "newfstatat": (262, 79), "statx": (332, 291), "stat": (4, None),
    "lstat": (6, None), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61), "getcwd": (79, 17), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233), "brk": (12, 214),
    "mincore": (27, 232), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "futex": (202, 98), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, None), "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
    "getrandom": (318, 278), "sysinfo": (99, 179), "uname": (63, 160), "times": (100, 153), "getrusage": (98, 165),
    "getrlimit": (97, 163), "exit": (60, 93), "exit_group": (231, 94), "set_robust_list": (273, 99),
    "rseq": (334, 293), "restart_syscall": (219, 128), "poll": (7, None), "ppoll": (271, 73),
    "select": (23, None), "pselect6": (270, 72), "getcpu": (309, 168),
}  # fmt: skip
_OPENAT, _TGKILL, _PRLIMIT = (257, 56), (234, 131), (302, 261)  # allowed with some arguments only
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # 1 is EPERM
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data; arguments of 8 bytes start at 16


def _low(argument: int) -> int:
    return 16 + 8 * argument


def _program(column: int, architecture: int) -> list[tuple[int, int, int, int]]:
    """Returns the filter's instructions: (code, jump if true, jump if false, constant)."""
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)
    rows = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), refuse, (_LOAD, 0, 0, _NUMBER)]
    rows += [(_GREATER_EQUAL, 0, 1, 0x40000000), refuse]  # the 32-bit pointer calls of x86_64
    for numbers in _ALLOWED.values():
        number = numbers[column]
        if number is not None:
            rows += [(_EQUAL, 0, 1, number), allow]
    rows += [(_EQUAL, 0, 4, _OPENAT[column]), (_LOAD, 0, 0, _low(2)), (_ANY_BIT, 0, 1, _WRITING), refuse, allow]
    rows += [(_EQUAL, 0, 4, _TGKILL[column]), (_LOAD, 0, 0, _low(0)), (_EQUAL, 0, 1, os.getpid()), allow, refuse]
    # Reading limits is harmless, setting needs a pointer to the new ones: both halves must be 0.
    rows += [(_EQUAL, 0, 6, _PRLIMIT[column]), (_LOAD, 0, 0, _low(2)), (_EQUAL, 1, 0, 0), refuse]
    rows += [(_LOAD, 0, 0, _low(2) + 4), (_EQUAL, 0, 1, 0), allow]
    return [*rows, refuse]


def calls_locked() -> bool:
    """Puts the filter in force for this process; returns whether the kernel took it. Needs no_new_privs."""
    known = _ARCHITECTURES.get(platform.machine())
    if known is None or sys.byteorder != "little":
        return False
    rows = _program(*known)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(rows), ctypes.addressof(code)))
    return ctypes.CDLL(None, use_errno=True).prctl(22, 2, header, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
