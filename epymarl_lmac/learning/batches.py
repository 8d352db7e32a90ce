"""Which episodes a learner wants for its updates.

A learner says it in ``requests``, a sequence of ``BatchRequest``; one that says nothing is served ``batch_size``
episodes of the replay buffer, all equally likely. An update that a run owes (``updates_per_episode``) is one gradient
step for each request, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BatchRequest:
    """Episodes for one gradient step."""

    n_episodes: int
    latest: bool = False  # those that were played last, or any of the buffer's, all equally likely
    method: str = "train"  # the learner's method that takes them: (batch, steps so far, episodes so far)
    stored: int = 0  # episodes that must be stored before the first update; never fewer than n_episodes

    def __str__(self) -> str:
        return f"the latest {self.n_episodes} episodes" if self.latest else f"{self.n_episodes} episodes"


def requests_of(learner: Any, batch_size: int) -> tuple[BatchRequest, ...]:
    """Returns what a learner asks for, third-party ones included; ``batch_size`` is of those that ask for nothing."""
    return tuple(getattr(learner, "requests", None) or (BatchRequest(batch_size),))


def update_ratio(updates_per_episode: float, requests: tuple[BatchRequest, ...]) -> str:
    """Returns how often a run updates and from how much, for records and captions."""
    return f"{updates_per_episode} updates an episode, {' and '.join(map(str, requests))} an update"
