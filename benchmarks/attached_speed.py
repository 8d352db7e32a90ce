"""Training speed of ``qmix`` on one task: the host's own, ours attached to it, ours embedded.

    python benchmarks/attached_speed.py [--epymarl PATH] [--pymarl2 PATH] [--episodes 200]

Every row is one process on one thread: recurrent agents of 64 units, batches of 32 episodes, one update an episode,
LBF with two players and two foods, 25 steps, full exploration (so no episode ends early because agents got better). It
plays and learns as the host does; testing and saving are off. ``gymma`` is EPyMARL's environment around the
``lbforaging`` package, ``lbf`` ours. Seconds are CPU seconds of the
process, from the 17th update on: other work on the machine hardly changes them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "lmac-"
BATCH = 32
SAME = ["use_cuda=False", "test_nepisode=1", "test_interval=100000000", "epsilon_start=1.0", "epsilon_finish=1.0"]
SAME += ["epsilon_anneal_time=1000000", "t_max=100000000", "save_model=False", "log_interval=100000000"]
EPISODE = ["runner=episode", "batch_size_run=1", f"batch_size={BATCH}", "buffer_size=5000"]
RECURRENT = ["use_rnn=True", "obs_last_action=True"]
# PyMARL2's qmix.yaml is another method (TD(lambda)); with these values it is the one of ours.
PLAIN_QMIX = {"learner": "q_learner", "mac": "basic_mac", "agent": "rnn", "hypernet_layers": 2, "double_q": True}
PLAIN_QMIX |= {"lr": 0.0005, "name": "plain_qmix"}
GYMMA = ["gymma", "env_args.key=lbforaging:Foraging-8x8-2p-2f-coop-v3", "env_args.time_limit=25"]

# (row, host or "", algorithm, environment and its settings, further settings)
ROWS: list[tuple[str, str, str, list[str], list[str]]] = [
    ("EPyMARL's own, gymma", "epymarl", "qmix", GYMMA, RECURRENT),
    ("ours attached to EPyMARL, gymma", "epymarl", f"{PREFIX}qmix", GYMMA, []),
    ("EPyMARL's own, lbf", "epymarl", "qmix", ["lbf"], RECURRENT),
    ("ours attached to EPyMARL, lbf", "epymarl", f"{PREFIX}qmix", ["lbf"], []),
    ("PyMARL2's own q_learner, lbf", "pymarl2", "plain_qmix", ["lbf"], []),
    ("ours attached to PyMARL2, lbf", "pymarl2", f"{PREFIX}qmix", ["lbf"], []),
    ("ours embedded, lbf, one copy", "", "qmix", ["lbf"], []),
    ("ours embedded, lbf, 16 copies (default)", "", "qmix", ["lbf"], []),
]


class Meter:
    """Counts episodes and updates from the first update on and stops the run after enough of them."""

    def __init__(self, updates: int) -> None:
        self.wanted, self.updates, self.update_s = updates, 0, 0.0
        self.started = 0.0
        self.first_t = 0

    def around(self, train: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a learner's ``train`` that is measured."""

        def measured(batch: Any, t_env: int, episode: int) -> Any:
            start = time.process_time()
            if self.updates == self.warm:
                self.started, self.first_t, self.update_s = start, t_env, 0.0
            if self.updates == self.warm + self.wanted:
                seconds = start - self.started
                self.report((t_env - self.first_t) / seconds, self.update_s / self.wanted)
            result = train(batch, t_env, episode)
            self.updates += 1
            self.update_s += time.process_time() - start
            return result

        return measured

    warm = 16

    def report(self, steps_per_s: float, update_s: float) -> None:
        """Prints the figures and leaves at once: hosts have no way to be stopped."""
        print("MEASURED " + json.dumps({"steps_per_s": steps_per_s, "update_ms": 1000 * update_s}), flush=True)
        os._exit(0)


