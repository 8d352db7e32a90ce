"""Stands for the host's command line: writes a record in no time, or does what its settings ask.

``label`` says how it behaves: ``crash`` ends with an error always, ``crash_once`` the first time only, ``slow`` goes on
until it is told to stop and then saves, ``halfway`` saves a checkpoint and goes on until it is killed. A run that is
resumed ends well.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

words = sys.argv[1:]
pairs = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("--"))
root = Path(pairs["local_results_path"])
settings = json.loads(os.environ["FAKE_SETTINGS"])[pairs["seed"]]
behaviour, t_max = settings["label"], int(pairs["t_max"])
resumed = pairs.get("checkpoint_path")
folder = Path(resumed) if resumed else root / f"run_seed{pairs['seed']}_{os.getpid()}_{os.environ['FAKE_ID']}"
folder.mkdir(parents=True, exist_ok=True)
lock = (folder / "lock").open("w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write(status, t_env):
    run = {"algorithm": settings["name"], "task": "lookout", "seed": settings["seed"], "status": status}
    run |= {
        "t_env": t_env,
        "settings": settings,
        "resumed": bool(resumed),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    (folder / "run.json.new").write_text(json.dumps(run))
    (folder / "run.json.new").replace(folder / "run.json")


def log(t_env):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"t_env": t_env, "key": "test_return_mean", "value": t_env / t_max}) + "\n")


def leave(*_):
    (folder / "checkpoint.json").write_text("{}")
    write("stopped", t_max // 2)
    sys.exit(143)


write("running", 0)
log(0)
if behaviour == "crash" or (behaviour == "crash_once" and not (root / "crashed").exists()):
    (root / "crashed").touch()
    print("the engine broke\nValueError: bad luck", flush=True)
    sys.exit(1)
if behaviour == "halfway":
    (folder / "checkpoint.json").write_text("{}")
    write("running", t_max // 2)
if behaviour in ("slow", "halfway") and not resumed:
    if behaviour == "slow":
        signal.signal(signal.SIGTERM, leave)
    log(t_max // 2)
    while True:
        time.sleep(0.05)
log(t_max)
write("finished", t_max)
