"""Compiled loop of ``link.py`` for float32 on the CPU.

Letters as there: R rows, N receivers, S senders (S = N), M numbers of a message.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

MOST_AGENTS = 63  # agents are bits of one number

_ZERO, _BIT, _NOBODY = np.float32(0.0), np.int64(1), np.int64(0)
_compiled: Any = partial(njit, cache=True, nogil=True, error_model="numpy")


@_compiled()
def _bits(is_in_S):
    """Returns a number with bit s set where entry s is true."""
    bits = _NOBODY
    for s in range(is_in_S.shape[0]):
        if is_in_S[s]:
            bits |= _BIT << s
    return bits


@_compiled()
def silence(heard_RNM, open_RNS, failed_RNS, senders_NMS):
    """Sets the numbers of a fixed protocol that do not arrive to 0.

    Args:
        heard_RNM: changed.
        open_RNS: links on which something can be sent; no rows: all.
        failed_RNS: links that lose what is sent; no rows: none does.
        senders_NMS: whether column m of receiver n needs something that agent s sends.
    """
    R, N, M = heard_RNM.shape
    needed_NM = np.empty((N, M), dtype=np.int64)
    any_N = np.zeros(N, dtype=np.int64)
    for n in range(N):
        for m in range(M):
            needed_NM[n, m] = _bits(senders_NMS[n, m])
            any_N[n] |= needed_NM[n, m]
    for r in range(R):
        for n in range(N):
            opened = _bits(open_RNS[r, n]) if open_RNS.shape[0] > 0 else any_N[n]
            failed = _bits(failed_RNS[r, n]) & opened if failed_RNS.shape[0] > 0 else _NOBODY
            if any_N[n] & ~opened == 0 and any_N[n] & failed == 0:
                continue
            heard, needed = heard_RNM[r, n], needed_NM[n]
            for m in range(M):
                is_lost = (needed[m] != 0 and needed[m] & opened == 0) or needed[m] & failed != 0
                heard[m] = _ZERO if is_lost else heard[m]
