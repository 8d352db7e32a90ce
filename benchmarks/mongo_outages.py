"""Cuts a run's MongoDB again and again, and compares record and time with the same run without MongoDB.

    python benchmarks/mongo_outages.py --outages 20 --repeats 3 --json outages.json

Starts its own server (SecantusDB, as the tests do) and a proxy before it that resets all connections and, every other
time, refuses new ones for a moment. Afterwards what is still marked unsent is sent, and every document is compared with
the run's folder. Ends with 1 if a document is lost or doubled.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

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
    "log_interval=100000 updates_per_episode=0.25"
).split()


def _command(options: argparse.Namespace, results: Path, port: int | None) -> list[str]:
    mirror = [] if port is None else ["-m", f"mongodb://127.0.0.1:{port}/{DATABASE}"]
    argv = ["--no-sacred", *mirror, f"--config={options.alg}", f"--env-config={options.env}", "with", *SETTINGS]
    every = [f"{kind}_log_interval={options.metrics_every}" for kind in ("runner", "learner")]
    return host_command([*argv, *every, f"t_max={options.t_max}"], results, None)


def _folder(results: Path) -> Path | None:
    return next((path.parent for path in results.glob("*/run.json")), None)


def _cpu_s() -> float:
    """Returns the processor time of all processes that this one has waited for, seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Played(NamedTuple):
    """One run."""

    folder: Path
    outages: int
    wall_s: float  # as the run itself recorded it
    cpu_s: float  # of its process


def _run(options: argparse.Namespace, results: Path, proxy: TcpProxy | None) -> Played:
    """Runs once, with outages where there is a proxy."""
    before = _cpu_s()
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
    return Played(folder, outages, float(read_run(folder)["wall_s"]), _cpu_s() - before)


def _mirrored(options: argparse.Namespace, root: Path, port: int) -> tuple[Played, dict[str, int]]:
    """Runs once with outages, sends what is left, and counts documents; the database is emptied afterwards."""
    proxy = TcpProxy(port)
    played = _run(options, root / "mirrored", proxy)
    left = (played.folder / UNSENT).exists()
    if left:
        target = MongoTarget(f"mongodb://127.0.0.1:{proxy.port}/{DATABASE}")
        sync(target, played.folder.parent, print)
        target.close()
    client: Any = pymongo.MongoClient("127.0.0.1", port)
    wanted, lost, doubled = _compare(client[DATABASE], played.folder)
    client.drop_database(DATABASE)
    client.close()
    proxy.close()
    return played, {"documents": wanted, "lost": lost, "doubled": doubled, "left_for_sync": int(left)}


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
    parser.add_argument(
        "--metrics-every", type=int, default=0, help="steps between records of a metric; 0: every round"
    )
    parser.add_argument("--repeats", type=int, default=1, help="pairs of runs; times are medians over them")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    pairs: list[tuple[Played, Played]] = []
    counts: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory() as name, mongo_server() as (_, port):
        for number in range(options.repeats):
            root = Path(name) / str(number)
            if number % 2 == 0:  # which of the two comes first changes, so that a slow drift of the machine cancels
                alone = _run(options, root / "alone", None)
                mirrored, found = _mirrored(options, root, port)
            else:
                mirrored, found = _mirrored(options, root, port)
                alone = _run(options, root / "alone", None)
            pairs.append((alone, mirrored))
            counts.append(found)
            print(f"pair {number}: {mirrored.outages} outages, {found}", flush=True)
    outages = sum(mirrored.outages for _, mirrored in pairs)
    total = {key: sum(one[key] for one in counts) for key in counts[0]}
    wall, wall_alone = (statistics.median(pair[i].wall_s for pair in pairs) for i in (1, 0))
    cpu, cpu_alone = (statistics.median(pair[i].cpu_s for pair in pairs) for i in (1, 0))
    print(f"{outages} outages in {len(pairs)} run(s) of {options.alg} on {options.env}, {options.t_max} steps")
    print(
        f"documents: {total['documents']}, lost {total['lost']}, doubled {total['doubled']}; runs that left some for "
        f"sync: {total['left_for_sync']}"
    )
    print(f"time of the run: {wall:.1f} s, {wall_alone:.1f} s without MongoDB ({wall / wall_alone - 1:+.1%})")
    print(f"processor time: {cpu:.1f} s, {cpu_alone:.1f} s without MongoDB ({cpu / cpu_alone - 1:+.1%})")
    if options.json is not None:
        numbers = {"outages": outages, "repeats": options.repeats, **total, "pause_s": options.pause_s}
        numbers |= {
            "alg": options.alg,
            "env": options.env,
            "t_max": options.t_max,
            "metrics_every": options.metrics_every,
        }
        numbers |= {"wall_s": [pair[1].wall_s for pair in pairs], "wall_s_without": [pair[0].wall_s for pair in pairs]}
        numbers |= {"cpu_s": [pair[1].cpu_s for pair in pairs], "cpu_s_without": [pair[0].cpu_s for pair in pairs]}
        write_json(options.json, numbers)
    return 1 if total["lost"] or total["doubled"] else 0


if __name__ == "__main__":
    sys.exit(main())
