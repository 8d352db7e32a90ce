"""Best expected returns of ``hallway`` and ``hallway_group``, with and without communication.

All that an agent ever learns by itself is the cell x it starts in, so its policy is a time at which it enters cell
0, at least x, chosen for every x. Agents that tell each other where they start choose the times together.
"""

from __future__ import annotations

import itertools
import math
from functools import cache

from epymarl_lmac.tasks.hallway import HallwaySettings

MAX_WORK = 400_000  # steps of an enumeration or of the dynamic programme; above, bounds are given instead

Bounds = tuple[float, float]  # lowest and highest possible value; equal where it is exact


@cache
def values(s: HallwaySettings, communication: bool) -> Bounds:
    """Returns bounds of the best expected return; they are equal where the value is exact.

    Args:
        s: the game.
        communication: whether agents may tell each other where they start.
    """
    if s.n_groups == 1:
        low, high = (1.0, 1.0) if communication or clock_solves(s) else _alone(s)
    else:
        low, high = _groups_together(s) if communication else _groups_alone(s)
    return s.reward_win * low, s.reward_win * high


def clock_solves(s: HallwaySettings) -> bool:
    """Whether times agreed on in advance, one for every group, always win."""
    deadline = s.episode_limit
    if s.random_lengths:  # the shortest possible deadline: every corridor drawn has length 1
        deadline = 1 + s.time_slack
    return _schedule([max(s.lengths[i] for i in s.members(g)) for g in range(s.n_groups)], deadline) == s.n_groups


def _schedule(earliest: list[int], deadline: int) -> int:
    """Returns how many groups can arrive at different times between their earliest time and the deadline."""
    time, placed = 0, 0
    for low in sorted(earliest):
        time = max(time + 1, low)
        placed += time <= deadline
    return placed


def _cdf(length: int, x: int) -> float:
    """Returns the probability that a start drawn from 1 to ``length`` is at most x."""
    return min(max(x, 0), length) / length


# -- one group, random lengths ---------------------------------------------------------------------------------


def _alone(s: HallwaySettings) -> Bounds:
    exact = group_optimum(s, 0)
    if exact is not None:
        return exact, exact
    return _best_clocks(s), 1.0


def group_optimum(s: HallwaySettings, group: int) -> float | None:
    """Returns the best probability with which a group arrives in time without communication (random lengths).

    Agent i's policy puts every start x into the set A_i(T) of the time T that it chooses for it. The group wins at T
    if every start lies in its A_i(T) and the deadline, the longest length drawn plus the slack, is not before T. The
    probability is a sum over T of products of set sizes, so a dynamic programme over T decides how many starts every
    agent uses at each time. A start that is fresh (long enough that the deadline is safe) is used oldest first, as
    the younger ones stay fresh for longer.

    Returns:
        None where the programme would take too long.
    """
    lengths = [s.lengths[i] for i in s.members(group)]
    others = [s.lengths[i] for i in range(s.n_agents) if s.group_ids[i] != group]
    slack, last = s.time_slack, s.episode_limit
    if math.prod((k + 1) * 2 ** min(slack, k) * (k + 1) for k in lengths) > MAX_WORK:
        return None
    size = math.prod(lengths)

    @cache
    def best(time: int, old: tuple[int, ...], fresh: tuple[tuple[int, ...], ...]) -> float:
        """``old``: unused starts of every agent that are no longer fresh; ``fresh``: the others, oldest first."""
        if time > last:
            return 0.0
        aged = [[x for x in starts if x < time - slack] for starts in fresh]
        old = tuple(n + len(gone) for n, gone in zip(old, aged, strict=True))
        now = [
            tuple(x for x in starts if x >= time - slack) + ((time,) if time <= length else ())
            for starts, length in zip(fresh, lengths, strict=True)
        ]
        late = math.prod(_cdf(length, time - slack - 1) for length in others)
        found = best(time + 1, old, tuple(now))  # nobody arrives now
        choices = [
            [(o, f) for o in range(n + 1) for f in range(len(starts) + 1) if o + f]
            for n, starts in zip(old, now, strict=True)
        ]
        for chosen in itertools.product(*choices):
            gain = math.prod(o + f for o, f in chosen) - late * math.prod(o for o, _ in chosen)
            if gain <= 0:
                continue
            rest_old = tuple(n - o for n, (o, _) in zip(old, chosen, strict=True))
            rest = tuple(starts[f:] for starts, (_, f) in zip(now, chosen, strict=True))
            found = max(found, gain / size + best(time + 1, rest_old, rest))
        return found

    return best(1, (0,) * len(lengths), ((),) * len(lengths))


def _clock(s: HallwaySettings, group: int, time: int) -> float:
    """Returns the probability with which a group wins that always arrives at ``time``."""
    ready = math.prod(_cdf(s.lengths[i], time) for i in s.members(group))
    if not s.random_lengths:
        return ready if time <= s.episode_limit else 0.0
    return ready - math.prod(_cdf(length, time - s.time_slack - 1) for length in s.lengths)


def _best_clocks(s: HallwaySettings) -> float:
    """Returns the best expected number of groups that win at different times agreed on in advance."""
    times = range(1, s.episode_limit + 1)
    table = [[_clock(s, g, time) for time in times] for g in range(s.n_groups)]

    @cache
    def best(group: int, taken: frozenset[int]) -> float:
        if group == s.n_groups:
            return 0.0
        skipped = best(group + 1, taken)
        return max([skipped] + [p + best(group + 1, taken | {t}) for t, p in enumerate(table[group]) if t not in taken])

    return best(0, frozenset())


# -- several groups --------------------------------------------------------------------------------------------


def _groups_alone(s: HallwaySettings) -> Bounds:
    """Clocks give the lower bound; groups that never disturb each other, or that communicate, the upper one."""
    if clock_solves(s):
        return float(s.n_groups), float(s.n_groups)
    low, (_, high) = _best_clocks(s), _groups_together(s)
    if not s.random_lengths:
        return low, high
    alone = [group_optimum(s, g) for g in range(s.n_groups)]
    return low, min(high, sum(1.0 if value is None else value for value in alone))


def _groups_together(s: HallwaySettings) -> Bounds:
    """Agents that know all starts give every group a time of its own; expected number of groups that get one."""
    if clock_solves(s):
        return float(s.n_groups), float(s.n_groups)
    tops = [max(s.lengths[i] for i in s.members(g)) for g in range(s.n_groups)]
    if math.prod(tops) > MAX_WORK:
        return _best_clocks(s), float(s.n_groups)
    total = 0.0
    for longest in itertools.product(*(range(1, top + 1) for top in tops)):
        chance = math.prod(
            math.prod(_cdf(s.lengths[i], x) for i in s.members(g))
            - math.prod(_cdf(s.lengths[i], x - 1) for i in s.members(g))
            for g, x in enumerate(longest)
        )
        deadline = max(longest) + s.time_slack if s.random_lengths else s.episode_limit
        total += chance * _schedule(list(longest), deadline)
    return total, total
