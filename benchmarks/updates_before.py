"""Time of an update beside that of an earlier commit of this project, side by side in one run.

    python benchmarks/updates_before.py COMMIT [--env lbf] [--tasks 8x8-2p-2f-s1-coop]
        [--algs lmac_qmix] [--set latent_dim=20]

Both versions play as much as they need to learn from, each in a process of its own, and then take turns of a few
updates on one batch, so that whatever else the machine does meets both alike. Times are lower quartiles of processor
time, which other programs change less than the clock. COMMIT is checked out into a temporary folder (git worktree).
What is not committed yet counts as "now". A default that changed in between is a difference of settings: ``--set``
gives both the same value.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
TURN = 5  # updates of one turn


def serve(root: Path, alg: str, env: str, words: list[str], answers: IO[str]) -> None:
    """Takes a turn of updates with the code under ``root`` for every line that is read; answers with their times."""
    sys.path[:0] = [str(root / "src"), str(root)]
    import torch

    from epymarl_lmac.settings import load_settings
    from run import Experiment
    from utils.logging import Logger, get_logger

    torch.set_num_threads(1)
    words = [*words, "t_max=100000000", "save_model=False", "use_cuda=False", "epsilon_finish=1.0", "buffer_size=128"]
    experiment = Experiment(load_settings(alg, env, words), Logger(get_logger()))
    while not experiment.buffer.can_sample(experiment.args.batch_size):
        experiment.advance()
    batch = experiment.buffer.sample(experiment.args.batch_size, rng=experiment.sampler)
    batch = batch[:, : batch.max_t_filled()]
    for _ in range(2):  # compiles, warms up
        experiment.learner.train(batch, 0, 0)
    for _ in sys.stdin:
        times = []
        for _ in range(TURN):
            start = time.process_time()
            experiment.learner.train(batch, 0, 0)
            times.append(time.process_time() - start)
        print(json.dumps(times), file=answers, flush=True)


class Version:
    """A process that learns with the code under one folder.

    Args:
        root: a checkout.
        words: algorithm, environment and settings.
    """

    def __init__(self, root: Path, *words: str) -> None:
        self.root, self.times = root, list[float]()
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", str(root), *words]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self) -> None:
        """Takes one turn."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.root} ended; its last lines stand above")
        self.times += json.loads(line)

    def quartile(self) -> float:
        """Returns the lower quartile of an update's processor time, milliseconds."""
        return 1000 * sorted(self.times)[len(self.times) // 4]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Yields a folder with the files of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(root), commit], check=True, capture_output=True)
        try:
            yield root
        finally:
            subprocess.run([*git, "remove", "--force", str(root)], check=True, capture_output=True)


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what training prints must not come between the answers
        serve(Path(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:], answers)
        return
    from method_speed import TASKS, task_words  # not above: the process of a version imports that version only

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--env", choices=sorted(TASKS), default="lbf")
    parser.add_argument("--tasks", nargs="+", help="tasks of lbf, or maps of sc2")
    parser.add_argument("--algs", nargs="+", default=["qmix", "lmac_qmix"])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of both")
    parser.add_argument("--turns", type=int, default=20, help=f"turns of {TURN} updates that each version takes")
    options = parser.parse_args()
    print("| task | algorithm | before, ms | now, ms | ratio |\n| --- | --- | --- | --- | --- |")
    with checkout(options.commit) as before:
        for task in options.tasks or TASKS[options.env]:
            where = task_words(options.env, task)
            for alg in options.algs:
                versions = [Version(root, alg, options.env, *where, *options.set) for root in (before, ROOT)]
                for _ in range(options.turns):
                    for version in versions:
                        version.turn()
                old, new = (version.quartile() for version in versions)
                print(f"| {task} | {alg} | {old:.1f} | {new:.1f} | {new / old:.2f} |", flush=True)
                for version in versions:
                    version.close()


if __name__ == "__main__":
    main()
