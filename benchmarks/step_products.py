"""Products of a few rows with fixed weights, as in the steps of a GRU: ours, PyTorch's and numpy's, one core.

    python benchmarks/step_products.py [--hidden 64] [--rows 3 12 24 48 96 704]

The three take turns on the same numbers; a time is the lower quartile of many. Ours (``product_kernels.py``) are called
from a compiled loop, as in an update, and so without what a call from Python costs; the weights are laid out before, as
they stay the same for a whole sequence. The others are called from Python, as an update would have to.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numba import njit

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "src"), str(Path(__file__).resolve().parent.parent)]

from epymarl_lmac.learning import product_kernels, products  # noqa: E402
from epymarl_lmac.learning.product_kernels import multiply  # noqa: E402

REPEATS = 10  # products between two looks at the clock
TURNS = 400


@njit(cache=True)
def ours(left_MI: np.ndarray, panels_QIW: np.ndarray, out: np.ndarray) -> None:
    for _ in range(REPEATS):
        multiply(left_MI, panels_QIW, out, False)


def repeated(work: Callable[..., object], *words: object, **more: object) -> None:
    """Calls a library's product as often as ``ours`` computes its own."""
    for _ in range(REPEATS):
        work(*words, **more)


def quartiles(works: Sequence[Callable[[], object]]) -> list[float]:
    """Returns the lower quartile of each work's time in seconds; they take turns."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(TURNS):
        for work, own in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            own.append((time.perf_counter() - start) / REPEATS)
    return [sorted(own)[len(own) // 4] for own in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=64, help="H; the product is rows x H x 3 H, and back")
    parser.add_argument("--rows", type=int, nargs="+", default=[3, 12, 24, 48, 96, 704])
    options = parser.parse_args()
    products.use(products.TORCH, 1)  # one thread each
    print(f"panels of {product_kernels.WIDTH} columns; PyTorch {torch.__version__}, numpy {np.__version__}")
    print("| product | ours, us | GFLOP/s | PyTorch, us | ratio | numpy, us | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    H, rng = options.hidden, np.random.default_rng(0)
    for inner, n in ((H, 3 * H), (3 * H, H)):
        right = rng.normal(size=(inner, n)).astype(np.float32)
        panels, of_torch = product_kernels.panels(right), torch.from_numpy(right)
        for rows in options.rows:
            left = rng.normal(size=(rows, inner)).astype(np.float32)
            out, room = np.empty((rows, n), np.float32), np.empty((rows, product_kernels.columns(n)), np.float32)
            works = [
                partial(ours, left, panels, room),
                partial(repeated, torch.mm, torch.from_numpy(left), of_torch, out=torch.from_numpy(out)),
                partial(repeated, np.matmul, left, right, out=out),
            ]
            own, torchs, numpys = quartiles(works)
            print(
                f"| {rows} x {inner} x {n} | {1e6 * own:.1f} | {2 * rows * inner * n / own / 1e9:.0f} | "
                f"{1e6 * torchs:.1f} | {torchs / own:.2f} | {1e6 * numpys:.1f} | {numpys / own:.2f} |"
            )


if __name__ == "__main__":
    main()
