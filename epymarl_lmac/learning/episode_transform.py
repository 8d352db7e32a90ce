"""Values that are computed once for an episode, when it enters the replay buffer.

Messages of a fixed protocol and shaped rewards are functions of an episode alone. Computing them once saves doing so
for every batch the episode is drawn into.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from epymarl_lmac.seam import Episodes, ExtendableEpisodes


@dataclass(frozen=True)
class EpisodeTransform:
    """A field that is added to stored episodes, and the function that fills it."""

    key: str  # its name in the replay buffer
    field: Mapping[str, Any]  # its entry in the buffer's scheme, e.g. {"vshape": (M,), "group": "agents"}
    compute: Callable[[Episodes], Tensor]  # B episodes -> values (B, T, ...), zeros where no step is stored

    def fill(self, ep_batch: ExtendableEpisodes) -> None:
        """Adds the field to played episodes."""
        ep_batch.add_key(self.key, self.field, self.compute(ep_batch).to(ep_batch.device))
