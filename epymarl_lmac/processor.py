"""What this machine's processor can do."""

from __future__ import annotations

import functools
from pathlib import Path

import llvmlite.binding

_AVX512 = frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})


@functools.cache
def is_amd_with_avx512(info: Path = Path("/proc/cpuinfo")) -> bool:
    """Returns whether this is an AMD processor with AVX-512 (Zen 4 and later); False where that is not known.

    Args:
        info: what Linux says of the processor.
    """
    try:
        lines = info.read_text(encoding="utf-8").splitlines()
    except OSError:  # not on macOS and Windows
        return False
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())  # those of the first core
    return fields.get("vendor_id") == "AuthenticAMD" and set(fields.get("flags", "").split()) >= _AVX512


def compiles_avx512() -> bool:
    """Returns whether the compiler of our loops knows that this processor has AVX-512."""
    try:
        return bool(llvmlite.binding.get_host_cpu_features().get("avx512f", False))
    except RuntimeError:  # says so where it knows nothing of the processor
        return False
