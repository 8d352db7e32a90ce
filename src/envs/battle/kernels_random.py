"""One random stream a battle: splitmix64 (Steele, Lea and Flood 2014), whose whole state is one 64-bit word.

A battle's draws depend on the seed and its number only, so it plays the same alone and among others.
"""

from __future__ import annotations

import numpy as np

from envs.battle.kernels_cache import kernel

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def start_streams(seed: int, num_envs: int) -> np.ndarray:
    """Returns the streams' first states, uint64 (B,)."""
    children = np.random.SeedSequence(seed).spawn(num_envs)
    return np.array([child.generate_state(1, np.uint64)[0] for child in children], np.uint64)


@kernel
def uniform(rng_1):
    """Returns a number in [0, 1) and advances the stream ``rng_1`` (uint64 (1,))."""
    state = rng_1[0] + _STEP
    rng_1[0] = state
    z = (state ^ (state >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def below(rng_1, n):
    """Returns an integer in [0, n)."""
    return min(int(uniform(rng_1) * n), n - 1)


@kernel
def shuffle(rng_1, places):
    """Puts an array into a random order, all orders equally likely (Fisher and Yates)."""
    for i in range(places.size - 1, 0, -1):
        j = below(rng_1, i + 1)
        places[i], places[j] = places[j], places[i]
