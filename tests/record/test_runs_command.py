"""``epymarl-lmac runs`` and ``sync``: list, filter, remove, export, and clear refusals."""

import errno
import json
import tarfile

import pytest
from typer.testing import CliRunner

from epymarl_lmac.checkpoint import RunLock
from epymarl_lmac.cli import app
from epymarl_lmac.errors import RecordError, SettingsError


def command(*words):
    done = CliRunner().invoke(app, list(map(str, words)), standalone_mode=False)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


@pytest.fixture
def results(tmp_path):
    root = tmp_path / "results"
    for name, seed, status in (("qmix", 1, "finished"), ("vdn", 2, "failed"), ("qmix", 3, "running")):
        folder = root / f"{name}{seed}"
        folder.mkdir(parents=True)
        run = {"algorithm": name, "task": "lookout", "seed": seed, "status": status, "t_env": 1000}
        run |= {"settings": {"lr": 0.1 * seed, "seed": seed}, "end_metrics": {"test_return_mean": 0.5}}
        (folder / "run.json").write_text(json.dumps(run))
        (folder / "metrics.jsonl").write_text("")
        (folder / "checkpoint-7.pt").write_text("large")
    return root


def names(output):
    return [line.split()[-1].rsplit("/", 1)[-1] for line in output.splitlines()]


def test_all_runs_are_listed_with_their_status(results):
    output = command("runs", "list", "--results", results)
    assert names(output) == ["qmix1", "qmix3", "vdn2"]
    assert "finished" in output and "failed" in output and "dead" in output and "0.500" in output


def test_runs_are_filtered_by_status_and_settings(results):
    assert names(command("runs", "list", "--results", results, "--status", "dead")) == ["qmix3"]
    assert names(command("runs", "list", "--results", results, "--where", "algorithm=qmix", "--where", "lr=0.1")) == [
        "qmix1"
    ]


def test_a_folder_of_runs_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecordError, match="nowhere: there is no such folder"):
        command("runs", "list", "--results", tmp_path / "nowhere")


def test_filters_that_cannot_be_are_refused(results):
    with pytest.raises(SettingsError, match="--status 'odd' is none of"):
        command("runs", "list", "--results", results, "--status", "odd")
    with pytest.raises(SettingsError, match="is not of the form key=value"):
        command("runs", "list", "--results", results, "--where", "lr")


def test_a_run_is_removed_but_not_one_in_progress_nor_another_folder(results, tmp_path):
    command("runs", "rm", results / "vdn2", "--yes")
    assert not (results / "vdn2").exists()
    lock = RunLock(results / "qmix3")
    with pytest.raises(RecordError, match="in use by a running process"):
        command("runs", "rm", results / "qmix1", results / "qmix3", "--yes")
    lock.release()
    with pytest.raises(RecordError, match="is no run folder"):
        command("runs", "rm", tmp_path, "--yes")
    assert (results / "qmix1").exists() and (results / "qmix3").exists()


def test_a_run_that_is_named_twice_is_removed_once(results):
    done = command("runs", "rm", results / "vdn2", results / "qmix3" / ".." / "vdn2", "-y")
    assert done.count("removed:") == 1 and not (results / "vdn2").exists()


def test_a_folder_that_cannot_be_removed_is_one_message(results, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "run.json"))

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(RecordError, match=r"Cannot remove .*vdn2: Permission denied \(.*run.json\)"):
        command("runs", "rm", results / "vdn2", "-y")


def test_a_lock_that_cannot_be_read_keeps_its_run(results):
    (results / "vdn2" / "lock").mkdir()
    with pytest.raises(RecordError, match="lock cannot be read: Is a directory"):
        command("runs", "rm", results / "vdn2", "-y")
    assert (results / "vdn2" / "run.json").exists()


@pytest.mark.parametrize("content", ["[1, 2]", '{"task": "x", "settings": {"seed": 1}}'])
def test_one_bad_record_does_not_hide_the_others(results, content):
    (results / "vdn2" / "run.json").write_text(content)
    output = command("runs", "list", "--results", results)
    assert "vdn2/run.json is left out" in output and "qmix1" in output and "qmix3" in output


def test_a_record_whose_end_is_no_number_is_listed(results):
    run = json.loads((results / "vdn2" / "run.json").read_text())
    (results / "vdn2" / "run.json").write_text(json.dumps({**run, "end_metrics": [1], "task": None}))
    assert names(command("runs", "list", "--results", results)) == ["qmix1", "qmix3", "vdn2"]


@pytest.mark.parametrize(("flags", "with_checkpoint"), [((), False), (("--checkpoints",), True)])
def test_runs_are_exported_without_checkpoints_unless_asked(results, tmp_path, flags, with_checkpoint):
    command("runs", "export", results / "qmix1", "--out", tmp_path / "x.tar.gz", *flags)
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        found = set(archive.getnames())
    assert {"qmix1/run.json", "qmix1/metrics.jsonl"} <= found
    assert ("qmix1/checkpoint-7.pt" in found) == with_checkpoint


def test_sync_needs_an_address_and_a_folder(results, tmp_path, monkeypatch):
    monkeypatch.delenv("EPYMARL_LMAC_MONGO_URL", raising=False)
    with pytest.raises(SettingsError, match="Give the MongoDB address"):
        command("sync", results)
    with pytest.raises(RecordError, match="is no folder"):
        command("sync", tmp_path / "nowhere", "--mongo", "mongodb://127.0.0.1:1")


def test_sync_with_a_server_that_is_away_is_one_message_without_the_password(results, monkeypatch):
    monkeypatch.setattr("epymarl_lmac.record.mongo.CONNECT_MS", 100)
    (results / "qmix1" / "mongo_unsent.json").write_text("{}")
    with pytest.raises(RecordError, match="cannot be reached") as caught:
        command("sync", results, "--mongo", "mongodb://me:secret@127.0.0.1:1")
    assert "secret" not in str(caught.value)
