"""What can be known: the scores that no protocol can beat, and the share of them that a protocol reaches.

Some tasks bring a posterior. Its mean is judged like a decoder's estimate, on the same held-out episodes; no estimate
from the same histories has a smaller expected squared error. The recall of the mean is no such bound: another rule
could reach a larger one. For the other tasks a decoder that hears the raw inputs of all agents, with a larger budget,
gives a lower bound of the ceiling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epymarl_lmac.awareness.inputs import Episodes
from epymarl_lmac.awareness.measure import Recovery, Rows, evaluate
from epymarl_lmac.tasks.posterior import SAMPLED, Belief, Posterior

LEARNED = "learned"  # form of a ceiling without a posterior
ALONE, TOGETHER, SHARE = "known alone", "knowable together", "share of what can be known"


@dataclass(frozen=True)
class Ceiling:
    """The two ends between which a protocol can move."""

    alone: Recovery  # from one agent's own history
    together: Recovery  # from the histories of all
    form: str  # "exact", "sampled", or "learned": then together is a lower bound of the ceiling
    note: str  # how it was found
    n_alone: int  # episodes of the first
    n_together: int  # episodes of the second

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values for a file."""
        return {**vars(self), "alone": self.alone.as_dict(), "together": self.together.as_dict()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Ceiling:
        """Reads what ``as_dict`` returned."""
        ends = {name: Recovery.from_dict(values[name]) for name in ("alone", "together")}
        return Ceiling(**{**values, **ends})

    def share(self, recovery: Recovery) -> float:
        """Returns the share of what can be known that a protocol's R2 reaches."""
        return share(recovery.r2, self.alone.r2, self.together.r2)

    def share_by_group(self, recovery: Recovery) -> dict[str, float]:
        """Returns the share of every group of columns."""
        ends = self.alone.r2_by_group, self.together.r2_by_group
        return {name: share(value, *(end[name] for end in ends)) for name, value in recovery.r2_by_group.items()}

    def share_of_recall(self, recovery: Recovery) -> float:
        """Returns the same share of the recall off the majority value."""
        ends = self.alone.recall, self.together.recall
        return share(recovery.recall, *ends)


def share(protocol: float, alone: float, together: float) -> float:
    """Returns (protocol - alone) / (together - alone); NaN where nothing is to be gained."""
    room = together - alone
    return (protocol - alone) / room if room > 1e-6 else math.nan


def ceiling_of(
    posterior: Posterior,
    episodes: Episodes,
    important: Sequence[int],
    tolerance: float,
    groups: dict[str, list[int]],
    n_alone: int,
) -> Ceiling:
    """Returns the ceiling of a task that brings a posterior.

    Args:
        posterior: of the task.
        episodes: held-out episodes on which protocols are judged too.
        important: state columns.
        tolerance: squared error that counts as success (alpha).
        groups: names and columns of groups of columns.
        n_alone: episodes, spread evenly, on which single agents are judged; that takes longer. Where the posterior is
            sampled, what can be known together is judged on these too.
    """
    some = episodes.spread(n_alone)
    all_or_some = some if posterior.form == SAMPLED else episodes
    reference_PI = episodes.states(important)
    alone = _judged(posterior.alone, some, important, tolerance, groups, reference_PI)
    together = _judged(posterior.together, all_or_some, important, tolerance, groups, reference_PI)
    return Ceiling(alone, together, posterior.form, posterior.note, len(some), len(all_or_some))


def _judged(
    known: Callable[[np.ndarray, np.ndarray], Belief],
    episodes: Episodes,
    important: Sequence[int],
    tolerance: float,
    groups: dict[str, list[int]],
    reference_PI: Tensor,
) -> Recovery:
    """Judges the posterior's means as a decoder's estimates."""
    columns = list(important)
    B, T, N, _ = episodes.obs_BTNO.shape
    means_BTNI = torch.zeros(B, T, N, len(columns))
    for b, length in enumerate(episodes.length_B.tolist()):
        mean = known(episodes.obs_BTNO[b, :length].numpy(), episodes.actions_BTN[b, :length].numpy()).mean[..., columns]
        mean_TNI = torch.from_numpy(np.ascontiguousarray(mean)).float()
        means_BTNI[b, :length] = mean_TNI if mean.ndim == 3 else mean_TNI.unsqueeze(1)
    packing = episodes.packing()
    rows = Rows(packing.pack(means_BTNI), episodes.states(columns), packing.counts)
    return evaluate([(_as_they_are, True)], rows, tolerance, groups, reference_PI)


def _as_they_are(u_PI: Tensor, counts: Sequence[int]) -> Tensor:
    """Returns estimates that need no decoding."""
    return u_PI
