"""Runners and environments are found by name, and a wrong name is told with the nearest one."""

import sys

import pytest

import envs
import runners
from envs.batched import BatchedEnv
from envs.making import make_one
from epymarl_lmac.errors import SettingsError, TaskError
from epymarl_lmac.lazy_registry import LazyRegistry
from epymarl_lmac.tasks.entry import resolve
from runners.base import Runner


@pytest.mark.parametrize("name", [name for name in runners.REGISTRY if name != "auto"])
def test_every_runner_can_be_imported_and_knows_its_name(name):
    assert issubclass(runners.REGISTRY[name], Runner)
    assert runners.REGISTRY[name].name == name


def test_an_unknown_runner_names_the_nearest():
    with pytest.raises(SettingsError, match="'vektor' is not known; did you mean 'vector'") as error:
        runners.REGISTRY["vektor"]
    assert error.value.key == "runner"


@pytest.mark.parametrize("registry", [envs.REGISTRY, envs.ENTRIES], ids=["REGISTRY", "ENTRIES"])
def test_an_unknown_environment_names_the_nearest(registry):
    with pytest.raises(TaskError, match=r"'lookot' is not known; did you mean 'lookout'\?.*lbf,.*lookout"):
        registry["lookot"]


def test_a_name_like_no_other_lists_all():
    with pytest.raises(TaskError, match=r"'qqqq' is not known\. Choose one of: ") as error:
        envs.REGISTRY["qqqq"]
    assert all(name in str(error.value) for name in envs.ENTRIES)


def test_hosts_find_the_same_environments_as_our_runners():
    assert set(envs.REGISTRY) == set(envs.ENTRIES) and len(envs.REGISTRY) == len(envs.ENTRIES)
    assert "lbf" in envs.REGISTRY and "fbl" not in envs.REGISTRY


@pytest.mark.parametrize("name", [name for name in envs.ENTRIES if envs.ENTRIES[name].batched is not None])
def test_a_batched_environment_is_a_class(name):
    assert issubclass(resolve(envs.ENTRIES[name].batched), BatchedEnv)


def test_environments_refuse_reward_forms_they_do_not_have():
    with pytest.raises(TaskError, match=r"reward_scalarisation='mean'; use common_reward=True .*=sum"):
        envs.REGISTRY["lbf"](seed=1, common_reward=True, reward_scalarisation="mean")
    with pytest.raises(TaskError, match="common_reward=False"):
        make_one("lookout", envs.ENTRIES["lookout"], seed=1, common_reward=False)


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
