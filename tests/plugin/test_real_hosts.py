"""The real hosts: attach, train, evaluate, detach; the same numbers as their own qmix.

Needs checkouts: EPYMARL_HOME, EPYMARL_V1_HOME, PYMARL2_HOME. They are copied and stay as they are.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_host import tree_hash

from epymarl_lmac.plugin.attach import plan_attach, plan_detach
from epymarl_lmac.plugin.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]
HOMES = {"epymarl": "EPYMARL_HOME", "epymarl_v1": "EPYMARL_V1_HOME", "pymarl2": "PYMARL2_HOME"}
SHORT = ["t_max=500", "use_cuda=False", "test_nepisode=4", "test_interval=300", "log_interval=300", "batch_size=4"]
LBFORAGING = ["env_args.key=lbforaging:Foraging-8x8-2p-2f-coop-v3", "env_args.time_limit=25"]


def home(kind):
    folder = os.environ.get(HOMES[kind])
    if not folder:
        pytest.skip(f"{HOMES[kind]} is not set")
    return Path(folder)


@pytest.fixture(scope="module", params=sorted(HOMES))
def checkout(request, tmp_path_factory):
    """A copy of a real checkout, attached; afterwards it must be what it was."""
    root = tmp_path_factory.mktemp(request.param) / "host"
    shutil.copytree(home(request.param), root, ignore=shutil.ignore_patterns("results", "__pycache__"))
    before = tree_hash(root)
    plan_attach(root, "lmac-").carry_out()
    yield root
    plan_detach(root).carry_out()
    assert tree_hash(root) == before


def run(root, alg, env, *words):
    command = [sys.executable, "-W", "ignore", "src/main.py", f"--config={alg}", f"--env-config={env}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "with", *SHORT, *words], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    return output


def configs(root, folder):
    return sorted(Path(name).stem for name in Manifest.read(root).files if f"config/{folder}/" in name)


def test_every_algorithm_of_ours_learns_on_our_environments(checkout):
    own_host_only = {"sms-official"}  # its learner takes two batches an update
    for alg in sorted(set(configs(checkout, "algs")) - own_host_only):
        assert "q_taken_mean" in run(checkout, alg, "lbf"), alg


def test_every_environment_of_ours_runs(checkout):
    for env in configs(checkout, "envs"):
        assert "test_return_mean" in run(checkout, "qmix_state", env), env


def test_our_algorithm_learns_on_the_hosts_own_environment(checkout):
    kind = Manifest.read(checkout).kind
    if kind == "pymarl2":
        output = run(checkout, "lmac-qmix", "one_step_matrix_game", "env_args.map_name=matrix", "mixing_embed_dim=8")
    elif kind == "epymarl_v1" and importlib.util.find_spec("gym") is None:
        pytest.skip("gym is not installed")
    else:
        output = run(checkout, "lmac-qmix", "gymma", *LBFORAGING)
    assert "q_taken_mean" in output


def test_the_hosts_own_algorithm_learns_on_our_environment(checkout):
    words = ["runner=episode", "batch_size_run=1"]
    assert "test_return_mean" in run(checkout, "qmix", "lbf", *words)


def test_parallel_runner_checkpoint_and_evaluation(checkout):
    shutil.rmtree(checkout / "results", ignore_errors=True)
    run(
        checkout,
        "lmac_qmix",
        "lbf",
        "runner=parallel",
        "batch_size_run=4",
        "save_model=True",
        "save_model_interval=400",
    )
    saved = sorted(checkout.glob("results/models/*/*/agent.th"))
    assert saved
    moved = checkout / "results" / "saved"  # hosts put spaces and colons into the folder's name
    shutil.copytree(saved[-1].parents[1], moved)
    output = run(checkout, "lmac_qmix", "lbf", "evaluate=True", f"checkpoint_path={moved}")
    assert "Loading model from" in output


def test_environments_of_parallel_workers_differ(checkout):
    script = (
        "import sys; sys.path.insert(0, 'src')\n"
        "from epymarl_lmac.plugin import activate; activate('src/main.py')\n"
        "import multiprocessing, yaml\n"
        "from envs import REGISTRY\n"
        "args = yaml.safe_load(open('src/config/envs/lbf.yaml'))['env_args']\n"
        "def state(queue, seed):\n"
        "    env = REGISTRY['lbf'](seed=seed, **args); env.reset(); queue.put(env.get_state().tobytes())\n"
        "queue = multiprocessing.Queue()\n"
        "spread = int(sys.argv[1])\n"
        "workers = [multiprocessing.Process(target=state, args=(queue, 7 + spread * i)) for i in range(4)]\n"
        "[w.start() for w in workers]; states = {queue.get() for _ in workers}; [w.join() for w in workers]\n"
        "print('DIFFERENT', len(states))\n"
    )
    spread = "0" if Manifest.read(checkout).kind == "pymarl2" else "1"  # what each host's parallel runner does
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", script, spread]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert "DIFFERENT 4" in done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["epymarl", "pymarl2"])
def test_losses_gradients_and_weights_are_the_hosts_own(kind):
    spec = importlib.util.spec_from_file_location("host_equivalence", ROOT / "benchmarks" / "host_equivalence.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    own, embedded, lmac = module.compare(kind, home(kind))
    # float32: another order of summation; PyMARL2's half loss also meets Adam's epsilon at twice the weight
    assert own["loss"] < 1e-5 and own["gradient"] < 1e-5 and own["weights"] < 5e-4
    assert own["gradient_size"] > 0.01 and own["first_loss"] > 0.1
    for row in (embedded, lmac):  # one code on one machine
        assert row["loss"] < 1e-6 and row["gradient"] < 1e-6 and row["weights"] < 1e-6
