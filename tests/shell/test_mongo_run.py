"""A MongoDB that is away costs a run two warnings and nothing else; its password is nowhere."""

from host_runs import argv, host, run_folders

from epymarl_lmac.record.status import FINISHED, status_of


def test_training_goes_on_without_its_mongodb_and_hides_the_password(tmp_path):
    done = host([*argv("iql", tmp_path, t_max=200), "mongo_url=mongodb://me:secret@127.0.0.1:1/x"])
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    assert status_of(folder) == FINISHED and (folder / "mongo_unsent.json").exists()
    said = done.stdout + done.stderr
    assert said.count("warning: MongoDB at mongodb://***@127.0.0.1:1/x") == 2 and "epymarl-lmac sync" in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(b"secret" in path.read_bytes() for path in files) and "secret" not in said


def test_an_address_that_is_none_ends_with_one_message(tmp_path):
    done = host([*argv("iql", tmp_path, t_max=200), "mongo_url=http://me:secret@host"])
    assert done.returncode == 2 and not run_folders(tmp_path)
    assert "is no MongoDB address" in done.stderr and "secret" not in done.stderr
