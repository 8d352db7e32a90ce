"""Runners and environments are found by name, and a wrong name is told with the nearest one."""

import sys

import pytest

import envs
import runners
from envs.batched import BatchedEnv
from epymarl_lmac.errors import SettingsError, TaskError
from epymarl_lmac.lazy_registry import LazyRegistry
from runners.base import Runner


@pytest.mark.parametrize("name", list(runners.REGISTRY))
def test_every_runner_can_be_imported(name):
    assert issubclass(runners.REGISTRY[name], Runner)


def test_an_unknown_runner_names_the_nearest():
    with pytest.raises(SettingsError, match="'vektor' is not known; did you mean 'vector'") as error:
        runners.REGISTRY["vektor"]
    assert error.value.key == "runner"


@pytest.mark.parametrize("registry", [envs.REGISTRY, envs.BATCHED_REGISTRY])
def test_an_unknown_environment_names_the_nearest(registry):
    with pytest.raises(TaskError, match=r"'lookot' is not known; did you mean 'lookout'\?.*lbf, lookout"):
        registry["lookot"]


def test_a_name_like_no_other_lists_all():
    with pytest.raises(TaskError, match=r"'qqqq' is not known; Choose one of: lbf, lookout"):
        envs.REGISTRY["qqqq"]


def test_both_registries_have_the_same_environments():
    assert set(envs.REGISTRY) == set(envs.BATCHED_REGISTRY)


def test_a_batched_environment_is_a_class():
    assert issubclass(envs.BATCHED_REGISTRY["lbf"], BatchedEnv)


def test_single_environments_refuse_reward_forms_they_do_not_have():
    with pytest.raises(TaskError, match="reward_scalarisation='mean'"):
        envs.REGISTRY["lbf"](seed=1, common_reward=True, reward_scalarisation="mean")


def test_an_entry_is_imported_on_first_use_and_can_be_added_and_removed():
    registry = LazyRegistry({"queue": "wave:Wave_read"}, KeyError)
    sys.modules.pop("wave", None)
    assert "queue" in registry
    assert "wave" not in sys.modules
    assert registry["queue"].__name__ == "Wave_read"
    assert registry.get("none") is None
    registry["int"] = int
    assert sorted(registry) == ["int", "queue"]
    del registry["queue"]
    assert len(registry) == 1
