"""Sends run folders to MongoDB, and remembers on disk which are not there yet.

``UNSENT`` in a run's folder says that MongoDB may lack something of it. It is written before the first step and removed
when everything has arrived, so a run that was killed, or whose server was away, is still marked; the next run or
``epymarl-lmac sync`` sends it. Documents have fixed ids and are replaced whole: each is there exactly once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from epymarl_lmac.errors import RecordError, SettingsError
from epymarl_lmac.record.files import write_json
from epymarl_lmac.record.mongo_documents import SACRED_STATUS, artefacts, file_id, metric_documents, run_document
from epymarl_lmac.record.status import is_in_use

UNSENT = "mongo_unsent.json"
URL_VARIABLE = "EPYMARL_LMAC_MONGO_URL"
DATABASE = "epymarl_lmac"  # where the URL names none
HIDDEN = "//***@"  # stands for user and password where an address is shown
CONNECT_MS, ANSWER_MS = 3_000, 10_000


def without_password(url: str) -> str:
    """Returns a MongoDB address that may be shown."""
    return re.sub(r"//.*@", HIDDEN, url, flags=re.DOTALL)  # a password may hold / and @


class MongoTarget:
    """A MongoDB database that mirrors run folders.

    Args:
        url: ``mongodb://[user:password@]host[:port][/database]``.

    Raises:
        SettingsError: it is no such address; a server that is away raises nothing here.
        RecordError: pymongo is not installed.
    """

    def __init__(self, url: str) -> None:
        self.name = without_password(url)
        try:
            import gridfs
            import pymongo
        except ImportError as err:
            raise RecordError("MongoDB needs the package pymongo: pip install pymongo.") from err
        try:
            self._client: Any = pymongo.MongoClient(
                url,
                serverSelectionTimeoutMS=CONNECT_MS,
                connectTimeoutMS=CONNECT_MS,
                socketTimeoutMS=ANSWER_MS,
                connect=False,
                tz_aware=True,
            )
        except Exception as err:  # pymongo has many classes for a bad address, and its texts repeat it
            raise SettingsError(
                f"mongo_url {self.name} is no MongoDB address ({type(err).__name__}); "
                "write mongodb://[user:password@]host[:port][/database].",
                "mongo_url",
            ) from None
        self._db = self._client[urlsplit(url).path.strip("/") or DATABASE]
        self._files = gridfs.GridFS(self._db)
        self._sent: dict[str, int] = {}  # metric document -> number of values that have arrived

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def send(self, folder: Path, with_files: bool) -> int:
        """Brings the documents of one run up to date; returns how many the server refused.

        Args:
            folder: the run's folder.
            with_files: whether to store its files in GridFS too, for a run that has ended.

        Raises:
            Exception: the server is away; what was sent until then is there and may be sent again.
        """
        from pymongo.errors import DocumentTooLarge, WriteError

        metrics = metric_documents(folder)
        document = run_document(folder, metrics)
        refused = 0
        for collection, one in [("metrics", m) for m in metrics] + [("runs", document)]:
            if collection == "metrics" and self._sent.get(one["_id"]) == len(one["steps"]):
                continue
            try:
                self._db[collection].replace_one({"_id": one["_id"]}, one, upsert=True)
                if collection == "metrics":
                    self._sent[one["_id"]] = len(one["steps"])
            except (DocumentTooLarge, WriteError):
                refused += 1
        if with_files:
            self._send_files(folder)
        return refused

    def runs(self) -> list[tuple[dict[str, Any], str, str]]:
        """Returns the runs there: a part of what ``run.json`` has, the status, the run's folder.

        Raises:
            Exception: the server is away.
        """
        ours = {sacred: status for status, sacred in SACRED_STATUS.items()}
        found = []
        for document in self._db["runs"].find({"info.run_folder": {"$exists": True}}).sort("_id", 1):
            settings, info = document["config"], document["info"]
            steps = info.get("test_return_mean_T") or [0]
            run = {
                "algorithm": settings["name"],
                "task": info.get("task"),
                "seed": settings["seed"],
                "t_env": steps[-1],
            }
            run |= {"settings": settings, "end_metrics": {"test_return_mean": document.get("result")}}
            found.append((run, ours.get(document["status"], document["status"]), info["run_folder"]))
        return found

    def forget(self, folder: Path) -> None:
        """Sends all metrics of a run again next time, e.g. because it was resumed from an earlier step."""
        self._sent = {key: n for key, n in self._sent.items() if not key.startswith(f"{folder.name}/")}

    def _send_files(self, folder: Path) -> None:
        """Stores the artefacts that are not there yet; an upload that was cut off is replaced."""
        for name in artefacts(folder):
            identity = file_id(folder, name)
            if self._files.exists(identity):
                continue
            self._files.delete(identity)  # parts of an upload that was cut off
            self._files.put(
                (folder / name).read_bytes(), _id=identity, filename=f"artifact://runs/{folder.name}/{name}"
            )
        wanted = {file_id(folder, name) for name in artefacts(folder)}
        for old in self._db["fs.files"].find({"_id": {"$regex": f"^{re.escape(folder.name)}/"}}, {"_id": 1}):
            if old["_id"] not in wanted:
                self._files.delete(old["_id"])


def mark_unsent(folder: Path, target: str, reason: str) -> None:
    """Notes that MongoDB may lack something of a run; never holds a password."""
    write_json(folder / UNSENT, {"target": target, "reason": reason})


def unsent_folders(root: Path) -> Iterator[Path]:
    """Yields the folders of runs that are not in MongoDB yet and not in progress, as far as their locks tell."""
    for path in sorted(root.glob(f"*/{UNSENT}")):
        try:
            in_use = is_in_use(path.parent)
        except RecordError:
            continue
        if not in_use:
            yield path.parent


def send_whole(target: MongoTarget, folder: Path) -> int:
    """Sends a run that has ended and takes its mark away; returns how many documents the server refused.

    A run with refused documents keeps its mark, with the number in it.
    """
    target.forget(folder)
    refused = target.send(folder, with_files=True)
    if refused:
        mark_unsent(folder, target.name, f"the server refused {refused} documents")
    else:
        (folder / UNSENT).unlink(missing_ok=True)
    return refused


def sync(target: MongoTarget, root: Path, say: Callable[[str], None], every: bool = False) -> tuple[int, int]:
    """Sends what MongoDB lacks.

    Args:
        target: the database.
        root: folder of runs.
        say: shows one line.
        every: send all runs under ``root``, not only those marked.

    Returns:
        Runs that arrived whole, and runs that did not because of their own content.

    Raises:
        Exception: the server is away.
    """
    folders = [path.parent for path in sorted(root.glob("*/run.json" if every else f"*/{UNSENT}"))]
    arrived = lacking = 0
    for folder in folders:
        try:
            if is_in_use(folder):
                continue
            refused = send_whole(target, folder)
        except RecordError as err:
            say(f"{folder.name}: not sent: {err}")
            lacking += 1
            continue
        say(f"{folder.name}: sent" + (f", {refused} documents refused by the server" if refused else ""))
        arrived, lacking = (arrived, lacking + 1) if refused else (arrived + 1, lacking)
    return arrived, lacking
