"""A run's settings: the order in which files and the command line hold, types, bounds, rules; nothing stated twice."""

import re
from dataclasses import make_dataclass

import pytest
import yaml
from config_tree import configs, write  # noqa: F401  (a fixture)

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.paths import config_root
from epymarl_lmac.plugin.entry_points import plugin_config_roots
from epymarl_lmac.settings import algorithms, environments, load_settings, merge, setting
from epymarl_lmac.settings.command_line import assignment, parse_update, split_argv
from epymarl_lmac.settings.files import ALGS, bases, layers, merged, read_yaml
from epymarl_lmac.settings.load import method_defaults
from epymarl_lmac.settings.write import targets
from epymarl_lmac.tasks import ENTRIES
from learners.value_learner import ValueLearner
from modules.comm.lmac import LmacComm

# Files of settings; maps have a format of their own (docs/environments/sc2.md).
FILES = sorted(
    path
    for root in (config_root(), *plugin_config_roots())
    for pattern in ("*.yaml", "algs/*.yaml", "envs/*.yaml")
    for path in root.glob(pattern)
)


@pytest.mark.parametrize("alg", algorithms())
@pytest.mark.parametrize("env", environments())
def test_every_algorithm_and_environment_makes_settings(alg, env):
    settings = load_settings(alg, env)
    assert (settings.name, settings.config, settings.env_config) == (alg, alg, env)
    assert settings.env in ENTRIES


@pytest.mark.parametrize("path", targets(), ids=lambda path: path.name)
def test_written_files_are_what_the_definitions_write(path):
    assert path.read_text() == targets()[path], "run: python -m epymarl_lmac.settings write"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_key_has_a_comment_and_every_variant_one_for_all_of_its_keys(path):
    within_variant = False
    for line in path.read_text().splitlines():
        if re.match(r"\S", line):
            within_variant = bool(re.match(r"(presets|tasks):", line))
        is_variants_key = within_variant and re.match(r" {4,}", line)
        if re.match(r"\s*[\w-]+:", line) and line.strip() != "env_args:" and not is_variants_key:
            assert "#" in line, f"{path.name}: {line}"


@pytest.mark.parametrize("alg", algorithms())
def test_no_algorithms_file_repeats_what_it_inherits(alg):
    inherited = read_yaml(config_root() / "default.yaml")
    *below, own = layers(ALGS, alg)
    for layer in below:
        inherited = merged(inherited, layer.values)
    inherited = {**method_defaults({**inherited, **own.values}), **inherited}
    repeated = {key: value for key, value in own.values.items() if key in inherited and inherited[key] == value}
    assert not repeated, f"{alg}.yaml repeats {repeated}, which it has from {bases(ALGS, alg)[:-1]} or the defaults"


def test_order_is_default_environment_task_base_algorithm_preset_command_line(configs):  # noqa: F811
    write(configs, "envs/e", "env: lookout\nlr: 1.0\ngamma: 0.1\nbatch_size: 1\nhidden_dim: 1\nepsilon_finish: 0.1\n"
          "t_max: 1\nenv_args: {x: 1, y: 1, z: {a: 1, b: 1}}\n"
          "tasks: {big: {gamma: 0.2, batch_size: 2, hidden_dim: 2, epsilon_finish: 0.2, t_max: 2,"
          " env_args: {z: {b: 2}}}}\n")  # fmt: skip
    write(configs, "algs/below", "batch_size: 3\nhidden_dim: 3\nepsilon_finish: 0.3\nt_max: 3\n")
    write(configs, "algs/m", "base: below\nhidden_dim: 4\nepsilon_finish: 0.4\nt_max: 4\nenv_args: {y: 4}\n"
          "presets: {official: {epsilon_finish: 0.5, t_max: 5}}\n")  # fmt: skip
    values = merge("m", "e", ["task=big", "preset=official", "t_max=6", "env_args.x=6"])
    keys = ("optimiser", "lr", "gamma", "batch_size", "hidden_dim", "epsilon_finish", "t_max")
    assert [values[key] for key in keys] == ["adam", 1.0, 0.2, 3, 4, 0.5, 6]
    assert values["env_args"] == {"x": 6, "y": 4, "z": {"a": 1, "b": 2}}
    assert (values["name"], values["config"], values["env_config"]) == ("m", "m", "e")


