"""The bridge gives our code the settings and calls it knows, whatever the host calls them."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from envs import REGISTRY as ENVS
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.plugin import bridge
from epymarl_lmac.plugin.bridge import BridgedArgs, HostEnv, bridged_args, learning_defaults, with_own_settings
from epymarl_lmac.plugin.hosts import HOSTS, registry_names, step_values
from epymarl_lmac.plugin.placeholders import stand_in_for_missing
from epymarl_lmac.settings import setting

OWN_ENVS = {"p-lookout": {"name": "lookout", "drop": ["seed", "map_name"]}}


def host_args(**values):
    return SimpleNamespace(**{"env": "sc2", "env_args": {"map_name": "3m", "seed": 3}, "common_reward": True, **values})


def bridged(host="epymarl", left_open=(), **values):
    return bridged_args(host_args(**values), HOSTS[host], OWN_ENVS, left_open)


def test_our_defaults_fill_what_the_host_lacks_and_nothing_else():
    args = bridged(lr=0.123, mixer=None)
    assert args.lr == 0.123 and args.mixer is None
    assert args.mixing_embed_dim == learning_defaults()["mixing_embed_dim"]
    assert not hasattr(args, "updates_per_episode")


def test_a_renamed_setting_is_read_under_the_hosts_name():
    assert bridged("pymarl2", rnn_hidden_dim=48).hidden_dim == 48
    assert bridged("epymarl", hidden_dim=32).hidden_dim == 32


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 50000), ({"environment_settings": {"epsilon_anneal_time": 7}}, 7), ({"epsilon_anneal_time": 9}, 9)],
)
def test_open_settings_come_from_the_command_line_then_the_environment_then_our_default(given, expected):
    values = {"epsilon_anneal_time": None, **given}
    assert bridged(left_open=["epsilon_anneal_time"], **values).epsilon_anneal_time == expected


def test_the_command_line_wins_over_the_environment():
    values = {"epsilon_anneal_time": 9, "environment_settings": {"epsilon_anneal_time": 7}}
    assert bridged(left_open=["epsilon_anneal_time"], **values).epsilon_anneal_time == 9


def test_an_environment_of_ours_has_our_name_and_arguments():
    args = bridged(env="p-lookout", env_args={"players": 3, "seed": 1, "map_name": "x"})
    assert (args.env, args.env_args) == ("lookout", {"players": 3})
    assert bridged().env_args == {"map_name": "3m", "seed": 3}  # the host's own stays


def test_the_hosts_settings_are_not_changed_and_bridging_twice_is_bridging_once():
    args = host_args(rnn_hidden_dim=48)
    before = dict(vars(args))
    once = bridged_args(args, HOSTS["pymarl2"], OWN_ENVS)
    assert vars(args) == before
    assert bridged_args(once, HOSTS["pymarl2"], OWN_ENVS) is once


@dataclass(frozen=True)
class OwnSettings:
    path: str  # no default: a yaml must state it
    width: int = setting(4, "width of a message", low=1)


class Method:
    SETTINGS = OwnSettings


def test_a_methods_own_defaults_fill_what_the_hosts_file_leaves_out():
    args = with_own_settings(Method, "m", BridgedArgs(path="here"))
    assert (args.width, args.path) == (4, "here")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "m needs the setting 'path'"),
        ({"path": "here", "width": 0}, r"width=0 must be at least 1 \(m\)"),
        ({"path": "here", "width": "wide"}, r"width='wide' must be of type int \(m\)"),
        ({"path": "here", "common_reward": False}, "common_reward=True"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(SettingsError, match=message):
        with_own_settings(Method, "m", BridgedArgs(**values))


@pytest.mark.parametrize("five_values", [True, False])
@pytest.mark.parametrize("terminates", [True, False])
def test_steps_have_the_hosts_form(five_values, terminates):
    env = ENVS["lookout"](
        seed=1, players=2, targets=2, steps=1, noise=0.0, random_scout=False, time_limit_terminates=terminates
    )
    host_env = HostEnv(env, five_values)
    host_env.reset()
    result = host_env.step([0, 0])
    if five_values:
        _, _, terminated, truncated, info = result
        assert (terminated, truncated) == (terminates, not terminates)
    else:
        _, over, info = result
        assert over is True
    assert info.get("episode_limit", False) is not terminates  # hosts bootstrap past a cut by this key alone
    assert host_env.get_stats() == {} and host_env.get_env_info()["n_agents"] == 2


def test_rendering_without_arguments_prints(capsys):
    env = HostEnv(ENVS["lookout"](seed=1, players=2, targets=2, steps=1, noise=0.0, random_scout=False,
                                  time_limit_terminates=True), True)  # fmt: skip
    env.reset()
    env.render()
    assert capsys.readouterr().out.startswith("target")


def _number(queue):
    queue.put(bridge.worker_number())


def test_worker_processes_have_numbers_of_their_own():
    assert bridge.worker_number() == 0
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_number, args=(queue,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    numbers = {queue.get(timeout=30) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(numbers) == 3 and 0 not in numbers


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("REGISTRY = {}\nREGISTRY['a'] = 1\nREGISTRY[\"b\"] = 2", {"a", "b"}),
        ("REGISTRY = {'a': 1, 'b': 2}", {"a", "b"}),
        ("OTHER = {'a': 1}\nOTHER['b'] = 2\nREGISTRY[name] = 3", set()),
        ("def register():\n    REGISTRY['late'] = 1", {"late"}),
    ],
)
def test_registry_names_are_read_from_source(source, names):
    assert registry_names(source) == names


@pytest.mark.parametrize(
    ("source", "n"),
    [
        ("_, reward, terminated, truncated, info = self.env.step(actions[0])", 5),
        ("reward, terminated, info = env.step(a)", 3),
        ("result = env.step(a)", 0),
    ],
)
def test_the_values_of_a_step_are_counted(source, n):
    assert step_values(source) == n


def test_stand_ins_load_like_the_package_and_fail_when_used():
    assert stand_in_for_missing(["json", "no_such_game"]) == ["no_such_game"]
    from no_such_game import maps, run_configs
    from no_such_game.lib.names import Base

    assert maps.table.update({}) is not None and run_configs.get().launch is not None

    class Game(Base):
        pass

    with pytest.raises(ImportError, match="Game needs the package 'no_such_game', which is not installed"):
        Game(map_name="3m")
    assert stand_in_for_missing(["no_such_game"]) == []
