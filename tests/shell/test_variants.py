"""Bases, presets, named tasks and nested keys; one clear message where one does not exist."""

import pytest
from config_tree import configs, write  # noqa: F401  (a fixture)

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.settings import load_settings, merge
from epymarl_lmac.settings.files import ENVS, variants
from epymarl_lmac.tasks import task_id

SMALL_TEAM = "env: lookout\nenv_args: {capability_config: {team_gen: {n_units: 3, weights: [1, 2]}, start: {p: 0.5}}}\n"


def test_bases_form_chains(configs):  # noqa: F811
    write(configs, "algs/first", "base: vdn\nlr: 0.1\ngamma: 0.1\n")
    write(configs, "algs/second", "base: first\ngamma: 0.2\n")
    values = merge("second", "lookout")
    assert [values[key] for key in ("mixer", "lr", "gamma", "name")] == ["vdn", 0.1, 0.2, "second"]


def test_a_preset_is_chosen_and_recorded(configs):  # noqa: F811
    write(configs, "algs/m", "base: qmix\npresets: {official: {lr: 0.1, optimiser: rmsprop}}\n")
    assert (merge("m", "lookout")["lr"], merge("m", "lookout")["preset"]) == (0.0005, "common")
    chosen = load_settings("m", "lookout", ["preset=official"])
    assert (chosen.lr, chosen.optimiser, chosen.preset) == (0.1, "rmsprop", "official")
    assert merge("m", "lookout", ["preset=common"])["lr"] == 0.0005


def test_a_base_keeps_its_presets_to_itself(configs):  # noqa: F811
    write(configs, "algs/m", "base: qmix\npresets: {official: {lr: 0.1}}\n")
    write(configs, "algs/child", "base: m\n")
    with pytest.raises(SettingsError, match=r"algs/child\.yaml has no preset 'official'\. It has no presets\."):
        merge("child", "lookout", ["preset=official"])


@pytest.mark.parametrize("name", variants(ENVS, "lbf"))
def test_a_task_of_lbf_is_the_one_its_name_says(name):
    settings = load_settings("qmix", "lbf", [f"task={name}"])
    assert settings.task == name
    assert task_id("lbf", settings.env_args) == name


def test_the_default_of_lbf_is_its_first_task():
    assert merge("qmix", "lbf")["env_args"] == merge("qmix", "lbf", ["task=8x8-2p-2f-s1-coop"])["env_args"]


def test_a_task_that_starts_with_a_digit_and_one_in_quotes_are_found(configs):  # noqa: F811
    write(configs, "envs/e", SMALL_TEAM + "tasks: {3m: {t_max: 3}, 8: {t_max: 8}}\n")
    assert merge("qmix", "e", ["task=3m"])["t_max"] == 3
    assert merge("qmix", "e", ['task="8"'])["t_max"] == 8


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ("env_args.capability_config.team_gen.n_units=5", {"n_units": 5, "weights": [1, 2]}),
        ("env_args.capability_config={team_gen: {n_units: 6}}", {"n_units": 6, "weights": [1, 2]}),
        ("env_args={capability_config: {team_gen: {weights: [3]}}}", {"n_units": 3, "weights": [3]}),
        ("env_args.capability_config.team_gen=null", None),
    ],
)
def test_nested_keys_are_set_to_any_depth_and_their_neighbours_stay(configs, update, expected):  # noqa: F811
    write(configs, "envs/e", SMALL_TEAM)
    values = merge("qmix", "e", [update])
    assert values["env_args"]["capability_config"] == {"team_gen": expected, "start": {"p": 0.5}}


def test_one_runs_nested_values_are_not_anothers():
    first = merge("qmix", "lbf")
    first["env_args"]["players"] = 99
    assert merge("qmix", "lbf")["env_args"]["players"] == 2


