"""A recorded run says how it ended, also when it could not."""

import signal
import subprocess
import sys

from host_runs import ROOT, argv, figures, host, run_folders, start_and_stop

from epymarl_lmac.record.metrics import read_timed_metrics
from epymarl_lmac.record.provenance import read_run
from epymarl_lmac.record.status import DEAD, FAILED, FINISHED, STOPPED, status_of
from tests.preloaded import run_python


def test_finished_stopped_and_resumed_runs_say_so(tmp_path):
    arguments = argv("iql", tmp_path, t_max=1200)
    assert start_and_stop(arguments, tmp_path, after_step=200) == 128 + signal.SIGTERM
    (folder,) = run_folders(tmp_path)
    assert status_of(folder) == STOPPED
    assert host([*arguments, f"checkpoint_path={folder}"]).returncode == 0
    run = read_run(folder)
    assert status_of(folder) == FINISHED and run["t_env"] >= 1200 and len(run["attempts"]) == 2
    assert run["end_metrics"]["test_return_mean"] >= 0
    assert run["n_parameters"]["agents"] > 0 and run["n_parameters"]["mixer"] == 0
    assert folder.name.endswith(run["run_id"])


def test_a_terminal_that_closes_lets_the_run_save(tmp_path, hears_signals):
    arguments = argv("iql", tmp_path, t_max=100_000)
    assert start_and_stop(arguments, tmp_path, after_step=200, signum=signal.SIGHUP) == 128 + signal.SIGHUP
    (folder,) = run_folders(tmp_path)
    assert status_of(folder) == STOPPED


def test_a_run_whose_reader_leaves_goes_on_to_its_end(tmp_path):
    words = [sys.executable, str(ROOT / "src" / "main.py"), *argv("iql", tmp_path, t_max=800)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "0 of 800 steps" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait(timeout=600) == 0
    (folder,) = run_folders(tmp_path)
    assert status_of(folder) == FINISHED and read_run(folder)["t_env"] >= 800


def test_a_killed_run_shows_as_dead(tmp_path):
    arguments = argv("iql", tmp_path, t_max=100_000)
    assert start_and_stop(arguments, tmp_path, after_step=200, signum=signal.SIGKILL) == -signal.SIGKILL
    (folder,) = run_folders(tmp_path)
    assert status_of(folder) == DEAD


def changed_host(change, arguments):
    """Runs the host's command line after a line of Python that changes something in it."""
    code = f"import sys; sys.path[:0] = ['src', '.']; import run, main; {change}; sys.exit(main.main(sys.argv[1:]))"
    return run_python(["-c", code, *arguments])


def test_a_clock_that_jumps_back_changes_no_metric(tmp_path):
    """The wall clock goes back by an hour at every look at it."""
    change = "import time; clock = iter(range(10**9, 0, -3600)); time.time = lambda: float(next(clock))"
    as_usual, jumping = tmp_path / "as_usual", tmp_path / "jumping"
    assert host(argv("iql", as_usual, t_max=400)).returncode == 0
    done = changed_host(change, argv("iql", jumping, t_max=400))
    assert done.returncode == 0, done.stderr
    (one,), (other,) = run_folders(as_usual), run_folders(jumping)
    assert figures(one) == figures(other) and status_of(other) == FINISHED
    times = [row.time for row in read_timed_metrics(other)]
    assert times == sorted(times, reverse=True) and 0 < read_run(other)["wall_s"] < 120


def test_a_resumed_run_lets_go_of_its_checkpoint(tmp_path):
    """Else the saved buffer takes room, in memory or as a removed file on the disk, until the run ends."""
    arguments = argv("lmac_qmix", tmp_path, t_max=400)
    assert host(arguments).returncode == 0
    (folder,) = run_folders(tmp_path)
    change = "real = run._train_recorded; maps = lambda: open('/proc/self/maps').read().count('checkpoint-'); "
    change += "run._train_recorded = lambda *words: (print('mapped:', maps()), real(*words))[1]"
    done = changed_host(change, [*arguments, "t_max=600", f"checkpoint_path={folder}"])
    assert done.returncode == 0, done.stderr
    assert "mapped: 0" in done.stdout


def test_a_read_only_results_folder_is_one_message(tmp_path):
    """Where every user may write everywhere (root), the error of a read-only file system is raised in its place."""
    change = "import errno, os, pathlib; pathlib.Path.mkdir = lambda *a, **k: (_ for _ in ()).throw("
    change += "OSError(errno.EROFS, os.strerror(errno.EROFS)))"
    done = changed_host(change, ["--no-sacred", *argv("iql", tmp_path, t_max=400)])
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "Read-only file system; choose another local_results_path" in done.stderr.replace("\n", " ")


def test_a_run_that_fails_records_why(tmp_path):
    done = changed_host("run.Experiment.advance = lambda self: 1 / 0", argv("iql", tmp_path, t_max=600))
    assert done.returncode != 0
    (folder,) = run_folders(tmp_path)
    run = read_run(folder)
    assert run["status"] == FAILED and "ZeroDivisionError: division by zero" in run["error"][-1]
