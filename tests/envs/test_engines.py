"""Environments of others: ids, spaces, seeds, ends, and one clear message for whatever does not fit."""

import sys
import types
from functools import partial

import numpy as np
import pytest

from envs.check_env import check_env, subject_of
from envs.making import make_one
from epymarl_lmac.errors import TaskError
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import ENTRIES, task_card, task_id
from runners.worker_pool import EnvWorkerError, WorkerPool

pytest.importorskip("gymnasium")
from fake_engines import Zoo

DUO = {"key": "fake_engines:Duo-v0", "time_limit": 9, "pretrained_wrapper": None}
ZOO = {"key": "zoo_family.zoo_v0", "time_limit": 9, "state": "auto", "kwargs": {}}


@pytest.fixture
def zoo(monkeypatch):
    """Makes the PettingZoo fake importable by its key."""
    pytest.importorskip("pettingzoo")
    module = types.ModuleType("zoo_family.zoo_v0")
    module.parallel_env = Zoo
    monkeypatch.setitem(sys.modules, "zoo_family", types.ModuleType("zoo_family"))
    monkeypatch.setitem(sys.modules, "zoo_family.zoo_v0", module)
    monkeypatch.setitem(sys.modules, "zoo_family.bare_v0", types.ModuleType("zoo_family.bare_v0"))


def one(name, env_args, seed=1, **forms):
    return make_one(name, ENTRIES[name], seed=seed, **forms, **env_args)


# -- gymma -----------------------------------------------------------------------------------------------------


def test_spaces_of_unlike_agents_are_padded_and_masked_and_the_record_says_so():
    env = one("gymma", DUO)
    obs, _ = env.reset()
    assert env.get_env_info() == {
        "state_shape": 4, "obs_shape": 2, "n_actions": 3, "n_agents": 2, "episode_limit": 9,
    }  # fmt: skip
    assert obs[1].tolist() == [0, 0] and np.array_equal(env.get_state(), np.concatenate(obs))
    assert env.get_avail_actions() == [[1, 1, 0], [1, 1, 1]]
    assert env.rules == (
        "gymma fake_engines:Duo-v0 (fake_engines), state: concat_obs, time limit 9, observations of 2, 1 padded with "
        "zeros, action sets of 2, 3 padded and masked"
    )


def test_actions_are_those_of_the_agents_own_spaces_and_unavailable_ones_are_refused():
    env = one("gymma", DUO)
    env.reset()
    env.step([1, 2])
    assert env.env.unwrapped.actions == [1, 7]
    with pytest.raises(ValueError, match=r"action 2 of agent_0 is not available at step 1; available are 0, 1"):
        env.step([2, 0])


@pytest.mark.parametrize(
    ("env_args", "form", "reward"),
    [({}, "sum", 3.0), ({}, "mean", 1.5), ({"team_reward": True}, "mean", 3.0), ({"team_reward": True}, "sum", 3.0)],
)
def test_the_teams_reward_is_made_as_asked(env_args, form, reward):
    env = one("gymma", {**DUO, **env_args}, reward_scalarisation=form)
    env.reset()
    assert env.step([0, 0])[1] == reward


@pytest.mark.parametrize(("time_limit", "ends"), [(2, (2, False, True)), (3, (3, True, False)), (9, (3, True, False))])
def test_the_tasks_end_is_a_termination_and_the_limit_a_truncation(time_limit, ends):
    env = one("gymma", {**DUO, "time_limit": time_limit})
    env.reset()
    steps = [env.step([0, 0])[2:4]]
    while not any(steps[-1]):
        steps.append(env.step([0, 0])[2:4])
    assert (len(steps), *steps[-1]) == ends


def test_the_seed_alone_decides_and_episodes_differ():
    one_env, same, other = (one("gymma", DUO, seed=seed) for seed in (1, 1, 2))
    first = [env.reset()[0][0] for env in (one_env, same, other)]
    assert np.array_equal(first[0], first[1]) and not np.array_equal(first[0], first[2])
    again = one_env.reset()[0][0]
    assert not np.array_equal(again, first[0]) and np.array_equal(again, same.reset()[0][0])


