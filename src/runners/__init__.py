"""Runners play whole episodes with a controller. Imported on use: environment processes need none."""

from __future__ import annotations

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.lazy_registry import LazyRegistry


def _unknown(message: str) -> SettingsError:
    return SettingsError(f"runner={message}", "runner")


REGISTRY = LazyRegistry(
    {
        "auto": "runners.auto:auto_runner",
        "vector": "runners.vector_runner:VectorRunner",
        "episode": "runners.episode_runner:EpisodeRunner",
        "parallel": "runners.parallel_runner:ParallelRunner",
    },
    _unknown,
)
