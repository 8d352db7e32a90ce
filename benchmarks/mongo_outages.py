"""Cuts a run's MongoDB again and again, and compares record and time with the same run without MongoDB.

    python benchmarks/mongo_outages.py --outages 20 --json outages.json

Starts its own server (SecantusDB, as the tests do) and a proxy before it that resets all connections and, every other
time, refuses new ones for a moment. Afterwards what is still marked unsent is sent, and every document is compared with
the run's folder. Ends with 1 if a document is lost or doubled.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "record"))

import pymongo
from mongo_server import mongo_server
from tcp_proxy import TcpProxy

from epymarl_lmac.compare.process import host_command
from epymarl_lmac.record.files import write_json
from epymarl_lmac.record.mongo import UNSENT, MongoTarget, sync
from epymarl_lmac.record.mongo_documents import artefacts, metric_documents
from epymarl_lmac.record.provenance import read_run

DATABASE = "outages"
SETTINGS = (
    "hidden_dim=8 batch_size=4 batch_size_run=4 buffer_size=200 test_nepisode=4 test_interval=2000 use_cuda=False "
    "runner_log_interval=0 learner_log_interval=0 log_interval=100000 updates_per_episode=0.25"
).split()


def _command(options: argparse.Namespace, results: Path, port: int | None) -> list[str]:
    mirror = [] if port is None else ["-m", f"mongodb://127.0.0.1:{port}/{DATABASE}"]
    argv = ["--no-sacred", *mirror, f"--config={options.alg}", f"--env-config={options.env}", "with", *SETTINGS]
    return host_command([*argv, f"t_max={options.t_max}"], results, None)


def _folder(results: Path) -> Path | None:
    return next((path.parent for path in results.glob("*/run.json")), None)


def _run(options: argparse.Namespace, results: Path, proxy: TcpProxy | None) -> tuple[Path, int]:
    """Runs once, with outages where there is a proxy; returns the run's folder and the number of outages."""
    command = _command(options, results, None if proxy is None else proxy.port)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    outages = 0
    while process.poll() is None:
        time.sleep(options.pause_s)
        if proxy is not None and outages < options.outages and _folder(results) is not None:
            proxy.cut(refuse=outages % 2 == 0)
            time.sleep(options.pause_s)
            proxy.restore()
            outages += 1
    folder = _folder(results)
    if process.returncode or folder is None:
        raise SystemExit(f"the run ended with exit code {process.returncode}")
    return folder, outages


def _compare(database: Any, folder: Path) -> tuple[int, int, int]:
    """Returns how many documents the folder stands for, how many MongoDB lacks, and how many it has too many."""
    wanted = {("metrics", one["_id"], tuple(one["steps"]), tuple(one["values"])) for one in metric_documents(folder)}
    stored = [("metrics", one["_id"], tuple(one["steps"]), tuple(one["values"])) for one in database["metrics"].find()]
    wanted |= {("file", f"artifact://runs/{folder.name}/{name}", (), ()) for name in artefacts(folder)}
    stored += [("file", one["filename"], (), ()) for one in database["fs.files"].find()]
    wanted.add(("run", folder.name, (), ()))
    stored += [("run", one["_id"], (), ()) for one in database["runs"].find()]
    return len(wanted), len(wanted - set(stored)), len(stored) - len(wanted & set(stored))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outages", type=int, default=20)
    parser.add_argument("--pause-s", type=float, default=0.5, help="of an outage, and between two")
    parser.add_argument("--alg", default="iql")
    parser.add_argument("--env", default="lookout")
    parser.add_argument("--t-max", type=int, default=20_000)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, mongo_server() as (_, port):
        alone, _ = _run(options, Path(name) / "alone", None)
        proxy = TcpProxy(port)
        folder, outages = _run(options, Path(name) / "mirrored", proxy)
        left = (folder / UNSENT).exists()
        if left:
            target = MongoTarget(f"mongodb://127.0.0.1:{proxy.port}/{DATABASE}")
            sync(target, folder.parent, print)
            target.close()
        wanted, lost, doubled = _compare(pymongo.MongoClient("127.0.0.1", port)[DATABASE], folder)
        proxy.close()
        times = [float(read_run(one)["wall_s"]) for one in (alone, folder)]
    print(f"{outages} outages in a run of {options.alg} on {options.env}, {options.t_max} steps")
    print(f"documents: {wanted}, lost {lost}, doubled {doubled}; left for sync at the end: {left}")
    print(f"time of the run: {times[1]:.1f} s, {times[0]:.1f} s without MongoDB ({times[1] / times[0] - 1:+.1%})")
    if options.json is not None:
        numbers = {"outages": outages, "documents": wanted, "lost": lost, "doubled": doubled, "left_for_sync": left}
        numbers |= {"alg": options.alg, "env": options.env, "t_max": options.t_max, "pause_s": options.pause_s}
        write_json(options.json, {**numbers, "wall_s": times[1], "wall_s_without": times[0]})
    return 1 if lost or doubled else 0


if __name__ == "__main__":
    sys.exit(main())
