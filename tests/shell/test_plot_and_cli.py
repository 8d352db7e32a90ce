"""Curves and the ``epymarl-lmac`` command."""

import subprocess
import sys

import pytest
from host_runs import argv, command, host, run_folders

from epymarl_lmac import __version__
from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.plot import plot_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    for seed in (1, 2):
        assert host(argv("iql", results, t_max=600, seed=seed)).returncode == 0
    return run_folders(results)


def test_plot_writes_a_picture_and_a_page_of_its_own(runs, tmp_path):
    done = command("plot", *runs, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "test_return_mean.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "test_return_mean.html").read_text()
    assert "mean of 2 seeds" in page and "lookout 1" in page and "updates an episode" in page
    assert 'src="http' not in page


def test_unknown_figure_lists_those_there_are(runs, tmp_path):
    with pytest.raises(RecordError, match=r"no figure 'nothing'; it has: .*test_return_mean"):
        plot_runs(runs, "nothing", tmp_path)


def test_a_folder_that_is_no_run_ends_with_one_message(tmp_path):
    done = command("plot", tmp_path)
    assert done.returncode == 2
    assert "is no run folder" in done.stderr and "Traceback" not in done.stderr


def test_train_resumes_a_run_with_its_own_settings(runs):
    done = command("train", "--resume", runs[0], "with", "t_max=800")
    assert done.returncode == 0, done.stderr
    assert "finished at step 8" in done.stdout


def test_resuming_under_other_rules_is_said_and_shown(tmp_path):
    assert host(argv("iql", tmp_path, t_max=100)).returncode == 0
    (folder,) = run_folders(tmp_path)
    record = folder / "run.json"
    record.write_text(record.read_text().replace('"lookout 1"', '"lookout 0"'))
    done = command("train", "--resume", folder, "with", "t_max=200")
    assert done.returncode == 0, done.stderr
    assert "rules have changed since this run began: lookout 0, resumed under lookout 1." in done.stdout
    command("plot", folder, "--out", tmp_path)
    assert "lookout 0, resumed under lookout 1" in (tmp_path / "test_return_mean.html").read_text()


def test_doctor_and_version():
    shown = command("doctor").stdout
    for word in ("python", "torch", "cuda", "config", "protocols"):
        assert word in shown
    words = [sys.executable, "-m", "epymarl_lmac.cli", "version"]  # here as a shell starts it
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == __version__


def test_unknown_command_ends_with_one_message():
    done = command("trian")
    assert done.returncode == 2 and "trian" in done.stderr and "Traceback" not in done.stderr
