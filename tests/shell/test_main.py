"""The command line: what a run leaves behind, and one clear message for every kind of bad input."""

import json
import resource

import pytest
import yaml
from host_runs import argv, host, host_alone, run_folders

from epymarl_lmac.paths import config_root
from epymarl_lmac.settings import algorithms, environments


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    done = host_alone(argv("qmix", results, "lbf", t_max=600))
    assert done.returncode == 0, done.stderr
    return results, done.stdout


def test_record_has_settings_versions_seeds_rules_and_update_ratio(record):
    results, _ = record
    (folder,) = run_folders(results)
    run = json.loads((folder / "run.json").read_text())
    assert run["settings"]["batch_size_run"] == 4 and run["settings"]["env_args"]["sight"] == 1
    assert run["packages"]["torch"] and run["seed"] == 1
    assert "lbf" in run["environment_rules"] and run["update_ratio"].startswith("0.5 updates an episode")


def test_sacred_keeps_a_record_too(record):
    results, _ = record
    (config,) = results.glob("sacred/*/config.json")
    run = json.loads((config.parent / "run.json").read_text())
    assert json.loads(config.read_text())["mixer"] == "qmix"
    assert run["status"] == "COMPLETED" and run["result"] == 0
    info = json.loads((config.parent / "info.json").read_text())
    assert info["update_ratio"].startswith("0.5 updates")
    assert "test_return_mean" in json.loads((config.parent / "metrics.json").read_text())


def test_plain_lines_show_progress_from_the_start(record):
    _, shown = record
    lines = shown.splitlines()
    assert lines[0].startswith("qmix on lbf_8x8-2p-2f-s1-coop, seed 1")
    progress = [line for line in lines if line.startswith("step ")]
    assert progress
    for part in (
        "episodes",
        "return",
        "test return",
        "epsilon",
        "steps/s",
        "env",
        "inference",
        "update",
        "time left",
    ):
        assert part in progress[-1]


def test_evaluation_plays_a_recorded_run(record):
    results, _ = record
    (folder,) = run_folders(results)
    done = host([*argv("qmix", results, "lbf"), "evaluate=True", f"checkpoint_path={folder}"])
    assert done.returncode == 0, done.stderr
    assert "test_return_mean:" in done.stdout


def test_evaluation_can_show_the_episodes(record):
    results, _ = record
    (folder,) = run_folders(results)
    done = host([*argv("qmix", results, "lbf"), "evaluate=True", "render=True", f"checkpoint_path={folder}"])
    assert done.returncode == 0, done.stderr
    assert "\nstep 1/25\n+---" in done.stdout and "\nstep 2/25\n+---" in done.stdout


def test_print_config_shows_the_merged_settings(tmp_path):
    done = host(["--config=vdn", "--env-config=lbf", "--print-config", "with", "lr=1e-3", "env_args.sight=2"])
    shown = yaml.safe_load(done.stdout)
    assert (shown["mixer"], shown["lr"], shown["env_args"]["sight"]) == ("vdn", 0.001, 2)
    assert shown["t_max"] == yaml.safe_load((config_root() / "envs" / "lbf.yaml").read_text())["t_max"]
    assert shown["gamma"] == yaml.safe_load((config_root() / "default.yaml").read_text())["gamma"]


def test_list_names_algorithms_and_environments():
    shown = host_alone(["--list"]).stdout
    for name in [*algorithms(), *environments()]:
        assert name in shown


BAD = {
    "misspelt key": (["hiden_dim=8"], "'hiden_dim'; did you mean 'hidden_dim'?"),
    "misspelt environment key": (["env_args.sigth=1"], "did you mean 'env_args.sight'?"),
    "no value": (["lr"], "'lr' is not of the form key=value"),
    "wrong type": (["lr=fast"], "lr='fast' must be of type float"),
    "negative steps": (["t_max=-5"], "t_max=-5 must be at least 1"),
    "small buffer": (["buffer_size=8", "batch_size=32"], "buffer_size=8 episodes cannot fill batch_size=32"),
    "epsilon": (["epsilon_start=1.5"], "epsilon_start=1.5 must lie between 0 and 1"),
    "no updates": (["updates_per_episode=0"], "updates_per_episode=0 must be greater than 0"),
    "unknown action selector": (
        ["action_selector=softmx"],
        "action_selector='softmx' is not registered; did you mean 'softmax'?",
    ),
    "unknown mixer": (["mixer=qmx"], "mixer='qmx' is not registered; did you mean 'qmix'?"),
    "unknown runner": (["runner=vectr"], "'vectr' is not known; did you mean 'vector'?"),
    "impossible field": (["env_args.field_size=3", "env_args.max_food=3"], "max_food=3 foods never fit on a 3x3 field"),
    "evaluate nothing": (["evaluate=True"], "evaluate=True needs checkpoint_path"),
    "missing run": (["checkpoint_path=nowhere"], "checkpoint_path=nowhere is no folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_end_with_one_message(case, tmp_path):
    changes, message = BAD[case]
    arguments = ["--config=qmix", "--env-config=lbf", "with", f"local_results_path={tmp_path}", *changes]
    done = host(arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not run_folders(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=qmxi", "--env-config=lbf"], "Unknown algorithm 'qmxi'; did you mean 'qmix'?"),
        (["--config=qmix", "--env-config=lfb"], "Unknown environment 'lfb'; did you mean 'lbf'?"),
        (["--env-config=lbf"], "--config is missing; choose one of: "),
        (["--config=lmac_qmix", "--env-config=lbf", "with", "env_args.max_food=1"], "No protocol bundle at"),
        (
            [
                "--config=lmac_qmix",
                "--env-config=lbf",
                "with",
                "env_args.field_size=9",
                "protocol_path={bundle}",
            ],
            "was made for another task",
        ),
    ],
)
def test_unknown_names_and_bundles_end_with_one_message(arguments, message, tmp_path):
    from epymarl_lmac.paths import protocols_root

    bundle = str(protocols_root() / "lbf" / "8x8-2p-2f-s1-coop" / "default")
    if "with" in arguments:
        arguments = [*arguments, f"local_results_path={tmp_path}"]
    done = host([word.format(bundle=bundle) for word in arguments])
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_full_disk_ends_with_one_message_and_whole_rows(tmp_path):
    """A limit on file size stands for the full disk: the kernel refuses the write in the same place."""
    from epymarl_lmac.record.metrics import read_metrics

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))

    done = host_alone([*argv("iql", tmp_path, t_max=100_000), "save_model=False"], preexec_fn=limit)
    assert done.returncode == 2
    assert "Cannot write" in done.stderr and "Traceback" not in done.stderr
    (folder,) = run_folders(tmp_path)
    assert len(read_metrics(folder)) > 20
