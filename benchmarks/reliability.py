"""Kills a run with SIGKILL at random moments, resumes it, and compares the result with an uninterrupted run.

    python benchmarks/reliability.py --kills 100 --json kills.json

Prints a table; ends with 1 if a metric differs from the uninterrupted run's, or a record is lost or doubled. Kinds of
moments take turns: any time of a process's life, and moments inside the writing of a metric, the writing of another
file (checkpoint, its index, run.json), a test phase, an update, and the playing of episodes. Which one of them, and how
far into it, is drawn from ``--seed``. A metric that is being written is cut off at a random byte, and so is a file
before it is renamed.

Processes are forked from this one, which has loaded the program already; otherwise most of a short run's life, and so
most kills, would be imports. ``mongo_outages.py`` interrupts MongoDB.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: a fork must not find threads

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import main as host  # noqa: E402
import run as training  # noqa: E402
from epymarl_lmac.checkpoint import INDEX  # noqa: E402
from epymarl_lmac.errors import UserError  # noqa: E402
from epymarl_lmac.record import files, metrics  # noqa: E402
from epymarl_lmac.record.files import write_json  # noqa: E402
from epymarl_lmac.record.metrics import PERF, Row, read_metrics  # noqa: E402
from epymarl_lmac.record.provenance import read_run  # noqa: E402
from epymarl_lmac.record.status import DEAD, FINISHED, status_of  # noqa: E402

SMALL = (
    "hidden_dim=8 batch_size=4 batch_size_run=4 buffer_size=40 test_nepisode=4 test_interval=100 runner_log_interval=0 "
    "learner_log_interval=0 log_interval=100 epsilon_anneal_time=200 updates_per_episode=0.25 use_cuda=False "
    "save_model_interval=40"
).split()
ANY, METRIC, FILE, TEST, UPDATE, EPISODES = "any time", "a metric", "a file", "a test", "an update", "episodes"
KINDS = (ANY, METRIC, FILE, TEST, UPDATE, EPISODES)


@dataclass(frozen=True)
class Life:
    """What an uninterrupted process did: the ranges from which moments are drawn."""

    seconds: float
    calls: Counter[str]  # how often each kind of moment came
    seconds_in: dict[str, float]  # spent in tests, updates and rounds of episodes


@dataclass(frozen=True)
class Moment:
    """When a process is killed."""

    kind: str
    nth: int  # which of the process's moments of this kind, from 1
    fraction: float  # how far into it, between 0 and 1


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


class Witness:
    """Counts the moments of this process and kills it in the one that was drawn.

    Args:
        moment: when, or None to count only.
        means_s: mean seconds that a test, an update and a round of episodes take.
    """

    def __init__(self, moment: Moment | None, means_s: dict[str, float]) -> None:
        self.calls: Counter[str] = Counter()
        self.seconds: dict[str, float] = {TEST: 0.0, UPDATE: 0.0, EPISODES: 0.0}
        self._moment, self._means_s = moment, means_s

    def _is_it(self, kind: str) -> bool:
        self.calls[kind] += 1
        moment = self._moment
        return moment is not None and moment.kind == kind and moment.nth == self.calls[kind]

    def install(self) -> None:
        """Wraps the places where moments come."""
        write, sync = os.write, os.fsync

        def write_metric(handle: int, data: bytes) -> int:
            if self._is_it(METRIC):
                write(handle, data[: int(len(data) * self._fraction())])
                _die()
            return write(handle, data)

        def sync_file(handle: int) -> None:
            if self._is_it(FILE):
                found = os.fstat(handle)
                if stat.S_ISREG(found.st_mode):
                    os.ftruncate(handle, int(found.st_size * self._fraction()))
                _die()
            sync(handle)

        metrics.os = _Replaced(os, write=write_metric)  # type: ignore[assignment]
        files.os = _Replaced(os, fsync=sync_file)  # type: ignore[assignment]
        signal.signal(signal.SIGALRM, lambda signum, frame: _die())
        build = training.Experiment.__init__

        def built(experiment: Any, *args: Any, **kwargs: Any) -> None:
            build(experiment, *args, **kwargs)
            play = experiment.runner.run
            rounds = {False: self._timed(EPISODES, play), True: self._timed(TEST, play)}
            experiment.runner.run = lambda test_mode=False: rounds[test_mode](test_mode=test_mode)
            experiment.learner.train = self._timed(UPDATE, experiment.learner.train)

        training.Experiment.__init__ = built  # type: ignore[method-assign, assignment]

    def _fraction(self) -> float:
        assert self._moment is not None
        return self._moment.fraction

    def _timed(self, kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the method with an alarm inside the call that was drawn."""

        def called(*args: Any, **kwargs: Any) -> Any:
            if self._is_it(kind):
                signal.setitimer(signal.ITIMER_REAL, max(1e-4, self._means_s[kind] * self._fraction()))
            began = time.monotonic()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds[kind] += time.monotonic() - began

        return called


