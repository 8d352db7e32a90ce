"""MongoDB mirrors the record: every document exactly once, whatever the server does, and never at a run's cost."""

import json
import time
import uuid
from pathlib import Path

import pymongo
import pytest
from mongo_server import mongo_server
from tcp_proxy import TcpProxy

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.record import mongo, mongo_sink
from epymarl_lmac.record.metrics import MetricsWriter
from epymarl_lmac.record.mongo import UNSENT, MongoTarget, sync, without_password
from epymarl_lmac.record.mongo_documents import metric_documents, run_document
from epymarl_lmac.record.mongo_sink import MongoSink
from epymarl_lmac.record.status import FINISHED, RunStatus


@pytest.fixture(scope="module")
def server():
    with mongo_server() as address:
        yield address


@pytest.fixture
def proxy(server):
    made = TcpProxy(server[1])
    yield made
    made.close()


@pytest.fixture
def database(server):
    name = f"test_{uuid.uuid4().hex[:12]}"
    client = pymongo.MongoClient(*server)
    yield client[name]
    client.drop_database(name)
    client.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(mongo, "CONNECT_MS", 500)
    monkeypatch.setattr(mongo, "ANSWER_MS", 2000)


class FakeRun:
    """A run without training: its folder, its metrics and its end."""

    def __init__(self, root: Path, name="run") -> None:
        self.folder = root / name
        self.folder.mkdir()
        settings = {"name": "qmix", "seed": 1, "label": "", "env_args": {"map.name": "x"}}
        content = {"algorithm": "qmix", "task": "lookout", "seed": 1, "settings": settings}
        self.status = RunStatus(self.folder, content)
        self.metrics = MetricsWriter(self.folder)
        self.said: list[str] = []

    def log(self, n: int, start=0) -> None:
        for step in range(start, start + n):
            self.metrics.write("test_return_mean", step / 10, step)
            self.metrics.write("perf/steps_per_s", 5.0, step)

    def end(self) -> None:
        self.metrics.close()
        self.status.end(FINISHED, 10, {"test_return_mean": 1.0})

    def sink(self, database, port: int, period_s=0.02) -> MongoSink:
        return MongoSink(target(database, port), self.folder, self.said.append, period_s)


def target(database, port: int) -> MongoTarget:
    return MongoTarget(f"mongodb://127.0.0.1:{port}/{database.name}")


def eventually(claim) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if claim():
            return True
        time.sleep(0.05)
    return False


def is_whole(database, folder: Path) -> bool:
    """Whether MongoDB has exactly what the folder says: each document once, with its files."""
    metrics = metric_documents(folder)
    stored = list(database["metrics"].find({"run_id": folder.name}))
    (run,) = database["runs"].find({"_id": folder.name})
    files = {one["filename"] for one in database["fs.files"].find()}
    same = sorted((one["name"], one["steps"], one["values"]) for one in stored)
    assert same == sorted((one["name"], one["steps"], one["values"]) for one in metrics)
    assert run["info"] == json.loads(json.dumps(run_document(folder, metrics)["info"]))
    assert all(f"artifact://runs/{folder.name}/{name}" in files for name in ("run.json", "metrics.jsonl"))
    return not (folder / UNSENT).exists()


def test_documents_have_sacreds_and_epymarls_form(tmp_path):
    run = FakeRun(tmp_path)
    run.log(2)
    run.end()
    (metric,) = metric_documents(run.folder)
    assert (metric["name"], metric["steps"], metric["values"]) == ("test_return_mean", [0, 1], [0.0, 0.1])
    assert len(metric["timestamps"]) == 2
    document = run_document(run.folder, [metric])
    assert document["status"] == "COMPLETED" and document["result"] == 1.0
    assert document["info"]["metrics"] == [{"name": "test_return_mean", "id": metric["_id"]}]
    assert document["info"]["test_return_mean_T"] == [0, 1]
    assert document["config"]["env_args"] == {"map_name": "x"}


def test_a_run_arrives_whole_and_sending_again_changes_nothing(tmp_path, server, database):
    run = FakeRun(tmp_path)
    sink = run.sink(database, server[1])
    run.log(3)
    sink.write("a", 0.0, 0)
    run.end()
    sink.close()
    assert is_whole(database, run.folder) and run.said == []
    again = target(database, server[1])
    assert sync(again, tmp_path, run.said.append, every=True) == (1, 0)
    again.close()
    assert is_whole(database, run.folder) and database["fs.files"].count_documents({}) == 2


