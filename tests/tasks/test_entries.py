"""One entry says what an environment is: its forms, its card, its score; packages bring theirs too."""

import sys

import pytest

from epymarl_lmac.errors import TaskError
from epymarl_lmac.plugin import entry_points
from epymarl_lmac.plugin.entry_points import extended
from epymarl_lmac.settings import environments
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import ENTRIES, EnvEntry, Score, has_card, task_card, task_id, task_score
from epymarl_lmac.tasks.entries import OURS, EntryRegistry, completed
from epymarl_lmac.tasks.entry import REWARD_FORMS, as_entry

OWN = [name for name in environments() if ENTRIES[merge("qmix", name)["env"]].batched is not None]


class Point:
    def __init__(self, name, value):
        self.name, self.value = name, value


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a package with three environments, one in each form."""
    (tmp_path / "maze_pkg.py").write_text(
        "from envs.batched import BatchedEnv\n"
        "from epymarl_lmac.tasks import EnvEntry, Score, TaskCard\n"
        "class Maze(BatchedEnv): pass\n"
        "def make_maze(*, seed, common_reward, reward_scalarisation): return None\n"
        "def card(env_args): return TaskCard('maze', task_id(env_args), 'leave', 2, 9, (), (), (), dict(env_args))\n"
        "def task_id(env_args): return f\"{env_args['size']}x{env_args['size']}\"\n"
        "MAZE = EnvEntry(batched=Maze, card='maze_pkg', score=Score('solved_mean', 0, 1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "maze_pkg", raising=False)
    points = [
        Point("maze", "maze_pkg:MAZE"),
        Point("old_maze", "maze_pkg:Maze"),
        Point("one_maze", "maze_pkg:make_maze"),
    ]
    monkeypatch.setattr(entry_points, "installed_points", lambda group: points if group == "epymarl_lmac.envs" else [])
    registry = extended("envs", OURS, registry=EntryRegistry)
    for name in ("maze", "old_maze", "one_maze"):
        monkeypatch.setitem(ENTRIES, name, registry._entries[name])
    yield registry
    sys.modules.pop("maze_pkg", None)


def test_nothing_of_a_package_is_imported_until_its_environment_is_used(package):
    assert "maze_pkg" not in sys.modules
    assert package["maze"].card == "maze_pkg"
    assert "maze_pkg" in sys.modules


def test_a_package_brings_an_entry_a_class_or_a_maker(package):
    assert [package[name].form({}) for name in ("maze", "old_maze", "one_maze")] == ["batched", "batched", "single"]


def test_a_packages_card_and_score_are_found(package):
    assert has_card("maze") and not has_card("old_maze")
    assert task_id("maze", {"size": 5}) == "5x5" and task_card("maze", {"size": 5}).goal == "leave"
    assert task_score("maze", {}).key == "solved_mean"
    with pytest.raises(TaskError, match=r"env 'old_maze' has no task card; these have one: .*lbf, lookout"):
        task_card("old_maze", {})


def test_an_unknown_environment_has_no_card():
    assert not has_card("nowhere")
    with pytest.raises(TaskError, match="env 'nowhere' has no task card"):
        task_id("nowhere", {})
    with pytest.raises(TaskError, match="env 'nowhere' is not known"):
        task_score("nowhere", {})


@pytest.mark.parametrize("name", [name for name in OWN if has_card(merge("qmix", name)["env"])])
def test_every_card_names_its_environment_and_task(name):
    values = merge("qmix", name)
    card = task_card(values["env"], values["env_args"])
    assert (card.env, card.task) == (values["env"], task_id(values["env"], values["env_args"]))


@pytest.mark.parametrize("name", environments())
def test_every_score_is_an_ordered_range_with_its_optimum_inside(name):
    values = merge("qmix", name)
    score = task_score(values["env"], values["env_args"])
    known = [x for x in (score.low, score.optimum_alone, score.optimum, score.high) if x is not None]
    assert known == sorted(known)
    assert score.key.endswith("_mean")


def test_scores_are_normalised():
    assert Score("r_mean", -10, 10).normalise(0) == 0.5
    with pytest.raises(TaskError, match="r_mean=3 cannot be normalised"):
        Score("r_mean").normalise(3)


def test_known_scores():
    lbf = merge("qmix", "lbf")["env_args"]
    assert task_score("lbf", lbf) == Score("return_mean", 0, 1, optimum=1)
    assert task_score("lbf", {**lbf, "normalize_reward": False}) == Score()
    lookout = merge("qmix", "lookout")["env_args"]
    assert task_score("lookout", lookout) == Score("return_mean", 0, 1, optimum=1, optimum_alone=0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs batched, single or both"),
        ({"batched": int, "choose": len}, "choose needs batched and single"),
        ({"batched": int, "rewards": ("own",)}, f"name at least one of {', '.join(REWARD_FORMS)}"),
        ({"batched": int, "rewards": ()}, "name at least one of"),
        ({"batched": int, "rewards": ("sum", "mean")}, "leave out 'mean'"),
        ({"batched": int, "score": Score("x_mean", 1, 1)}, "low=1 must lie below high=1"),
        ({"batched": int, "score": Score("x_mean", 0, float("inf"))}, "both must be finite"),
    ],
)
def test_entries_that_contradict_themselves_are_refused(arguments, message):
    with pytest.raises(TaskError, match=message):
        EnvEntry(**arguments)


def test_a_choice_must_be_one_of_the_two_forms():
    entry = EnvEntry(batched=int, single=len, choose=lambda env_args: env_args["form"])
    assert entry.form({"form": "single"}) == "single" and EnvEntry(single=len).form({}) == "single"
    with pytest.raises(TaskError, match="answered 'both'"):
        entry.form({"form": "both"})


def test_what_is_no_environment_is_refused():
    with pytest.raises(TaskError, match="3 is no environment"):
        as_entry(3)


@pytest.mark.parametrize("env", ["sc2", "sc2v2"])
def test_recorded_settings_are_completed_by_options_that_came_later(env):
    today = merge("qmix", env, ["env_args.step_mul=4"])
    before = {key: value for key, value in today["env_args"].items() if key not in ("move_amount", "heuristic_ai")}
    assert completed({**today, "env_args": before}) == today


@pytest.mark.parametrize(
    "recorded", [{"env": "lbf", "env_args": {"sight": 1}}, {"env": "of a package that is gone", "env_args": {}}, {}]
)
def test_other_recorded_settings_stay_as_they_are(recorded):
    assert completed(recorded) == recorded
