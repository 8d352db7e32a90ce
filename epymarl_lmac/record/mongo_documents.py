"""What a run looks like in MongoDB: Sacred's documents, made from the run's folder.

The folder is the record, MongoDB a mirror of it: every document here follows from the folder and has an ``_id`` that
follows from the folder's name. Sending a document twice therefore changes nothing, and a missing document can be made
again at any time.

Collections and fields are those of Sacred's ``MongoObserver`` (0.8): ``runs`` with ``info.metrics``, ``metrics`` with
``steps``, ``values`` and ``timestamps``, artefacts in GridFS. ``info`` has every metric under EPyMARL's names too, as
Omniboard and EPyMARL's plot scripts expect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from epymarl_lmac.record.identity import rules_of
from epymarl_lmac.record.metrics import FILE_NAME as METRICS_FILE
from epymarl_lmac.record.metrics import PERF, read_timed_metrics
from epymarl_lmac.record.provenance import FILE_NAME, read_run
from epymarl_lmac.record.status import DEAD, FAILED, FINISHED, RUNNING, STOPPED, status_of

SACRED_STATUS = {
    RUNNING: "RUNNING",
    FINISHED: "COMPLETED",
    STOPPED: "INTERRUPTED",
    FAILED: "FAILED",
    DEAD: "DIED",
}
ARTEFACTS = (FILE_NAME, METRICS_FILE)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(timezone.utc) if text else None


def metric_documents(folder: Path) -> list[dict[str, Any]]:
    """Returns Sacred's metric documents of a run, one a metric; speeds of the machine stay out."""
    found: dict[str, dict[str, Any]] = {}
    if not (folder / METRICS_FILE).exists():  # killed before its first metric
        return []
    for row, time in read_timed_metrics(folder):
        if row.key.startswith(PERF):
            continue
        empty = {
            "_id": f"{folder.name}/{row.key}",
            "run_id": folder.name,
            "name": row.key,
            "steps": [],
            "values": [],
            "timestamps": [],
        }
        document = found.setdefault(row.key, empty)
        document["steps"].append(row.t_env)
        document["values"].append(row.value)
        document["timestamps"].append(datetime.fromtimestamp(time or 0.0, timezone.utc))
    return list(found.values())


def run_document(folder: Path, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns Sacred's run document.

    Args:
        folder: the run's folder.
        metrics: its metric documents.
    """
    run = read_run(folder)
    attempts = run.get("attempts") or [{}]
    info: dict[str, Any] = {
        "metrics": [{"name": one["name"], "id": one["_id"]} for one in metrics],
        "run_folder": str(folder),
        **{key: run.get(key) for key in ("task", "run_id", "settings_hash", "update_ratio", "git")},
        "environment_rules": rules_of(run),
    }
    for one in metrics:  # EPyMARL's names
        info[_field(one["name"])] = one["values"]
        info[_field(f"{one['name']}_T")] = one["steps"]
    document = {
        "_id": folder.name,
        "format": "MongoObserver-0.7.0",
        "command": "train",
        "status": SACRED_STATUS[status_of(folder, run)],
        "config": _storable(run["settings"]),
        "info": _storable(info),
        "experiment": {"name": run["algorithm"], "dependencies": [], "sources": [], "base_dir": ""},
        "host": {**(run.get("machine") or {}), "hostname": attempts[-1].get("host")},
        "meta": {"comment": run["settings"].get("label", "")},
        "start_time": _time(attempts[0].get("started")),
        "stop_time": _time(run.get("ended")),
        "result": (run.get("end_metrics") or {}).get("test_return_mean"),
        "artifacts": [{"name": name, "file_id": file_id(folder, name)} for name in artefacts(folder)],
        "captured_out": "",
        "resources": [],
    }
    if run.get("error"):
        document["fail_trace"] = run["error"]
    return document


def artefacts(folder: Path) -> list[str]:
    """Returns the names of a run's files that go to GridFS; a run that was killed early may lack some.

    These are the record, the protocol bundle and, with ``mongo_networks``, the networks of every saved step.
    """
    names = [name for name in ARTEFACTS if (folder / name).exists()]
    patterns = ["protocol/*"]
    if FILE_NAME in names and read_run(folder)["settings"].get("mongo_networks"):
        patterns.append("networks-*.pt")
    found = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return names + [path.relative_to(folder).as_posix() for path in found]


def file_id(folder: Path, name: str) -> str:
    """Returns the GridFS id of an artefact's present content; other content has another id."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16]
    return f"{folder.name}/{name}/{digest}"


def _field(name: str) -> str:
    """Returns a name that MongoDB takes as a field: without dots and leading dollars."""
    return name.replace(".", "_").removeprefix("$")


def _storable(value: Any) -> Any:
    """Returns plain containers with names that MongoDB takes; other types become text."""
    if isinstance(value, Mapping):
        return {_field(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str, datetime)) else str(value)
