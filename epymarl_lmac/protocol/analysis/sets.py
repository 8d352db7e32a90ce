"""Sets of input elements, one for every element of every value of a program, kept as a graph of unions.

A set is a number: 0 is the empty set, 1 to ``n_leaves`` are the single input elements, larger numbers are unions of
earlier sets. So an operation that only moves data moves numbers, and memory grows with the unions, not with their
members. Members are found at the end, 64 input elements at a time.
"""

from __future__ import annotations

import numpy as np

from epymarl_lmac.errors import BundleError

MAX_WORK = 600_000_000  # numbers that unions may be made of, in all; minutes, not hours
WORK_BYTES = 128 * 2**20  # memory of one pass over the graph
_MIX = np.uint64(0x9E3779B97F4A7C15)


def _hash(ids: np.ndarray) -> np.ndarray:
    """Returns well spread 64-bit numbers; 0 for the empty set."""
    h = ids.astype(np.uint64) * _MIX
    h ^= h >> np.uint64(29)
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(32)
    return h


class Unions:
    """The graph.

    Args:
        n_leaves: number of input elements.
    """

    def __init__(self, n_leaves: int) -> None:
        self.n_leaves = n_leaves
        self.size = n_leaves + 1
        self._work = 0
        self._blocks: list[tuple[int, np.ndarray, np.ndarray]] = []  # first id, offsets, members of each union

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Returns the union of every row: (R, K) ids to (R,) ids. Equal rows share one id.

        Raises:
            BundleError: more work than ``MAX_WORK`` in all.
        """
        self._work += rows.size
        if self._work > MAX_WORK:
            raise BundleError(
                f"The program is too large to follow its flow: more than {MAX_WORK} dependencies to join."
            )
        if rows.shape[1] == 0 or rows.shape[0] == 0:
            return np.zeros(rows.shape[0], dtype=np.int64)
        rows = np.sort(rows, axis=1)
        repeated = np.zeros(rows.shape, dtype=bool)
        repeated[:, 1:] = rows[:, 1:] == rows[:, :-1]
        if repeated.any():
            rows = np.where(repeated, 0, rows)
            rows.sort(axis=1)
        rows = rows[:, int((rows == 0).all(axis=0).sum()) :]
        if rows.shape[1] == 0:
            return np.zeros(len(rows), dtype=np.int64)
        result = rows[:, -1].copy()
        if rows.shape[1] == 1:
            return result
        several = np.flatnonzero(rows[:, -2] != 0)
        if len(several):
            result[several] = self._add(rows[several])
        return result

    def _add(self, rows: np.ndarray) -> np.ndarray:
        """Makes one union for every distinct row; rows are sorted, free of repetitions, zeros first."""
        _, first, inverse = np.unique(_hash(rows).sum(axis=1, dtype=np.uint64), return_index=True, return_inverse=True)
        distinct = rows[first]
        if not np.array_equal(distinct[inverse], rows):  # two rows with one hash
            distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
        start, counts = self.size, (distinct != 0).sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self._blocks.append((start, offsets, distinct[distinct != 0]))
        self.size += len(distinct)
        return start + inverse.reshape(-1)

    def pair(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Returns the union of two arrays of ids, broadcast against each other."""
        a, b = np.broadcast_arrays(a, b)
        stacked = np.stack([a.reshape(-1), b.reshape(-1)], axis=1)
        return self.rows(stacked).reshape(a.shape)

    def over(self, ids: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        """Returns the union over axes, which are kept with size 1."""
        axes = tuple(axis % ids.ndim for axis in axes) if ids.ndim else ()
        others = [axis for axis in range(ids.ndim) if axis not in axes]
        shape = [1 if axis in axes else size for axis, size in enumerate(ids.shape)]
        width = int(np.prod([ids.shape[axis] for axis in axes], dtype=np.int64))
        moved = np.transpose(ids, [*others, *axes])
        return self.rows(moved.reshape(int(np.prod([ids.shape[a] for a in others], dtype=np.int64)), width)).reshape(
            shape
        )

    def prefixes(self, ids: np.ndarray, axis: int) -> np.ndarray:
        """Returns at every place the union of all places up to it."""
        ids = np.moveaxis(ids, axis, 0).copy()
        for j in range(1, len(ids)):
            ids[j] = self.pair(ids[j - 1], ids[j])
        return np.moveaxis(ids, 0, axis)

    def members(self, ids: np.ndarray) -> np.ndarray:
        """Returns the members of sets as packed bits.

        Args:
            ids: (U,) ids.

        Returns:
            (U, ceil(n_leaves / 8)) bytes; bit i (lowest first) of a row says whether input element i is a member.
        """
        wanted = np.zeros(self.size, dtype=bool)
        wanted[ids] = True
        blocks = []
        for start, offsets, children in reversed(self._blocks):
            counts = np.diff(np.append(offsets, len(children)))
            used = wanted[start : start + len(offsets)]
            if used.any():
                kept = children[np.repeat(used, counts)]
                wanted[kept] = True
                own = counts[used]
                blocks.append((start + np.flatnonzero(used), np.concatenate([[0], np.cumsum(own)[:-1]]), kept))
        place = np.cumsum(wanted) - 1  # id -> row among the wanted
        leaves = np.flatnonzero(wanted[1 : self.n_leaves + 1])
        result = np.zeros((len(ids), (self.n_leaves + 7) // 8), dtype=np.uint8)
        n_wanted = int(wanted.sum())
        largest = max([n_wanted, *(len(kept) for _, _, kept in blocks)])
        step = max(1, WORK_BYTES // (8 * max(largest, len(ids)))) * 64
        for cut in range(0, len(leaves), step):
            part = leaves[cut : cut + step]
            words = np.zeros((n_wanted, (len(part) + 63) // 64), dtype=np.uint64)
            number = np.arange(len(part))
            words[place[part + 1], number // 64] = np.uint64(1) << (number % 64).astype(np.uint64)
            for made, offsets, kept in reversed(blocks):
                words[place[made]] = np.bitwise_or.reduceat(words[place[kept]], offsets, axis=0)
            bits = np.unpackbits(words[place[ids]].view(np.uint8), axis=1, bitorder="little")[:, : len(part)]
            for row in range(0, len(ids), 1024):  # the inputs that matter are few or many: unpack a few rows at once
                full = np.zeros((len(bits[row : row + 1024]), self.n_leaves), dtype=bool)
                full[:, part] = bits[row : row + 1024]
                result[row : row + 1024] |= np.packbits(full, axis=1, bitorder="little")
        return result
