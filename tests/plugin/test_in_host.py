"""Inside a host: every algorithm of ours learns on every environment of ours, under the host's calling conventions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from fake_host import commit, make_host

from epymarl_lmac.plugin.attach import plan_attach
from epymarl_lmac.plugin.host import REGISTRIES
from epymarl_lmac.plugin.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]


def run_host(root, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "src/main.py", *words], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    return done


def results(done):
    assert done.returncode == 0, done.stderr
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))[7:])


def attached_host(folder, kind):
    root = make_host(folder / "host", kind)
    commit(root)
    plan_attach(root, "lmac-").carry_out()
    return root


@pytest.fixture(scope="module", params=["epymarl", "epymarl_v1", "pymarl2"])
def every_kind(request, tmp_path_factory):
    return attached_host(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def attached(tmp_path_factory):
    return attached_host(tmp_path_factory.mktemp("pymarl2"), "pymarl2")


@contextmanager
def edited(root, *changes):
    """Changes texts of an attached lmac_qmix.yaml for a while: (before, after) each; appends where before is ""."""
    config = root / "src/config/algs/lmac_qmix.yaml"
    text = changed = config.read_text()
    for before, after in changes:
        assert before in changed
        changed = changed.replace(before, after) if before else changed + after
    try:
        config.write_text(changed)
        yield
    finally:
        config.write_text(text)


def attached_configs(root, folder):
    prefix = f"src/config/{folder}/"
    return sorted(Path(name).stem for name in Manifest.read(root).files if name.startswith(prefix))


OWN_HOST = "sms-official"  # its learner takes two batches an update


def test_every_algorithm_learns_and_every_environment_plays(every_kind):
    algs, envs = attached_configs(every_kind, "algs"), attached_configs(every_kind, "envs")
    algs.remove(OWN_HOST)
    pairs = sorted({*(f"{alg}:lookout" for alg in algs), *(f"qmix_state:{env}" for env in envs)})
    found = results(run_host(every_kind, *pairs))
    assert set(found) == set(pairs)
    for pair, figures in found.items():
        config = yaml.safe_load((every_kind / f"src/config/algs/{pair.split(':')[0]}.yaml").read_text())
        assert figures["loss"] == figures["loss"] and figures["steps"] > 0, pair
        assert figures["hidden"] == 64 and figures["selector"] == "components.action_selectors", pair
        assert figures["stats"] == {}, pair
        assert config["learner"] in Manifest.read(every_kind).registries["learners"], pair


def test_a_learner_that_takes_two_batches_an_update_is_refused_with_the_reason(every_kind):
    done = run_host(every_kind, f"{OWN_HOST}:lookout")
    assert done.returncode != 0
    error = done.stderr.strip().splitlines()[-1]
    assert "SettingsError: learner=twin_critic_learner cannot learn in this host" in error
    assert "two batches an update" in error and "Train it with epymarl-lmac itself" in error


def test_the_hosts_name_for_the_hidden_width_is_the_one_that_counts(attached):
    with edited(attached, ("rnn_hidden_dim: 64", "rnn_hidden_dim: 24")):
        assert results(run_host(attached, "lmac_qmix:lookout"))["lmac_qmix:lookout"]["hidden"] == 24


def test_a_missing_package_is_named_when_its_environment_is_used(attached):
    done = run_host(attached, "lmac_qmix:battle")
    assert done.returncode != 0
    assert "Battle needs the package 'smac', which is not installed." in done.stderr


def test_a_setting_that_the_file_leaves_out_has_its_default(attached):
    with edited(attached, ("latent_dim: 128\n", ""), ("recon_lambda: 1.0\n", "")):
        assert results(run_host(attached, "lmac_qmix:lookout"))["lmac_qmix:lookout"]["steps"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("latent_dim: 128\n", "latent_dim: 0\n"), "latent_dim=0 must be at least 1 (lmac)"),
        (("", "common_reward: false\n"), "common_reward=True"),
    ],
    ids=["a value out of bounds", "rewards of single agents"],
)
def test_settings_that_do_not_fit_are_refused(attached, change, message):
    with edited(attached, change):
        assert message in run_host(attached, "lmac_qmix:lookout").stderr


def test_a_host_without_record_says_what_to_do(tmp_path):
    root = make_host(tmp_path / "host", "epymarl")
    plan = plan_attach(root)
    plan.carry_out()
    (root / ".epymarl-lmac.json").unlink()
    done = run_host(root)
    assert done.returncode != 0 and "has no record of an attach" in done.stderr


def test_an_entry_that_the_host_gained_is_not_overwritten(tmp_path):
    root = make_host(tmp_path / "host", "epymarl")
    plan_attach(root).carry_out()
    with (root / "src/learners/__init__.py").open("a") as file:
        file.write("REGISTRY['ours_q_learner'] = Learner\n")
    done = run_host(root)
    assert done.returncode != 0 and "entry 'ours_q_learner' of its own" in done.stderr


def test_the_hosts_own_entries_stay(attached):
    script = (
        "import sys; sys.path.insert(0, 'src')\n"
        "from epymarl_lmac.plugin import activate; activate('src/main.py')\n"
        "import learners, controllers, modules.agents, modules.mixers.qmix, envs\n"
        "assert learners.REGISTRY['q_learner'] is learners.Learner\n"
        "assert controllers.REGISTRY['basic_mac'] is controllers.Mac\n"
        "assert modules.agents.REGISTRY['rnn'] is modules.agents.Agent\n"
        "assert modules.mixers.qmix.__file__.endswith('host/src/modules/mixers/qmix.py')\n"
        "assert 'torch' not in sys.modules, 'activation must not import torch'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=attached, env=environment, capture_output=True, text=True)
    # the miniature host's packages import no torch either, but for its buffer and selectors
    assert done.returncode == 0, done.stderr


def test_a_fork_with_a_package_of_our_packages_name_keeps_it_and_gets_ours(tmp_path):
    root = make_host(tmp_path / "host", "epymarl")
    comm = root / "src/modules/comm/__init__.py"
    comm.parent.mkdir()
    comm.write_text("MINE = True\n")
    plan_attach(root).carry_out()
    with (root / "src/main.py").open("a") as file:
        file.write("    import modules.comm\n    assert modules.comm.MINE\n")
    assert results(run_host(root, "lmac_qmix:lookout"))


def test_no_module_of_ours_has_the_name_of_a_hosts():
    """A host's module would win, and ours could not be imported there."""
    theirs = {
        "learners": "q_learner coma_learner qtran_learner actor_critic_learner actor_critic_pac_learner "
        "actor_critic_pac_dcg_learner maddpg_learner ppo_learner dmaq_qatten_learner fmac_learner lica_learner "
        "max_q_learner nq_learner offpg_learner policy_gradient_v2",
        "controllers": "basic_controller maddpg_controller non_shared_controller basic_central_controller "
        "conv_controller dop_controller lica_controller n_controller ppo_controller",
        "modules.agents": "rnn_agent rnn_feature_agent rnn_ns_agent atten_rnn_agent central_rnn_agent conv_agent "
        "ff_agent mlp_agent n_rnn_agent noisy_agents rnn_ppo_agent",
        "modules.mixers": "qmix qtran vdn dmaq_general dmaq_si_weight nmix qatten qmix_central_no_hyper",
        "envs": "gymma pz_wrapper smac_wrapper smaclite_wrapper smacv2_wrapper vmas_wrapper wrappers starcraft "
        "gfootball matrix_game stag_hunt pretrained",
    }
    assert set(theirs) == {registry.package for registry in REGISTRIES}
    for package, names in theirs.items():
        folder = ROOT / "src" / package.replace(".", "/")
        ours = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
        assert not ours & set(names.split()), package
