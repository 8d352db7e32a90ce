"""Time of LMAC's decoder, recovery losses and cycle encoder, forwards and backwards.

The compiled form for the CPU stands beside PyTorch's operations, which other devices take.

    python benchmarks/recovery_losses.py [--repeats 40]

Sizes are those of an update of 32 full episodes on LBF 8x8 and 11x11. Turns of both alternate; the ratio is between the
quartiles of fast ones.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from epymarl_lmac.learning import forms  # noqa: E402
from epymarl_lmac.learning.dropout import Dropout  # noqa: E402
from epymarl_lmac.learning.losses import recovery_losses  # noqa: E402

H, Z = 64, 128  # hidden, latent
SIZES = {"LBF 8x8": (800, 2, 164), "LBF 11x11": (800, 6, 290)}  # transitions, agents, important columns
FORMS = {"PyTorch's operations": True, "compiled": False}


def networks(columns: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Returns a decoder and a cycle encoder of the controller's form."""
    decoder = [nn.Linear(Z, H), nn.ReLU(), Dropout(0.1), nn.Linear(H, H), nn.ReLU(), nn.Linear(H, 2 * columns)]
    cycle = [nn.Linear(2 * columns, H), nn.ReLU(), nn.LayerNorm(H), nn.Linear(H, H), nn.ReLU(), Dropout(0.1)]
    return nn.Sequential(*decoder), nn.Sequential(*cycle, nn.Linear(H, Z))


def once(decoder: nn.Sequential, cycle: nn.Sequential, z_VNZ: torch.Tensor, truth_VI: torch.Tensor) -> float:
    """Returns the seconds of one forward and backward pass."""
    start = time.perf_counter()
    _, recon, awareness, again = recovery_losses(decoder, cycle, z_VNZ, truth_VI, 0.05)
    (recon + awareness + again).backward()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| task | " + " | ".join(f"{name}, ms" for name in FORMS) + " | ratio |")
    print("| --- | " + "--- | " * len(FORMS) + "--- |")
    for task, (V, N, columns) in SIZES.items():
        decoder, cycle = networks(columns)
        z_VNZ, truth_VI = torch.randn(V, N, Z, requires_grad=True), torch.randn(V, columns)
        found: dict[str, list[float]] = {name: [] for name in FORMS}
        for _ in range(options.repeats):
            for name, forms.plain_only in FORMS.items():
                found[name].append(once(decoder, cycle, z_VNZ, truth_VI))
        times = [1000 * sorted(values[3:])[len(values) // 4] for values in found.values()]
        print(f"| {task} | " + " | ".join(f"{value:.1f}" for value in times) + f" | {times[0] / times[1]:.1f} |")


if __name__ == "__main__":
    main()
