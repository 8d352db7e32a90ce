"""Compiled loops of ``q_values.py`` for float32 on the CPU.

Letters: P existing steps of all episodes, V transitions, N agents, A actions.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

UNAVAILABLE = np.float32(-9999999.0)
_compiled: Any = partial(njit, cache=True, nogil=True, error_model="numpy")


@_compiled()
def take(q_PNA, now_V, actions_VN1, taken_VN):
    """Writes the Q-values of the actions taken."""
    V, N = taken_VN.shape
    for v in range(V):
        for n in range(N):
            taken_VN[v, n] = q_PNA[now_V[v], n, actions_VN1[v, n, 0]]


@_compiled()
def put(d_taken_VN, now_V, actions_VN1, d_q_PNA):
    """Writes the gradients of the actions taken to their places."""
    V, N = d_taken_VN.shape
    for v in range(V):
        for n in range(N):
            d_q_PNA[now_V[v], n, actions_VN1[v, n, 0]] = d_taken_VN[v, n]


@_compiled()
def best(choosing_PNA, worth_PNA, next_V, avail_VNA, best_VN):
    """Writes what ``worth_PNA`` gives the available action that ``choosing_PNA`` prefers."""
    V, N, A = avail_VNA.shape
    for v in range(V):
        row = next_V[v]
        for n in range(N):
            choosing, avail = choosing_PNA[row, n], avail_VNA[v, n]
            action, highest = 0, choosing[0] if avail[0] != 0 else UNAVAILABLE
            for a in range(1, A):
                value = choosing[a] if avail[a] != 0 else UNAVAILABLE
                if value > highest:
                    action, highest = a, value
            best_VN[v, n] = worth_PNA[row, n, action] if avail[action] != 0 else UNAVAILABLE
