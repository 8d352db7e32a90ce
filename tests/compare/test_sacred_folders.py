"""Runs that EPyMARL and PyMARL2 recorded through Sacred are read into the comparison."""

import json

import pytest
from fake_records import cell, write_run

from epymarl_lmac.compare.gather import gather
from epymarl_lmac.compare.sacred_folders import foreign_differences, read_sacred, read_sacred_run
from epymarl_lmac.errors import RecordError

KEY = "test_return_mean"


def sacred_run(folder, name="qmix", seed=7, metrics=None, info=None, **config):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"name": name, "seed": seed, **config}))
    times = {"start_time": "2026-01-01T00:00:00", "stop_time": "2026-01-01T01:00:00"}
    (folder / "run.json").write_text(json.dumps(times))
    for file, content in (("metrics.json", metrics), ("info.json", info)):
        if content is not None:
            (folder / file).write_text(json.dumps(content))
    return folder


def test_epymarls_metrics_file_is_read(tmp_path):
    metrics = {KEY: {"steps": [0, 500, 1000], "values": [0, 0.25, 0.5], "timestamps": []}}
    run = read_sacred_run(sacred_run(tmp_path / "1", metrics=metrics, info={}), "lookout", KEY)
    assert (run.alg, run.seed, run.steps.tolist(), run.values.tolist()) == (
        "qmix (Sacred)", 7, [0, 500, 1000], [0, 0.25, 0.5],
    )  # fmt: skip
    assert run.run["wall_s"] == 3600


def test_pymarl2s_info_file_with_wrapped_numbers_is_read(tmp_path):
    info = {KEY: [{"py/object": "numpy.float64", "value": 0.5}, 0.75], f"{KEY}_T": [10, 20], "other": [1]}
    run = read_sacred_run(sacred_run(tmp_path / "1", info=info), "lookout", KEY)
    assert run.values.tolist() == [0.5, 0.75] and run.steps.tolist() == [10, 20]


BAD = {
    "no such metric": ({"info": {"loss": [1], "loss_T": [1]}}, r"has no metric 'test_return_mean'; it has: loss"),
    "uneven lists": ({"info": {KEY: [1, 2], f"{KEY}_T": [1]}}, "is damaged"),
    "no numbers": ({"info": {KEY: ["x"], f"{KEY}_T": [1]}}, "is damaged"),
    "only gaps": ({"info": {KEY: [None], f"{KEY}_T": [1]}}, "has no value"),
}


@pytest.mark.parametrize("case", BAD)
def test_damaged_sacred_records_are_named(case, tmp_path):
    content, message = BAD[case]
    with pytest.raises(RecordError, match=message):
        read_sacred_run(sacred_run(tmp_path / "1", **content), "lookout", KEY)


def test_folders_without_records_and_doubled_runs_are_refused(tmp_path):
    with pytest.raises(RecordError, match="No Sacred record under"):
        read_sacred(tmp_path, "lookout", KEY)
    info = {KEY: [1.0], f"{KEY}_T": [1]}
    for number in ("1", "2"):
        sacred_run(tmp_path / number, info=info)
    with pytest.raises(RecordError, match="are both qmix"):
        read_sacred(tmp_path, "lookout", KEY)


def test_old_runs_stand_beside_ours_and_their_differences_are_marked(tmp_path):
    write_run(tmp_path / "ours", cell())
    info = {KEY: [0.1, 0.2], f"{KEY}_T": [0, 1000]}
    sacred_run(tmp_path / "old" / "1", info=info, batch_size=8, t_max=1000)
    foreign = read_sacred(tmp_path / "old", "lookout", KEY)
    found = gather([cell()], [tmp_path / "ours"], KEY, {}, foreign)
    assert found.algs == ["qmix", "qmix (Sacred)"] and len(found.curves) == 2
    assert [d.key for d in found.unfair] == ["batch_size", "rules and version"]
    assert foreign_differences([cell()], foreign) == found.unfair


def test_an_old_run_that_ends_early_is_listed_and_not_counted(tmp_path):
    sacred_run(tmp_path / "1", info={KEY: [0.1], f"{KEY}_T": [300]})
    found = gather([cell()], [], KEY, {}, read_sacred(tmp_path, "lookout", KEY))
    assert found.curves == [] and ("qmix (Sacred) on lookout, seed 7", "ends at step 300", []) in found.unfinished