def test_an_environments_own_settings_hold_where_the_algorithm_says_nothing():
    assert read_yaml(config_root() / "envs/lookout.yaml")["target_update_interval_or_tau"] == 50
    for alg in algorithms():
        assert merge(alg, "lookout")["target_update_interval_or_tau"] == 50, alg


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


def test_settings_begin_after_the_first_with():
    assert split_argv(["--config=qmix", "with", "a=1", "label=with"]) == (["--config=qmix"], ["a=1", "label=with"])
    assert split_argv(["--list"]) == (["--list"], [])


def test_settings_cannot_be_changed_after_start():
    settings = load_settings("qmix", "lookout")
    with pytest.raises(AttributeError, match="fixed after start"):
        settings.lr = 1.0
    assert settings.with_values(n_agents=3).n_agents == 3


def test_a_key_of_another_method_is_unknown():
    with pytest.raises(SettingsError, match="Unknown setting 'latent_dim'"):
        load_settings("qmix", "lookout", ["latent_dim=3"])


def test_a_method_chosen_on_the_command_line_brings_its_own_settings():
    chosen = ["learner=lmac_learner", "mac=lmac_mac", "agent=lmac", "latent_dim=3"]
    values = merge("qmix", "lookout", chosen)
    assert (values["latent_dim"], values["comm_dropout"]) == (3, 0.1)


def test_a_typo_in_an_algorithms_file_is_found(configs):  # noqa: F811
    path = configs / "algs" / "qmix.yaml"
    path.write_text(path.read_text() + "\ndubble_q: True # typo\n")
    message = r"Unknown setting 'dubble_q' in algs/qmix\.yaml; did you mean 'double_q'"
    for alg in ("qmix", "vdn"):
        with pytest.raises(SettingsError, match=message):
            load_settings(alg, "lookout")


def test_several_files_may_serve_one_environment(configs):  # noqa: F811
    write(configs, "envs/lookout_large", "base: lookout\nenv_args: {players: 5}\n")
    settings = load_settings("qmix", "lookout_large")
    assert (settings.env, settings.env_config) == ("lookout", "lookout_large")
    assert settings.env_args["players"] == 5 and settings.env_args["targets"] == 4


def test_the_default_file_decides_over_the_definitions(configs):  # noqa: F811
    path = configs / "default.yaml"
    values = {**yaml.safe_load(path.read_text()), "lr": 0.25}
    del values["gamma"]
    path.write_text(yaml.safe_dump(values))
    assert (merge("qmix", "lookout")["lr"], merge("qmix", "lookout")["gamma"]) == (0.25, 0.99)


@pytest.mark.parametrize(("key", "default"), [("hidden_dim", 32), ("recon_lambda", 2.0)])
def test_a_setting_that_two_parts_define_differently_is_refused(monkeypatch, key, default):
    fields = [(key, type(default), setting(default, "a number"))]
    monkeypatch.setattr(LmacComm, "SETTINGS", make_dataclass("Own", fields, frozen=True))
    other = make_dataclass("Others", [("recon_lambda", float, setting(1.0, "a number"))], frozen=True)
    monkeypatch.setattr(ValueLearner, "SETTINGS", other, raising=False)
    with pytest.raises(SettingsError, match=rf"comm=lmac defines the setting '{key}' with default {default}"):
        merge("lmac_qmix", "lookout")


@pytest.mark.parametrize(
    "value",
    ["/runs #1", "a: b", "7", "null", "", "über 🎲", 1e-05, float("inf"), None, True, [1, "2"], {"a": {"b": 0.5}}],
)
def test_a_value_that_is_written_as_text_is_read_back(value):
    assert parse_update(assignment("key", value)) == ("key", value)
