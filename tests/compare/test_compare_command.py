"""The command ``compare``: what it refuses, and what it makes of the records there are."""

import pytest
from fake_records import cell, write_run
from typer.testing import CliRunner

from epymarl_lmac.checkpoint import RunLock
from epymarl_lmac.cli import app
from epymarl_lmac.errors import CheckpointError, RecordError, SettingsError

PLAN = ("compare", "--algs", "qmix,vdn", "--envs", "lookout", "--seeds", "2", "--t-max", "1000")


def command(*words):
    done = CliRunner().invoke(app, list(map(str, words)), standalone_mode=False)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def records(root, algs=("qmix", "vdn"), seeds=(1, 2)):
    for alg in algs:
        for seed in seeds:
            write_run(root, cell(alg, seed), values=(0.0, 0.5, 0.9 if alg == "qmix" else 0.7))


def test_finished_runs_become_a_page_without_any_training(tmp_path):
    records(tmp_path / "runs")
    done = command(*PLAN, "--out", tmp_path)
    assert "4 done" in done.output and "calibration" not in done.output
    page = (tmp_path / "index.html").read_text()
    assert "every planned run is complete" in page
    assert "compare --algs qmix,vdn --envs lookout --seeds 1,2 --t-max 1000" in page
    for name in ("scores.csv", "curves.csv", "aggregates.csv", "table.tex"):
        assert (tmp_path / name).stat().st_size > 100


def test_a_page_of_part_of_the_plan_names_what_is_missing(tmp_path):
    records(tmp_path / "earlier", algs=("qmix",))
    command(*PLAN, "--out", tmp_path, "--also", tmp_path / "earlier", "--page-only")
    page = (tmp_path / "index.html").read_text()
    assert "vdn on lookout, seed 2: not started" in page and "2 of the planned runs are not complete" in page


def test_a_corrupted_metrics_line_leaves_one_run_out_and_is_named(tmp_path):
    records(tmp_path / "runs")
    broken = tmp_path / "runs" / "vdn_lookout_seed2" / "metrics.jsonl"
    broken.write_text("garbage\n" + broken.read_text())
    command(*PLAN, "--out", tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "vdn on lookout, seed 2: damaged" in page and "line 1 is damaged" in page


@pytest.mark.parametrize("more", [(), ("--page-only",)])
def test_a_metric_that_no_run_has_is_a_failure_that_names_every_run(tmp_path, more):
    records(tmp_path / "runs")
    done = command(*PLAN, "--out", tmp_path, "--key", "test_nonsense", *more)
    assert done.return_value == 1 or done.exit_code == 1
    assert "no complete run can be used: no page" in done.output
    for alg in ("qmix", "vdn"):
        for seed in (1, 2):
            assert f"{alg} on lookout, seed {seed}: damaged: " in done.output
    assert "no metric 'test_nonsense'; its tests have: test_return_mean" in done.output


def test_runs_that_are_not_done_yet_are_named_and_no_failure(tmp_path):
    write_run(tmp_path / "runs", cell("qmix", 1), status="stopped", t_env=10)
    done = command(*PLAN, "--out", tmp_path, "--page-only")
    assert done.exit_code == 0 and not done.return_value
    assert "qmix on lookout, seed 1: stopped at step 10" in done.output and "not started" in done.output


def test_a_page_alone_makes_its_folder(tmp_path):
    records(tmp_path / "earlier")
    command(*PLAN, "--out", tmp_path / "new" / "place", "--also", tmp_path / "earlier", "--page-only")
    assert (tmp_path / "new" / "place" / "index.html").is_file()


def test_a_dry_run_starts_nothing(tmp_path):
    done = command(*PLAN, "--out", tmp_path, "--no-calibration", "--dry-run")
    assert "4 waiting | 0 of 4,000 steps" in done.output and not (tmp_path / "runs").exists()


def test_two_comparisons_in_one_folder_are_refused(tmp_path):
    lock = RunLock(tmp_path)
    with pytest.raises(CheckpointError, match="in use by another process"):
        command(*PLAN, "--out", tmp_path, "--dry-run")
    lock.release()


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="choose another --out"):
        command(*PLAN, "--out", tmp_path / "file" / "x")


BAD = {
    "unknown algorithm": (["--algs", "qmxi"], "did you mean 'qmix'"),
    "unknown environment": (["--envs", "lookuot"], "did you mean 'lookout'"),
    "no steps": (["--t-max", "soon"], "no number of steps"),
    "no seeds": (["--seeds", "0"], "--seeds '0'"),
    "stray words": (["lr=1"], "come after the word 'with'"),
    "unknown setting": (["with", "lrr=1"], "did you mean 'lr'"),
    "a password in sight": (["with", "mongo_url=mongodb://x"], "environment variable"),
    "no trials": (["--trials", "qmix=some"], "--trials"),
    "trials of an algorithm that is not compared": (["--trials", "foo=1"], "'foo' is not compared; .* qmix"),
    "a level that is no number": (["--threshold", "nan"], "--threshold nan is no level"),
    "an endless level": (["--threshold", "inf"], "--threshold inf is no level"),
    "earlier runs that are not there": (["--also", "/nowhere"], "--also /nowhere is no folder"),
    "foreign runs of no environment": (["--sacred", "lbf=."], "must be one of --envs"),
    "foreign runs without environment": (["--sacred", "results"], "write ENV=FOLDER"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_runs(case, tmp_path):
    words, message = BAD[case]
    plan = ["compare", "--algs", "qmix", "--envs", "lookout", "--seeds", "1", "--t-max", "1000"]
    if words[0] in plan:
        plan[plan.index(words[0]) + 1] = words[1]
        words = []
    with pytest.raises(SettingsError, match=message):
        command(*plan, "--out", tmp_path, *words)
    assert not (tmp_path / "runs").exists()
