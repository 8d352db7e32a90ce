"""Merging, types and rules of settings; every yaml key is explained and read by something."""

import re

import pytest
import yaml

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.paths import config_root
from epymarl_lmac.settings import algorithms, environments, load_settings
from epymarl_lmac.settings.load import merge, parse_update
from epymarl_lmac.settings.schema import RunSettings, types_of
from epymarl_lmac.tasks import ENTRIES

FILES = sorted(config_root().rglob("*.yaml"))


@pytest.mark.parametrize("alg", algorithms())
@pytest.mark.parametrize("env", environments())
def test_every_algorithm_and_environment_makes_settings(alg, env):
    settings = load_settings(alg, env)
    assert settings.name == alg and settings.env in ENTRIES


def test_defaults_and_schema_have_the_same_keys():
    assert set(yaml.safe_load((config_root() / "default.yaml").read_text())) == set(types_of(RunSettings))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_key_has_a_comment(path):
    for line in path.read_text().splitlines():
        if re.match(r"\s*\w+:", line) and line.strip() != "env_args:":
            assert "#" in line, f"{path.name}: {line}"


def test_order_is_default_then_environment_then_algorithm_then_command_line(tmp_path, monkeypatch):
    (tmp_path / "envs").mkdir()
    (tmp_path / "algs").mkdir()
    (tmp_path / "default.yaml").write_text("a: 0\nb: 0\nc: 0\nd: 0\nenv_args: {}\n")
    (tmp_path / "envs" / "e.yaml").write_text("b: 1\nc: 1\nd: 1\nenv_args: {x: 1, y: 1}\n")
    (tmp_path / "algs" / "m.yaml").write_text("c: 2\nd: 2\nenv_args: {y: 2}\n")
    monkeypatch.setattr("epymarl_lmac.settings.load.config_root", lambda: tmp_path)
    assert merge("m", "e", ["d=3", "env_args.x=3"]) == {
        "a": 0,
        "b": 1,
        "c": 2,
        "d": 3,
        "env_args": {"x": 3, "y": 2},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=1", 1),
        ("k=1e-4", 1e-4),
        ("k=True", True),
        ("k=null", None),
        ("k=a=b", "a=b"),
        ("k=[1, 2]", [1, 2]),
    ],
)
def test_command_line_values_are_read_as_yaml(text, value):
    assert parse_update(text) == ("k", value)


def test_settings_cannot_be_changed_after_start():
    settings = load_settings("qmix", "lookout")
    with pytest.raises(AttributeError, match="fixed after start"):
        settings.lr = 1.0
    assert settings.with_values(n_agents=3).n_agents == 3


def test_a_key_of_another_method_is_unknown():
    with pytest.raises(SettingsError, match="Unknown setting 'latent_dim'"):
        load_settings("qmix", "lookout", ["latent_dim=3"])


def test_a_typo_in_an_algorithms_file_is_found(tmp_path, monkeypatch):
    import shutil

    copy = tmp_path / "config"
    shutil.copytree(config_root(), copy)
    path = copy / "algs" / "qmix.yaml"
    path.write_text(path.read_text() + "\ndubble_q: True # typo\n")
    monkeypatch.setattr("epymarl_lmac.settings.load.config_root", lambda: copy)
    with pytest.raises(SettingsError, match=r"Unknown setting 'dubble_q'.*did you mean 'double_q'"):
        load_settings("qmix", "lookout")