def test_the_bundle_always_and_networks_on_request_go_to_gridfs(tmp_path, server, database):
    run = FakeRun(tmp_path)
    (run.folder / "protocol").mkdir()
    (run.folder / "protocol" / "k0.py").write_text("import torch")
    (run.folder / "networks-100.pt").write_bytes(b"weights")
    run.end()
    stored = []
    for asked in (False, True):
        content = json.loads((run.folder / "run.json").read_text())
        content["settings"]["mongo_networks"] = asked
        (run.folder / "run.json").write_text(json.dumps(content))
        to = target(database, server[1])
        to.send(run.folder, with_files=True)
        to.close()
        stored.append({one["filename"].removeprefix("artifact://runs/run/") for one in database["fs.files"].find()})
    assert stored[0] == {"run.json", "metrics.jsonl", "protocol/k0.py"}
    assert stored[1] == stored[0] | {"networks-100.pt"}


def test_a_run_without_a_metric_yet_arrives_without_a_warning(tmp_path, server, database):
    run = FakeRun(tmp_path)
    (run.folder / "metrics.jsonl").unlink()
    sink = run.sink(database, server[1])
    assert eventually(lambda: database["runs"].count_documents({"_id": "run"}) == 1)
    sink.close()
    assert run.said == [] and not (run.folder / UNSENT).exists()
    assert database["fs.files"].count_documents({}) == 1


def test_metrics_arrive_while_the_run_goes_on(tmp_path, server, database):
    run = FakeRun(tmp_path)
    sink = run.sink(database, server[1])
    run.log(3)
    sink.write("a", 0.0, 0)
    assert eventually(lambda: database["metrics"].count_documents({"steps": [0, 1, 2]}) == 1)
    assert eventually(lambda: database["runs"].find_one() is not None)  # it may arrive after the metrics
    assert database["runs"].find_one()["status"] in ("RUNNING", "DIED")  # nobody holds the lock of a fake run
    assert (run.folder / UNSENT).exists()
    run.end()
    sink.close()


def test_a_server_that_is_away_costs_two_warnings_and_the_next_sync_sends_all(tmp_path, proxy, database):
    proxy.cut(refuse=True)
    run = FakeRun(tmp_path)
    sink = run.sink(database, proxy.port)
    run.log(5)
    sink.write("a", 0.0, 0)
    assert eventually(lambda: run.said)
    run.end()
    sink.close()
    assert len(run.said) == 2 and "goes on" in run.said[0] and "epymarl-lmac sync" in run.said[1]
    assert (run.folder / UNSENT).exists()
    proxy.restore()
    later = target(database, proxy.port)
    assert sync(later, tmp_path, run.said.append) == (1, 0)
    later.close()
    assert is_whole(database, run.folder)


def test_twenty_outages_lose_and_double_nothing(tmp_path, proxy, database):
    run = FakeRun(tmp_path)
    sink = run.sink(database, proxy.port)
    for outage in range(20):
        run.log(5, start=5 * outage)
        sink.write("a", 0.0, 0)
        proxy.cut(refuse=outage % 2 == 0)
        time.sleep(0.03)
        proxy.restore()
    run.end()
    sink.close()
    if (run.folder / UNSENT).exists():
        later = target(database, proxy.port)
        sync(later, tmp_path, run.said.append)
        later.close()
    assert is_whole(database, run.folder)
    (metric,) = database["metrics"].find()
    assert metric["steps"] == list(range(100))


def test_a_slow_server_does_not_hold_up_the_end(tmp_path, proxy, database, monkeypatch):
    monkeypatch.setattr(mongo_sink, "END_S", 0.5)
    run = FakeRun(tmp_path)
    proxy.delay_s = 1.5
    sink = run.sink(database, proxy.port)
    run.log(2)
    run.end()
    started = time.monotonic()
    sink.close()
    assert time.monotonic() - started < 10
    assert "lacks some of this run" in run.said[-1] and (run.folder / UNSENT).exists()


