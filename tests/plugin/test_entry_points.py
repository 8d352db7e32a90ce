"""Third-party packages: the worked example, installed for real, and names that clash."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fake_host import commit, make_host, tree_hash

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.plugin import entry_points
from epymarl_lmac.plugin.entry_points import extended, plugin_config_roots, plugin_entries

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "shout_plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip installed the example."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed")
    copy = tmp_path_factory.mktemp("source") / "shout_plugin"  # pip builds beside the source
    shutil.copytree(EXAMPLE, copy)
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def run(site, *words, cwd=ROOT, check=True):
    paths = os.pathsep.join(map(str, (site, ROOT)))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_the_example_is_listed_and_learns(site, tmp_path):
    assert "shout_qmix" in run(site, "src/main.py", "--list").stdout
    words = ["--config=shout_qmix", "--env-config=vote", "--no-sacred", "with", "t_max=600", "test_nepisode=4"]
    words += [f"local_results_path={tmp_path}", "batch_size_run=8", "learner_log_interval=100", "use_cuda=False"]
    run(site, "src/main.py", *words)
    record = next(tmp_path.glob("shout_qmix_vote_*"))
    rows = [json.loads(line) for line in (record / "metrics.jsonl").read_text().splitlines()]
    assert any("loss" in json.dumps(row) for row in rows)


def test_the_examples_own_key_is_checked(site):
    words = ["--config=shout_qmix", "--env-config=vote", "--print-config", "with", "shout_dim=wide"]
    done = run(site, "src/main.py", *words, check=False)
    assert done.returncode == 2 and "shout_dim='wide' must be of type int" in done.stderr


def test_the_examples_file_repeats_nothing_that_it_inherits(site):
    own = "no_algorithms_file_repeats_what_it_inherits and shout_qmix"
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/shell/test_settings.py", "-k", own)
    assert "1 passed" in done.stdout


def test_the_example_comes_along_into_a_host(site, tmp_path):
    root = make_host(tmp_path / "host", "pymarl2")
    commit(root)
    before = tree_hash(root)
    run(site, "-m", "epymarl_lmac.cli", "attach", str(root))
    values = yaml.safe_load((root / "src/config/algs/shout_qmix.yaml").read_text())
    assert (values["comm"], values["learner"], values["shout_dim"]) == ("shout", "ours_q_learner", 4)
    done = run(site, "src/main.py", "shout_qmix:vote", cwd=root)
    assert '"shout_qmix:vote"' in done.stdout
    run(site, "-m", "epymarl_lmac.cli", "detach", str(root))
    assert tree_hash(root) == before


class Point:
    def __init__(self, name, value):
        self.name, self.value = name, value


@pytest.fixture
def installed(monkeypatch):
    """Pretends that packages are installed: group -> entry points."""
    points = {}
    monkeypatch.setattr(entry_points, "entry_points", lambda group: points.get(group, []))
    entry_points.installed_points.cache_clear()
    yield points
    entry_points.installed_points.cache_clear()


def test_entries_are_not_imported_until_used(installed):
    installed["epymarl_lmac.learners"] = [Point("odd", "no_such_package.odd:Odd")]
    registry = extended("learners", {"own": int})
    assert sorted(registry) == ["odd", "own"] and registry["own"] is int
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        registry["odd"]


def test_two_packages_with_one_name_are_refused(installed):
    installed["epymarl_lmac.envs"] = [Point("maze", "a.maze:Maze"), Point("maze", "b.maze:Maze")]
    with pytest.raises(SettingsError, match=r"two installed packages register 'maze', a\.maze:Maze and b\.maze:Maze"):
        plugin_entries("envs")


def test_one_package_seen_twice_is_one(installed):
    installed["epymarl_lmac.envs"] = [Point("maze", "a.maze:Maze"), Point("maze", "a.maze:Maze")]
    assert plugin_entries("envs") == {"maze": "a.maze:Maze"}


def test_a_name_of_ours_is_refused(installed):
    installed["epymarl_lmac.controllers"] = [Point("basic_mac", "a.mac:Mac")]
    with pytest.raises(SettingsError, match=r"a\.mac:Mac registers 'basic_mac'"):
        extended("controllers", {"basic_mac": int})


def test_an_unknown_name_is_answered_with_the_nearest(installed):
    installed["epymarl_lmac.mixers"] = [Point("qatten", "a.q:Q")]
    with pytest.raises(SettingsError, match="did you mean 'qatten'"):
        extended("mixers", {})["qaten"]


def test_config_folders_are_those_of_the_packages(installed, tmp_path, monkeypatch):
    for name, has_config in (("with_config", True), ("without_config", False)):
        (tmp_path / name / "config" if has_config else tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed["epymarl_lmac.learners"] = [Point("a", "with_config.x:X"), Point("b", "without_config.x:X")]
    installed["epymarl_lmac.envs"] = [Point("c", "with_config.y:Y"), Point("d", "gone.y:Y")]
    assert plugin_config_roots() == [tmp_path / "with_config" / "config"]


def test_a_config_file_with_a_name_of_ours_is_refused(installed, tmp_path, monkeypatch):
    from epymarl_lmac.settings import algorithms

    folder = tmp_path / "clash" / "config" / "algs"
    folder.mkdir(parents=True)
    (tmp_path / "clash" / "__init__.py").write_text("")
    (folder / "qmix.yaml").write_text("name: qmix\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed["epymarl_lmac.learners"] = [Point("a", "clash.x:X")]
    with pytest.raises(SettingsError, match="have one name"):
        algorithms()