def test_a_wrapper_of_the_users_is_put_around():
    env = one("gymma", {**DUO, "pretrained_wrapper": "fake_engines:Shifted"})
    env.reset()
    assert env.step([0, 0])[1] == 23.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": None}, r"env 'gymma' needs env_args.key, e.g. lbforaging:"),
        (
            {"key": "no_such_game:Ball-v0"},
            r"needs the package 'no_such_game', which is not installed: pip install no_s",
        ),
        ({"key": "fake_engines:Trio-v0"}, r"env_args.key='fake_engines:Trio-v0' cannot be made: .*Trio"),
        ({"key": "fake_engines:Duo-v7"}, r"'fake_engines:Duo-v7' cannot be made: .*v7"),
        ({"colour": 1}, r"Duo-v0 does not take the arguments \['colour'\]"),
        ({"continuous": True}, r"agent_1 has the actions Box.*discrete actions"),
        ({"alone": True}, r"has the action space Discrete\(2\); an environment of several agents has a Tuple"),
        ({"time_limit": 0}, r"time_limit=0 must be a whole number"),
        ({"time_limit": None}, r"time_limit=None must be a whole number"),
        ({"pretrained_wrapper": "PretrainedTag"}, r"EPyMARL's trained prey and adversary do not come along"),
        ({"pretrained_wrapper": "fake_engines:Lost"}, r"fake_engines has no Lost"),
    ],
)
def test_what_does_not_fit_gymma_is_one_clear_message(changes, message):
    with pytest.raises(TaskError, match=message):
        one("gymma", {**DUO, **changes})


def test_a_missing_smaclite_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "smaclite", None)
    for name, env_args in (
        ("gymma", {**DUO, "key": "smaclite:smaclite/2s3z-v0"}),
        ("smaclite", {"map_name": "2s3z", "time_limit": 120, "use_cpp_rvo2": False}),
    ):
        with pytest.raises(
            TaskError, match=r"pip install 'smaclite @ git\+https://github.com/uoe-agents/smaclite.git'"
        ):
            one(name, env_args)


def test_smaclite_asks_for_a_map():
    with pytest.raises(TaskError, match=r"env 'smaclite' needs env_args.map_name, e\.g\. 2s3z; got None"):
        one("smaclite", merge("qmix", "smaclite")["env_args"])


def test_smaclites_battles_keep_every_promise():
    pytest.importorskip("smaclite")
    env_args = merge("qmix", "smaclite", ["env_args.map_name=2s3z", "env_args.time_limit=6"])["env_args"]
    assert check_env(subject_of("smaclite", ENTRIES["smaclite"], env_args, n_episodes=2)) == []
    with pytest.raises(TaskError, match=r"env_args\.map_name='9x' is no map of SMAClite"):
        one("smaclite", {**env_args, "map_name": "9x"})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", r"^Env worker 0 \(gymma, seed 5\) at step 1 failed in step\(\): RuntimeError: the ball is gone"),
        ("exit", r"^Env worker 0 \(gymma, seed 5\) at step 1 ended with exit status 3(.|\n)*lost its licence"),
    ],
)
def test_an_engine_that_dies_in_mid_episode_is_told_with_its_last_lines(fault, message):
    make = partial(make_one, "gymma", ENTRIES["gymma"], seed=5, **DUO, fault=fault)
    pool = WorkerPool("gymma", [make], [5])
    pool.reset()
    pool.step(np.zeros((1, 2), np.int64))
    with pytest.raises(EnvWorkerError, match=message):
        pool.step(np.zeros((1, 2), np.int64))


# -- pettingzoo ------------------------------------------------------------------------------------------------


def test_agents_that_leave_and_come_back_are_dead_meanwhile(zoo):
    env = one("pettingzoo", ZOO)
    env.reset()
    seen = [(env.get_alive().tolist(), env.get_avail_actions(), env.get_obs()[1].tolist())]
    for actions in ([0, 1], [0, 0], [0, 1]):
        env.step(actions)
        seen.append((env.get_alive().tolist(), env.get_avail_actions(), env.get_obs()[1].tolist()))
    assert seen[0] == ([True, True], [[1, 0, 0, 0], [1, 1, 1, 1]], [1, 0, 0])
    assert seen[1] == ([True, False], [[1, 1, 0, 0], [1, 0, 0, 0]], [0, 0, 0])
    assert seen[2] == ([True, True], [[1, 0, 0, 0], [0, 1, 1, 0]], [0, 0, 1])
    assert env.env.played == [{"a": 0, "b": 1}, {"a": 0}, {"a": 0, "b": 1}]
    assert env.get_agent_rewards().tolist() == [1, 1] and env.has_alive and env.reward_per_agent


