"""What predators can earn in ``predator_prey`` with rules ``ic3net``: exact for known prey, bounds for a search.

With n predators on the prey the team earns f(n) = -0.05 (N - n) + 0.05 n^2 in a step, which grows with n. So predators
that know the prey's cell go there on shortest ways; that value is exact. A search is bounded in every step by the
probability that the prey can have been found at all.
"""

from __future__ import annotations

import math
from functools import cache

from epymarl_lmac.tasks.predator_prey import PredatorPreySettings

COST = 0.05  # lost by every predator that is not on the prey; earned, times n, by each one on it


def search_values(s: PredatorPreySettings) -> dict[str, float]:
    """Returns expected returns of a game with rules ``ic3net``.

    Returns:
        ``oracle``: best value if all know the prey's cell, exact. ``together_high``: no team earns more, whatever it
        tells each other. ``alone_high``: no team earns more in which every predator searches by itself, without
        messages and without watching the others. ``floor``: nobody ever finds the prey.
    """
    N, steps = s.players, range(1, s.max_episode_steps + 1)
    floor = -COST * N
    together = sum(min(_known(s, t), floor + _team_found(s, t) * (COST * N * N - floor)) for t in steps)
    alone = 0.0
    for t in steps:
        p = _one_there(s, t)
        alone += min(_known(s, t), floor + COST * N * p + COST * N * N * p)  # E[n^2] is at most N E[n]
    return {
        "oracle": sum(_known(s, t) for t in steps),
        "together_high": together,
        "alone_high": alone,
        "floor": floor * s.max_episode_steps,
    }


@cache
def _near_counts(size: int, t: int) -> tuple[int, ...]:
    """Returns for every cell how many other cells lie within t steps of it."""
    cells = [(r, c) for r in range(size) for c in range(size)]
    return tuple(
        sum(1 + 2 * (t - abs(r - row)) if abs(r - row) <= t else 0 for r in range(size))
        - sum(
            max(t - abs(r - row) - col, 0) + max(t - abs(r - row) - (size - 1 - col), 0)
            for r in range(size)
            if abs(r - row) <= t
        )
        - 1
        for row, col in cells
    )


def _known(s: PredatorPreySettings, t: int) -> float:
    """Returns the expected reward of step t if all go straight to the prey; starts are different cells."""
    N, others = s.players, s.size**2 - 1
    total = 0.0
    for c in _near_counts(s.size, t):
        mean = N * c / others
        pairs = N * (N - 1) * c * (c - 1) / (others * (others - 1)) if others > 1 else 0.0
        total += -COST * N + COST * mean + COST * (mean + pairs)
    return total / s.size**2


def _seen(s: PredatorPreySettings, t: int) -> int:
    """Returns the most cells besides its own that a predator has seen early enough to be on one of them at step t.

    A cell that it did not see at the start appears at the border of its window, ``vision`` steps away.
    """
    side = 2 * s.vision + 1
    return side * side - 1 + side * max(t - s.vision, 0)


def _one_there(s: PredatorPreySettings, t: int) -> float:
    """Returns a bound of the probability that a predator which searches by itself is on the prey after t steps."""
    others = s.size**2 - 1
    return min(1.0, _seen(s, t) / others, sum(_near_counts(s.size, t)) / (others * s.size**2))


def _team_found(s: PredatorPreySettings, t: int) -> float:
    """Returns a bound of the probability that some predator is on the prey after t steps."""
    N, cells = s.players, s.size**2
    ways = math.comb(cells - 1, N)
    near = sum(1 - math.comb(cells - 1 - c, N) / ways for c in _near_counts(s.size, t)) / cells
    return min(1.0, N * _seen(s, t) / (cells - N), near)
