"""One definition of a setting: what follows from it."""

from dataclasses import dataclass

import pytest

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.settings.checks import bounds_text, check_value
from epymarl_lmac.settings.fields import defaults_of, setting, settings_of
from epymarl_lmac.settings.schema import HOSTS_OWN, RESUMABLE, RUNNERS
from epymarl_lmac.settings.write import yaml_value


@dataclass(frozen=True)
class Example:
    path: str  # no default: a yaml must state it
    share: float = setting(0.5, "a share", low=0, high=1)
    rate: float = setting(1e-5, "a rate", above=0)
    count: int = setting(1, "a count", low=1)
    few: int = setting(1, "a small count", high=3)
    form: str = setting("a", "a form", choices=("a", "b"))
    widths: list[int] = setting([1, 2], "widths")
    width: int | None = setting(None, "a width, or none", low=1)


FIELDS = {item.key: item for item in settings_of(Example)}


def test_a_field_without_default_must_be_stated():
    assert set(defaults_of(Example)) == set(FIELDS) - {"path"}


def test_a_mutable_default_is_not_shared():
    assert Example(path="x").widths == [1, 2]
    assert Example(path="x").widths is not Example(path="x").widths


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("share", 1.5, r"share=1\.5 must lie between 0 and 1 \(x\.yaml\)"),
        ("share", -0.1, "between 0 and 1"),
        ("share", float("nan"), "of type float"),
        ("share", True, "of type float"),
        ("rate", 0, "greater than 0"),
        ("count", 0, "at least 1"),
        ("count", 1.0, "of type int"),
        ("few", 4, "at most 3"),
        ("form", "c", "one of: a, b"),
        ("widths", 3, r"of type list\[int\]"),
        ("width", 0, "at least 1"),
    ],
)
def test_values_out_of_type_or_bounds_are_refused(key, value, message):
    with pytest.raises(SettingsError, match=message):
        check_value(FIELDS[key], value, "x.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [("share", 0), ("share", 1), ("rate", 1e-9), ("count", 1), ("few", 3), ("form", "b"), ("width", None)],
)
def test_values_at_the_bounds_are_taken(key, value):
    check_value(FIELDS[key], value)


def test_a_setting_needs_a_meaning():
    with pytest.raises(ValueError, match="meaning"):
        setting(1, " ")


def test_bounds_are_said_in_words():
    assert [bounds_text(FIELDS[key]) for key in ("share", "rate", "count", "few", "form", "path")] == [
        "between 0 and 1",
        "greater than 0",
        "at least 1",
        "at most 3",
        "one of: a, b",
        "",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(1e-5, "0.00001"), (1.0, "1.0"), (10, "10"), (True, "True"), (None, "null"), ("a", '"a"')]
)
def test_values_are_written_as_yaml_1_1_reads_them(value, text):
    import yaml

    assert yaml_value(value) == text
    assert yaml.safe_load(text) == value


def test_what_hosts_and_continuations_may_change():
    speed = {"n_threads", "matrix_products"}
    assert {"runner", "acting", "batch_size_run", "num_envs", "updates_per_episode", *speed} == RUNNERS
    assert RUNNERS < HOSTS_OWN and "lr" not in HOSTS_OWN and "t_max" in HOSTS_OWN
    assert {"t_max", "checkpoint_path", *speed} <= RESUMABLE
    assert not {"lr", "seed", "env_args", "acting", "batch_size_run", "comm"} & RESUMABLE
