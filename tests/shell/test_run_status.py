"""A recorded run says how it ended, also when it could not."""

import signal
import subprocess
import sys

from host_runs import ROOT, host, run_folders, start_and_stop, words

from epymarl_lmac.record.provenance import read_run
from epymarl_lmac.record.status import DEAD, FAILED, FINISHED, STOPPED, status_of


def test_finished_stopped_and_resumed_runs_say_so(tmp_path):
    arguments = words("iql", tmp_path, t_max=1200)
    assert start_and_stop(arguments, tmp_path, after_step=200) == 128 + signal.SIGTERM
    (folder,) = run_folders(tmp_path)
    assert status_of(folder) == STOPPED
    assert host([*arguments, f"checkpoint_path={folder}"]).returncode == 0
    run = read_run(folder)
    assert status_of(folder) == FINISHED and run["t_env"] >= 1200 and len(run["attempts"]) == 2
    assert run["end_metrics"]["test_return_mean"] >= 0
    assert run["n_parameters"]["agents"] > 0 and run["n_parameters"]["mixer"] == 0
    assert folder.name.endswith(run["run_id"])


def test_a_killed_run_shows_as_dead(tmp_path):
    arguments = words("iql", tmp_path, t_max=100_000)
    assert start_and_stop(arguments, tmp_path, after_step=200, signum=signal.SIGKILL) == -signal.SIGKILL
    (folder,) = run_folders(tmp_path)
    assert status_of(folder) == DEAD


def test_a_run_that_fails_records_why(tmp_path):
    blocked = words("iql", tmp_path, t_max=600)
    code = "import sys; sys.path[:0] = ['src', '.']; import run, main;"
    code += "run.Experiment.advance = lambda self: 1 / 0; sys.exit(main.main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *blocked], capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode != 0
    (folder,) = run_folders(tmp_path)
    run = read_run(folder)
    assert run["status"] == FAILED and "ZeroDivisionError: division by zero" in run["error"][-1]