class _Replaced:
    """A module of which some functions are others.

    Args:
        module: everything else is looked up there.
        functions: by name.
    """

    def __init__(self, module: Any, **functions: Callable[..., Any]) -> None:
        self._module = module
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def process(argv: Sequence[str], moment: Moment | None, life: Life) -> tuple[int, Life]:
    """Runs the host's command line in a fork of this process.

    Args:
        argv: of the host.
        moment: when it is killed, or None.
        life: what an uninterrupted process did.

    Returns:
        Its exit code (negative for a signal), and what it did; empty where it was killed.
    """
    means_s = {kind: life.seconds_in.get(kind, 0.0) / max(1, life.calls[kind]) for kind in (TEST, UPDATE, EPISODES)}
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        witness = Witness(moment, means_s)
        witness.install()
        code = _child(argv)
        os.write(writing, json.dumps([witness.calls, witness.seconds]).encode())
        os._exit(code)
    os.close(writing)
    if moment is not None and moment.kind == ANY:
        _kill_after(child, life.seconds * moment.fraction)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as file:
        told = file.read()
    calls, seconds = json.loads(told) if told else ({}, {})
    return os.waitstatus_to_exitcode(status), Life(time.monotonic() - began, Counter(calls), seconds)


def _child(argv: Sequence[str]) -> int:
    """Runs the host silently; returns its exit code."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        return host.execute(argv)
    except UserError:
        return 2


def _kill_after(child: int, seconds: float) -> None:
    """Kills a process after some time, unless it has ended by then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)


class Trial:
    """The runs of one setting, killed and whole.

    Args:
        options: of the command line.
        root: folder for the records.
    """

    def __init__(self, options: argparse.Namespace, root: Path) -> None:
        self._options, self._root = options, root
        self._rng = np.random.default_rng(options.seed)
        code, self.life = process(self._argv(root / "whole", None), None, Life(0.0, Counter(), {}))
        if code != 0:
            raise SystemExit(f"the uninterrupted run ended with exit code {code}")
        self.expected = _rows(_folders(root / "whole")[0])

    def _argv(self, results: Path, resume: Path | None) -> list[str]:
        o = self._options
        argv = ["--no-sacred", f"--config={o.alg}", f"--env-config={o.env}", "with", *SMALL, f"t_max={o.t_max}"]
        return [*argv, f"local_results_path={results}", *([f"checkpoint_path={resume}"] if resume else [])]

    def _draw(self, kind: str) -> Moment:
        nth = 1 + int(self._rng.integers(max(1, self.life.calls[kind])))
        return Moment(kind, nth, float(self._rng.uniform()))

    def run(self, name: str, kinds: list[str]) -> tuple[Counter[str], bool]:
        """Starts a run and kills it again and again until it ends.

        Args:
            name: of its folder.
            kinds: of the kills to make; those that were made are taken out.

        Returns:
            How often it was killed, by kind, and whether its record is that of the uninterrupted run.
        """
        results, killed = self._root / name, Counter[str]()
        while True:
            resumable = [folder for folder in _folders(results) if (folder / INDEX).exists()]
            moment = self._draw(kinds[0]) if kinds else None
            code, _ = process(self._argv(results, resumable[-1] if resumable else None), moment, self.life)
            if code == 0:
                return killed, self._is_right(results)
            if code != -signal.SIGKILL:
                states = [read_run(folder).get("error") for folder in _folders(results)]
                raise SystemExit(f"a resumed run ended with exit code {code}: {states}")
            killed[kinds.pop(0)] += 1

    def _is_right(self, results: Path) -> bool:
        folders = _folders(results)
        finished = [folder for folder in folders if status_of(folder) == FINISHED]
        ended = all(status_of(folder) in (FINISHED, DEAD) for folder in folders)
        return ended and len(finished) == 1 and _rows(finished[0]) == self.expected


def _folders(results: Path) -> list[Path]:
    return sorted(path.parent for path in results.glob("*/run.json"))


def _rows(folder: Path) -> list[Row]:
    return [row for row in read_metrics(folder) if not row.key.startswith(PERF)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--alg", default="iql")
    parser.add_argument("--env", default="lookout")
    parser.add_argument("--t-max", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        trial = Trial(options, Path(name))
        kinds = [KINDS[i % len(KINDS)] for i in range(options.kills)]
        killed: Counter[str] = Counter()
        n_runs = n_wrong = 0
        while kinds:
            made, right = trial.run(f"killed{n_runs}", kinds)
            killed += made
            n_runs, n_wrong = n_runs + 1, n_wrong + (not right)
            print(f"{killed.total()} kills after {time.monotonic() - began:.0f} s", flush=True)
    print(f"{killed.total()} kills in {n_runs} runs of {options.alg} on {options.env}, {options.t_max} steps")
    for kind in KINDS:
        print(f"  {killed[kind]:4} at {kind}" if kind == ANY else f"  {killed[kind]:4} inside {kind}")
    print(f"runs that differ from the uninterrupted one in any of its {len(trial.expected)} metrics: {n_wrong}")
    if options.json is not None:
        numbers = {"kills": killed.total(), "runs": n_runs, "runs_that_differ": n_wrong, "moments": dict(killed)}
        numbers |= {"alg": options.alg, "env": options.env, "t_max": options.t_max, "seed": options.seed}
        write_json(options.json, {**numbers, "metrics_compared": len(trial.expected), "life_s": trial.life.seconds})
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
