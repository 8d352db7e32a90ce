"""Says from which starts of ``hallway`` a recorded run wins, and how it fails from the others.

    python docs/results/grid_tasks/hallway_starts.py RUN [--episodes 720]

Plays greedy test episodes with the last saved networks. Without random numbers in tests a start decides its episode, so
each start counts once; the number of starts that were drawn is printed beside the number that there are.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from pathlib import Path

from epymarl_lmac.paths import make_host_importable
from epymarl_lmac.record.provenance import read_run

make_host_importable()

from components.episode_buffer import EpisodeBatch  # noqa: E402
from evaluation import experiment_of  # noqa: E402

WON, ALONE, WAITED = "won", "somebody entered cell 0 alone", "nobody entered cell 0 until time was up"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--episodes", type=int, default=720)
    options = parser.parse_args()
    record = read_run(options.run)
    lengths = record["settings"]["env_args"]["lengths"]
    experiment, t_env = experiment_of(options.run, record, options.episodes, None)
    ends: dict[tuple[int, ...], str] = {}

    def watch(batch: EpisodeBatch) -> None:
        cells_BTN, n_steps_B = batch["obs"][..., 0].long(), batch["filled"][:, :, 0].sum(1)
        for cells_TN, n_steps, reward_T in zip(cells_BTN, n_steps_B.tolist(), batch["reward"][:, :, 0], strict=True):
            last_N = cells_TN[n_steps - 1]
            how = WON if reward_T.sum() > 0 else ALONE if (last_N == 0).any() else WAITED
            ends[tuple(cells_TN[0].tolist())] = how

    try:
        experiment.runner.evaluate(watch)
    finally:
        experiment.runner.close_env()
    print(f"{record['algorithm']}, networks of step {t_env:,}: {len(ends)} of {math.prod(lengths)} starts drawn")
    for how, count in Counter(ends.values()).most_common():
        print(f"{count:>3} {how}")


if __name__ == "__main__":
    main()
