"""How much memory a replay buffer takes, and whether there is that much, before a run starts.

A buffer is filled over hours; memory that is not there would end the run long after its start.
"""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from epymarl_lmac.errors import SettingsError

GIB = 2**30
SHARE = 0.8  # of the free memory that a buffer may take where no limit is set
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def free_bytes(device: str) -> int:
    """Returns the free memory of a device; a container's limit counts."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info()[0])
    available, in_group = int(psutil.virtual_memory().available), _control_group_free()
    return available if in_group is None else min(available, in_group)


def _control_group_free() -> int | None:
    try:
        limit = (_CONTROL_GROUP / "memory.max").read_text().strip()
        used = int((_CONTROL_GROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used)


def check_fits(needed_per_episode: int, n_episodes: int, limit_gib: float, free: int) -> int:
    """Returns the bytes of a buffer, or refuses one that does not fit.

    Args:
        needed_per_episode: bytes of a stored episode, see ``EpisodeBatch.nbytes``.
        n_episodes: ``buffer_size``.
        limit_gib: most the buffer may take; 0: ``SHARE`` of what is free.
        free: see ``free_bytes``.

    Raises:
        SettingsError: it needs more than it may take; the message has the numbers and what would fit.
    """
    needed = needed_per_episode * n_episodes
    if limit_gib > 0:
        allowed, why = limit_gib * GIB, f"buffer_memory_gib={limit_gib:g} allows {limit_gib:.2f} GiB"
        advice = "or raise buffer_memory_gib"
    else:
        allowed, why = SHARE * free, f"{SHARE:.0%} of the free memory are {SHARE * free / GIB:.2f} GiB"
        advice = "or set buffer_memory_gib to allow more"
    if needed > allowed:
        fits = max(1, int(allowed / needed_per_episode))
        raise SettingsError(
            f"The replay buffer needs {needed / GIB:.2f} GiB for buffer_size={n_episodes} episodes of "
            f"{needed_per_episode / 2**20:.2f} MiB, and {why}. Use buffer_size={fits} or less, {advice}.",
            "buffer_size",
        )
    return needed
