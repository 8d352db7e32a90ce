"""Random numbers inside compiled loops: one stream for every copy of an environment, kept in a plain array.

A stream is four 64-bit words, so an environment saves and restores it like any other array. Copy b's stream depends on
(seed, b) only, not on how many copies there are.
"""

from __future__ import annotations

import numpy as np
from numba import njit


def streams(seed: int, num_envs: int) -> np.ndarray:
    """Returns the first state of every copy's stream, uint64 (B, 4)."""
    children = np.random.SeedSequence(seed).spawn(num_envs)
    return np.stack([child.generate_state(4, np.uint64) for child in children])


@njit(cache=True, nogil=True)
def _next_word(rng_4):
    """Returns the next 64 random bits and advances one stream (xoshiro256**, Blackman and Vigna 2018)."""
    s0, s1, s2, s3 = rng_4[0], rng_4[1], rng_4[2], rng_4[3]
    x = s1 * np.uint64(5)
    x = ((x << np.uint64(7)) | (x >> np.uint64(57))) * np.uint64(9)
    t = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= t
    s3 = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
    rng_4[0], rng_4[1], rng_4[2], rng_4[3] = s0, s1, s2, s3
    return x


@njit(cache=True, nogil=True)
def draw(rng_4, n):
    """Returns an integer in [0, n).

    The upper 32 bits are scaled to n, so a value's probability is off by less than n / 2**32 of itself.
    """
    return np.int64(((_next_word(rng_4) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@njit(cache=True, nogil=True)
def draw_unit(rng_4):
    """Returns a number in [0, 1) with 53 random bits."""
    return np.float64(_next_word(rng_4) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def shuffled(rng_4, order):
    """Fills ``order`` with a random permutation of its indices."""
    for i in range(order.size):
        order[i] = i
    for i in range(order.size - 1, 0, -1):
        j = draw(rng_4, i + 1)
        order[i], order[j] = order[j], order[i]


@njit(cache=True, nogil=True)
def draw_each(which_B, rng_B4, high_N, out_BN):
    """Fills the rows of ``out_BN`` that ``which_B`` names with integers from 1 to ``high_N``."""
    for b in range(which_B.size):
        if which_B[b]:
            for i in range(high_N.size):
                out_BN[b, i] = 1 + draw(rng_B4[b], high_N[i])


@njit(cache=True, nogil=True)
def draw_cells(rng_4, pos_K2, rows, cols):
    """Puts K things on K different cells of a grid, uniformly, one after the other."""
    for k in range(pos_K2.shape[0]):
        taken = True
        while taken:
            row, col = draw(rng_4, rows), draw(rng_4, cols)
            taken = False
            for j in range(k):
                taken |= pos_K2[j, 0] == row and pos_K2[j, 1] == col
        pos_K2[k, 0], pos_K2[k, 1] = row, col