def measure_host(main: Path, updates: int) -> None:
    """Runs a host's ``main.py`` in this process with its learners measured."""
    import runpy

    sys.path.insert(0, str(main.parent))
    from epymarl_lmac.plugin import activate

    activate(main)
    import learners

    meter = Meter(updates)

    def measured(entry: Callable[..., Any]) -> Callable[..., Any]:
        def make(*arguments: Any) -> Any:
            learner = entry(*arguments)
            learner.train = meter.around(learner.train)
            return learner

        return make

    for name in list(learners.REGISTRY):
        learners.REGISTRY[name] = measured(learners.REGISTRY[name])
    from sacred import SETTINGS

    import epymarl_lmac.plugin as plugin

    plugin.activate = lambda main_file: None  # done above; main.py would find the measured entries
    SETTINGS["CAPTURE_MODE"] = "no"
    SETTINGS.__class__.__setitem__ = lambda self, key, value: None  # main.py would capture what is printed here
    sys.argv = [str(main), *sys.argv[2:]]
    runpy.run_path(str(main), run_name="__main__")


def measure_embedded(copies: int, updates: int, words: list[str]) -> None:
    """Runs the embedded host's loop, measured in the same way."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from epymarl_lmac.settings import load_settings
    from run import Experiment
    from utils.logging import Logger, get_logger

    experiment = Experiment(load_settings("qmix", "lbf", [*words, f"batch_size_run={copies}"]), Logger(get_logger()))
    experiment.learner.train = Meter(updates).around(experiment.learner.train)
    while True:
        experiment.advance()


def run_row(host: str, alg: str, env: list[str], words: list[str], checkout: Path | None, options: Any) -> dict:
    """Returns a row's figures, from a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    job: dict[str, Any] = {"updates": options.episodes}
    command = [sys.executable, __file__]
    if checkout is None:
        job |= {"copies": 16 if words else 1, "words": SAME}
        command += [json.dumps(job)]
    else:
        job |= {"main": str(checkout / "src" / "main.py")}
        command += [json.dumps(job), f"--config={alg}", f"--env-config={env[0]}", "with", *env[1:], *words]
        command += [*SAME, *EPISODE]
    cwd = ROOT if checkout is None else checkout
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("MEASURED")]
    if not lines:
        raise RuntimeError(f"{alg} on {env[0]} did not finish:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    return json.loads(lines[0][9:])


def main() -> None:
    """Prints the table."""
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        job = json.loads(sys.argv[1])
        if "main" in job:
            sys.path.insert(0, str(ROOT))
            measure_host(Path(job["main"]), job["updates"])
        else:
            measure_embedded(job["copies"], job["updates"], job["words"])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epymarl", type=Path, default=os.environ.get("EPYMARL_HOME"))
    parser.add_argument("--pymarl2", type=Path, default=os.environ.get("PYMARL2_HOME"))
    parser.add_argument("--episodes", type=int, default=200, help="episodes (and updates) that are measured")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from epymarl_lmac.plugin.attach import plan_attach

    print(f"qmix, one thread, batch {BATCH}, one update an episode, {options.episodes} episodes")
    print("| qmix | steps/s | ms an update |")
    print("| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for row, host, alg, env, words in ROWS:
            given = getattr(options, host) if host else None
            if host and not given:
                continue
            checkout = Path(folder) / host if host else None
            if checkout is not None and given is not None and not checkout.exists():
                shutil.copytree(Path(given) / "src", checkout / "src")
                plan_attach(checkout, PREFIX).carry_out()
                algs = checkout / "src" / "config" / "algs"
                plain = {**yaml.safe_load((algs / "qmix.yaml").read_text()), **PLAIN_QMIX}
                (algs / "plain_qmix.yaml").write_text(yaml.safe_dump(plain))
            figures = run_row(host, alg, env, ["16"] if "16" in row else words, checkout, options)
            print(f"| {row} | {figures['steps_per_s']:.0f} | {figures['update_ms']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