@pytest.mark.parametrize("cut", [False, True])
def test_an_episode_is_over_when_no_agent_is_left_and_says_how(zoo, cut):
    env = one("pettingzoo", {**ZOO, "kwargs": {"cut": cut}})
    env.reset()
    ends = [env.step(actions)[2:4] for actions in ([0, 1], [0, 0], [0, 1], [0, 1])]
    assert ends == [(False, False)] * 3 + [(not cut, cut)]
    assert env.get_obs()[0].tolist() == [4, 0, 0]  # the last observation is there


@pytest.mark.parametrize(
    ("state", "kwargs", "form", "size"),
    [
        ("auto", {}, "engine", 3),
        ("concat_obs", {}, "concat_obs", 6),
        ("auto", {"state": False}, "concat_obs", 6),
    ],
)
def test_the_state_is_the_engines_or_all_observations_and_the_record_says_which(zoo, state, kwargs, form, size):
    env = one("pettingzoo", {**ZOO, "state": state, "kwargs": kwargs})
    env.reset()
    assert (env.state_form, env.get_state_size(), len(env.get_state())) == (form, size, size)
    assert f"state: {form}" in env.rules


def test_agents_that_nobody_announced_are_refused(zoo):
    env = one("pettingzoo", {**ZOO, "kwargs": {"stranger": True}})
    env.reset()
    env.step([0, 0])
    with pytest.raises(ValueError, match="c came, which possible_agents does not list"):
        env.step([0, 0])


def test_an_agent_that_is_not_there_at_the_start_is_refused(zoo):
    env = one("pettingzoo", {**ZOO, "kwargs": {"late": True}})
    with pytest.raises(TaskError, match="b is not there at the start"):
        env.reset()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": None}, r"env 'pettingzoo' needs env_args.key, e.g. mpe2.simple_spread_v3"),
        ({"key": "zoo_v0"}, r"'zoo_v0' names no family"),
        (
            {"key": "no_such_zoo.lion_v0"},
            r"needs the package 'no_such_zoo', which is not installed: pip install no_such",
        ),
        ({"key": "sisl.lion_v0"}, r"pettingzoo.sisl has no environment 'lion_v0'|needs the package"),
        ({"key": "zoo_family.bare_v0"}, r"zoo_family.bare_v0 has no parallel_env"),
        ({"kwargs": {"colour": 1}}, r"does not take env_args.kwargs=\{'colour': 1\}"),
        ({"kwargs": {"continuous": True}}, r"a has the actions Box.*discrete actions"),
        ({"kwargs": {"unlisted": True}}, r"does not list its possible_agents"),
        ({"kwargs": {"state": False}, "state": "engine"}, r"declares no state; use env_args.state=concat_obs"),
        ({"state": "pixels"}, r"state='pixels' is not known; choose one of auto, engine, concat_obs"),
    ],
)
def test_what_does_not_fit_pettingzoo_is_one_clear_message(zoo, changes, message):
    with pytest.raises(TaskError, match=message):
        one("pettingzoo", {**ZOO, **changes})


def test_a_missing_pettingzoo_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    with pytest.raises(
        TaskError, match="needs the package 'pettingzoo', which is not installed: pip install pettingzoo"
    ):
        one("pettingzoo", ZOO)


# -- cards -----------------------------------------------------------------------------------------------------


def test_a_generated_card_names_every_dimension_and_fits(zoo):
    for name, env_args in (("gymma", DUO), ("pettingzoo", ZOO)):
        card = task_card(name, env_args)
        assert check_env(subject_of(name, ENTRIES[name], env_args)) == []
        assert card.task == task_id(name, env_args) and card.settings == env_args
    card = task_card("gymma", DUO)
    assert card.obs[1].name == "agent_0.obs[1]|agent_1.none[1]"
    assert [d.name for d in card.state] == ["agent_0.obs[0]", "agent_0.obs[1]", "agent_1.obs[0]", "agent_1.none[1]"]
    assert card.actions == ("action 0", "action 1", "agent_1: action 2")