ALGS_BAD = {
    "unknown base": ({"m": "base: qmxi"}, r"algs/m\.yaml has the unknown base 'qmxi'; did you mean 'qmix'\?"),
    "cycle": (
        {"m": "base: a", "a": "base: b", "b": "base: a"},
        r"The bases of algs/m\.yaml form a cycle: a -> b -> a\.",
    ),
    "itself": ({"m": "base: m"}, "form a cycle: m -> m"),
    "two bases": ({"m": "base: [qmix, vdn]"}, r"base=\['qmix', 'vdn'\] in algs/m\.yaml must be the name of one"),
    "unknown preset": (
        {"m": "base: qmix\npresets: {official: {}, paper: {}}"},
        r"algs/m\.yaml has no preset 'offical'; did you mean 'official'\? It has: official, paper\.",
    ),
    "no presets": ({"m": "base: qmix"}, r"algs/m\.yaml has no preset 'offical'\. It has no presets\."),
    "preset with an unknown key": (
        {"m": "base: qmix\npresets: {offical: {lrr: 1}}"},
        r"Unknown setting 'lrr' in preset offical in algs/m\.yaml; did you mean 'lr'\?",
    ),
    "preset that holds nothing": (
        {"m": "base: qmix\npresets: {offical: 3}"},
        r"preset offical in algs/m\.yaml must hold keys and values",
    ),
    "preset called common": ({"m": "presets: {common: {}}"}, "has a preset 'common', the name of the file itself"),
    "presets are no mapping": ({"m": "presets: [official]"}, r"presets in algs/m\.yaml must hold keys and values"),
    "a file that chooses": ({"m": "preset: offical"}, "states 'preset', which is chosen on the command line"),
    "value out of bounds in a preset": (
        {"m": "base: qmix\npresets: {offical: {gamma: 1.5}}"},
        r"gamma=1\.5 must lie between 0 and 1 \(preset offical in algs/m\.yaml\)",
    ),
}


@pytest.mark.parametrize("case", ALGS_BAD)
def test_a_bad_algorithms_file_ends_with_one_message(configs, case):  # noqa: F811
    files, message = ALGS_BAD[case]
    for name, text in files.items():
        write(configs, f"algs/{name}", text)
    with pytest.raises(SettingsError, match=message):
        load_settings("m", "lookout", ["preset=offical"])


ENVS_BAD = {
    "unknown task": (["task=10x10"], r"envs/lbf\.yaml has no task '10x10'.*It has: 8x8-2p-2f-s1-coop, 11x11"),
    "near task": (["task=8x8-2p-2f-s1"], "did you mean '8x8-2p-2f-s1-coop'"),
    "task is a number": (["task=8"], r"task=8 must be of type str \(command line\)"),
    "nested key": (["env_args.sigth=1"], r"Unknown setting 'env_args\.sigth'; did you mean 'env_args\.sight'\?"),
    "key inside a number": (["env_args.sight.x=1"], r"Unknown setting 'env_args\.sight\.x'"),
    "key inside a mapping": (["env_args={sigth: 1}"], r"did you mean 'env_args\.sight'\?"),
    "arguments that are none": (["env_args=3"], r"env_args=3 must be of type dict \(command line\)"),
    "file by its setting": (["env_config=lookout"], "'env_config' is chosen by --env-config, not after `with`"),
    "out of bounds": (["lr=0"], r"lr=0 must be greater than 0 \(command line\)"),
    "no choice": (["optimiser=sgd"], r"optimiser=sgd must be one of: adam, rmsprop \(command line\)"),
}


@pytest.mark.parametrize("case", ENVS_BAD)
def test_bad_words_end_with_one_message(case):
    updates, message = ENVS_BAD[case]
    with pytest.raises(SettingsError, match=message):
        load_settings("qmix", "lbf", updates)


def test_an_environment_without_tasks_says_so():
    with pytest.raises(SettingsError, match=r"envs/lookout\.yaml has no task 'x'\. It has no tasks\."):
        merge("qmix", "lookout", ["task=x"])


def test_a_value_out_of_bounds_names_its_file(configs):  # noqa: F811
    write(configs, "envs/e", SMALL_TEAM + "t_max: 0\n")
    with pytest.raises(SettingsError, match=r"t_max=0 must be at least 1 \(envs/e\.yaml\)"):
        load_settings("qmix", "e")
