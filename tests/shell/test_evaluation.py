"""``epymarl-lmac evaluate``: paired episodes, saved steps, controls of messages."""

import json
import shutil

import pytest
from host_runs import ROOT, command, host

SMALL = ["hidden_dim=8", "batch_size=4", "batch_size_run=4", "test_nepisode=4", "test_interval=1000", "use_cuda=False"]


def trained(tmp_path, alg, *words):
    updates = [*SMALL, *words, "t_max=60", "save_model_interval=24", f"local_results_path={tmp_path}"]
    flags = ["--no-sacred", f"--config={alg}", "--env-config=lookout"]
    done = host([*flags, "with", *updates])
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob(f"{alg}_*")
    return folder


@pytest.fixture(scope="module")
def tarmac_run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"), "tarmac")


def evaluate(*argv):
    return command("evaluate", *argv)


def test_controls_are_a_table_and_a_file_beside_the_run(tarmac_run):
    done = evaluate(tarmac_run, "--controls", "--episodes", 6)
    assert done.returncode == 0, done.stderr
    result = json.loads((tarmac_run / "evaluation.json").read_text())
    names = [row["control"] for row in result["rows"]]
    assert names == ["intact", "zeroed", "shuffled across episodes", "delayed by 1", "sender 0 replaced"]
    assert result["episodes"] == 6 and all(name in done.stdout for name in names)
    assert result["rows"][0]["metrics"]["message_floats"] == 42


def test_any_saved_step_can_be_evaluated_and_another_is_named(tarmac_run):
    steps = sorted(int(path.stem.partition("-")[2]) for path in tarmac_run.glob("networks-*.pt"))
    assert len(steps) >= 2
    assert f"networks of step {steps[0]}" in evaluate(tarmac_run, "--episodes", 2, "--checkpoint", steps[0]).stdout
    wrong = evaluate(tarmac_run, "--checkpoint", 7)
    assert wrong.returncode != 0 and f"no networks of step 7; saved are: {steps[0]}" in wrong.stderr


def test_a_sender_that_does_not_exist_is_named(tarmac_run):
    done = evaluate(tarmac_run, "--controls", "--sender", 3)
    assert done.returncode != 0 and "--sender 3 is no agent; the 3 agents count from 0" in done.stderr


def test_controls_of_a_method_that_sends_nothing_are_refused(tmp_path):
    done = evaluate(trained(tmp_path, "cola"), "--controls")
    assert done.returncode != 0 and "cola sends no messages, so there is nothing to control" in done.stderr


def test_what_lmac_believes_of_the_state_is_judged_under_every_control(tmp_path):
    folder = trained(tmp_path, "lmac_qmix")
    done = evaluate(folder, "--controls", "--episodes", 6)
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "evaluation.json").read_text())["rows"]
    first = rows[0]["awareness"]
    assert set(first["r2_by_group"]) == {"target", "scout"} and len(first["r2_by_column"]) == 4 + 3
    assert first["r2_by_group"]["scout"] is None, "the scout is always agent 0"
    assert first["tolerance"] == pytest.approx(0.05)
    r2 = {row["control"]: row["awareness"]["r2"] for row in rows}
    assert r2["zeroed"] != r2["intact"], "the estimate does not depend on messages"
    assert "R2 of the estimated state" in done.stdout


def test_a_method_without_estimates_has_no_awareness(tarmac_run):
    evaluate(tarmac_run, "--episodes", 2)
    assert json.loads((tarmac_run / "evaluation.json").read_text())["rows"][0]["awareness"] is None


def test_a_run_is_tested_and_goes_on_with_the_bundle_that_it_was_trained_with(tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(ROOT / "protocols" / "lookout" / "3a-4k" / "default", bundle)
    folder = trained(tmp_path / "runs", "lmac_qmix", f"protocol_path={bundle}")
    shutil.rmtree(bundle)
    assert evaluate(folder, "--episodes", 2).returncode == 0
    resumed = command("train", "--resume", folder, "--no-sacred", "with", "t_max=90")
    assert resumed.returncode == 0, resumed.stderr