def test_a_server_that_falls_silent_costs_the_end_ten_seconds_in_all(tmp_path, proxy, database, monkeypatch):
    monkeypatch.setattr(mongo, "ANSWER_MS", 10_000)
    for name in ("earlier", "earliest"):  # they would be sent too, one after the other
        mongo.mark_unsent(FakeRun(tmp_path, name).folder, "x", "killed")
    run = FakeRun(tmp_path)
    sink = run.sink(database, proxy.port)
    run.log(3)
    sink.write("a", 0.0, 0)
    assert eventually(lambda: database["metrics"].count_documents({"steps": [0, 1, 2]}) == 1)
    proxy.delay_s = 3600.0
    run.log(3, start=4)
    run.end()
    started = time.monotonic()
    sink.close()
    assert time.monotonic() - started < 10
    assert "lacks some of this run" in run.said[-1] and (run.folder / UNSENT).exists()
    assert all((tmp_path / name / UNSENT).exists() for name in ("earlier", "earliest"))


def test_the_next_run_sends_what_an_earlier_one_could_not(tmp_path, server, database):
    earlier = FakeRun(tmp_path, "earlier")
    earlier.log(2)
    mongo.mark_unsent(earlier.folder, "x", "killed")
    run = FakeRun(tmp_path, "later")
    sink = run.sink(database, server[1])
    run.log(1)
    run.end()
    sink.close()
    assert is_whole(database, earlier.folder) and is_whole(database, run.folder)
    assert database["runs"].find_one({"_id": "earlier"})["status"] == "DIED"


def test_a_refused_document_keeps_the_mark_and_the_others_arrive(tmp_path, server, database, monkeypatch):
    run = FakeRun(tmp_path)
    run.log(1)
    run.metrics.write("loss", 1.0, 1)
    run.end()
    made = target(database, server[1])
    real = pymongo.collection.Collection.replace_one

    def refuse(self, where, document, **options):
        if document.get("name") == "loss":
            raise pymongo.errors.WriteError("too odd")
        return real(self, where, document, **options)

    monkeypatch.setattr(pymongo.collection.Collection, "replace_one", refuse)
    mongo.mark_unsent(run.folder, "x", "not sent")
    assert sync(made, tmp_path, run.said.append) == (0, 1)
    assert "refused 1 documents" in (run.folder / UNSENT).read_text()
    assert database["metrics"].count_documents({}) == 1 and database["runs"].count_documents({}) == 1
    made.close()


def test_an_upload_that_was_cut_off_is_replaced(tmp_path, server, database):
    run = FakeRun(tmp_path)
    run.log(1)
    run.end()
    from epymarl_lmac.record.mongo_documents import file_id

    identity = file_id(run.folder, "metrics.jsonl")
    database["fs.chunks"].insert_one({"files_id": identity, "n": 0, "data": b"half"})
    made = target(database, server[1])
    sync(made, tmp_path, run.said.append, every=True)
    made.close()
    assert database["fs.chunks"].count_documents({"files_id": identity}) == 1
    assert is_whole(database, run.folder)


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path, server, database):
    run = FakeRun(tmp_path)
    run.log(4)
    run.end()
    made = target(database, server[1])
    sync(made, tmp_path, run.said.append, every=True)
    run.metrics = MetricsWriter(run.folder, resume_after=2)
    run.log(1, start=9)
    run.end()
    sync(made, tmp_path, run.said.append, every=True)
    made.close()
    assert is_whole(database, run.folder)
    assert database["metrics"].find_one()["steps"] == [0, 9]


def test_passwords_are_never_shown(tmp_path, server, database):
    url = "mongodb://me:secret@127.0.0.1:1/x"
    assert without_password(url) == "mongodb://***@127.0.0.1:1/x"
    assert without_password("mongodb://me:se@cret@host/x") == "mongodb://***@host/x"
    assert without_password("mongodb://me:sec/r@t@host/x") == "mongodb://***@host/x"
    assert without_password("mongodb://host:1/x") == "mongodb://host:1/x"
    run = FakeRun(tmp_path)
    sink = MongoSink(MongoTarget(url), run.folder, run.said.append, 0.02)
    run.log(1)
    run.end()
    sink.close()
    assert run.said and "secret" not in "".join(run.said) and "secret" not in (run.folder / UNSENT).read_text()


def test_what_is_no_address_is_refused_without_repeating_it():
    with pytest.raises(SettingsError, match="is no MongoDB address") as caught:
        MongoTarget("http://me:secret@host")
    assert "secret" not in str(caught.value)
