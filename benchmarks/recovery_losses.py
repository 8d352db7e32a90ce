"""Time of LMAC's recovery losses, forward and backward: the compiled form for the CPU beside the one for all devices.

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

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from epymarl_lmac.learning.losses import _RecoveryHead, _RecoveryHeadCpu  # noqa: E402

SIZES = {"LBF 8x8": (800, 2, 300), "LBF 11x11": (800, 6, 563)}  # transitions, agents, columns
FORMS = {"all devices": _RecoveryHead, "CPU": _RecoveryHeadCpu}


def once(form: type[torch.autograd.Function], decoded_VNJ: torch.Tensor, truth_VI: torch.Tensor) -> float:
    """Returns the seconds of one forward and backward pass."""
    start = time.perf_counter()
    joined, recon, awareness = form.apply(decoded_VNJ, truth_VI, 0.05)
    (joined.mean() + recon + awareness).backward()
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
        decoded_VNJ = torch.randn(V, N, 2 * columns, requires_grad=True)
        truth_VI = torch.randn(V, columns)
        found: dict[str, list[float]] = {name: [] for name in FORMS}
        for _ in range(options.repeats):
            for name, form in FORMS.items():
                found[name].append(once(form, decoded_VNJ, truth_VI))
        times = [1000 * sorted(values[3:])[len(values) // 4] for values in found.values()]
        print(f"| {task} | " + " | ".join(f"{value:.1f}" for value in times) + f" | {times[0] / times[1]:.1f} |")


if __name__ == "__main__":
    main()