@pytest.mark.parametrize(
    ("env_args", "name"),
    [
        ({"key": "rware:rware-tiny-2ag-v2", "time_limit": 50, "pretrained_wrapper": None}, "rware-tiny-2ag-v2-50t"),
        ({"key": "mpe2.simple_spread_v3", "time_limit": 25, "state": "auto", "kwargs": {}}, "simple_spread_v3-25t"),
        ({"key": "smaclite:smaclite/2s3z-v0", "time_limit": 120}, "smaclite-2s3z-v0-120t"),
    ],
)
def test_tasks_have_short_names_and_other_arguments_others(env_args, name):
    assert task_id("gymma", env_args) == name
    changed = task_id("gymma", {**env_args, "kwargs": {"n": 4}})
    assert changed.startswith(name + "-") and changed != task_id("gymma", {**env_args, "kwargs": {"n": 5}})


# -- packages that users have ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["simple_reference_v3", "simple_speaker_listener_v4", "simple_spread_v3"])
def test_particle_worlds_keep_every_promise(task):
    pytest.importorskip("mpe2")
    pytest.importorskip("pettingzoo")
    env_args = merge("qmix", "pettingzoo", [f"env_args.key=mpe2.{task}"])["env_args"]
    assert check_env(subject_of("pettingzoo", ENTRIES["pettingzoo"], env_args, n_episodes=2)) == []


def test_the_speakers_and_listeners_card_says_what_each_sees():
    pytest.importorskip("mpe2")
    env_args = merge("qmix", "pettingzoo", ["env_args.key=mpe2.simple_speaker_listener_v4"])["env_args"]
    card = task_card("pettingzoo", env_args)
    assert card.obs[0].name == "speaker_0.goal[red]|listener_0.velocity[x]"
    assert card.actions == (
        "speaker_0: say 0; listener_0: stay", "speaker_0: say 1; listener_0: left",
        "speaker_0: say 2; listener_0: right", "listener_0: down", "listener_0: up",
    )  # fmt: skip
    names = [d.name for d in card.state]
    assert len(names) == 14 and names[:4] == [
        "speaker_0.goal[red]", "speaker_0.goal[green]", "speaker_0.goal[blue]", "listener_0.velocity[x]",
    ]  # fmt: skip


def test_the_reference_games_card_is_true_of_what_happens():
    """Every action does what its name says, and the rest of the columns are what they are called."""
    pytest.importorskip("mpe2")
    env_args = merge("qmix", "pettingzoo", ["env_args.key=mpe2.simple_reference_v3"])["env_args"]
    card = task_card("pettingzoo", env_args)
    at = {d.name: d.index for d in card.obs}
    env = one("pettingzoo", env_args)
    for action, name in enumerate(card.actions):
        move, word = name.split(", say ")
        env.reset()
        world = env.env.unwrapped.world
        _, reward, *_ = env.step([action, 0])
        own, other = env.get_obs()
        speed = {"stay": (0, 0), "left": (-0.5, 0), "right": (0.5, 0), "down": (0, -0.5), "up": (0, 0.5)}[move]
        assert (own[at["velocity[x]"]], own[at["velocity[y]"]]) == pytest.approx(speed)
        assert [other[at[f"heard[{w}]"]] for w in range(10)] == [float(w == int(word)) for w in range(10)]
        goal = np.argmax([own[at[f"goal[{colour}]"]] for colour in ("red", "green", "blue")])
        places = [other[at[f"landmark{goal}[{axis}]"]] for axis in "xy"]
        own_goal = np.argmax([other[at[f"goal[{colour}]"]] for colour in ("red", "green", "blue")])
        own_places = [own[at[f"landmark{own_goal}[{axis}]"]] for axis in "xy"]
        assert world.agents[0].goal_b is world.landmarks[goal]
        assert reward == pytest.approx(-np.linalg.norm(places) - np.linalg.norm(own_places), rel=1e-4)


@pytest.mark.parametrize(
    "key", ["lbforaging:Foraging-8x8-2p-2f-coop-v3", "rware:rware-tiny-2ag-v2", "pz-mpe-simple-spread-v3"]
)
def test_an_epymarl_users_ids_run(key):
    pytest.importorskip("mpe2" if key.startswith("pz") else key.partition(":")[0])
    env_args = merge("qmix", "gymma", [f"env_args.key={key}", "env_args.time_limit=12"])["env_args"]
    assert check_env(subject_of("gymma", ENTRIES["gymma"], env_args, n_episodes=2)) == []
