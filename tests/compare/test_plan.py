"""The grid: what the command line's words become, and what is refused."""

import pytest

from epymarl_lmac.compare import plan
from epymarl_lmac.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "steps"), [("2M", 2_000_000), ("500k", 500_000), ("1e6", 1_000_000), ("1.5m", 1_500_000)]
)
def test_steps_may_have_a_suffix(text, steps):
    assert plan.parse_steps(text) == steps


@pytest.mark.parametrize("text", ["", "two", "0", "-5", "1.5", "3G", "1.2.3k", "1e400", "9e999k"])
def test_what_is_no_number_of_steps_is_refused(text):
    with pytest.raises(SettingsError, match="no number of steps"):
        plan.parse_steps(text)


def test_a_number_of_seeds_or_a_list_of_them():
    assert plan.parse_seeds("3") == [1, 2, 3]
    assert plan.parse_seeds("7,") == [7]
    assert plan.parse_seeds("4,2") == [4, 2]


@pytest.mark.parametrize("text", ["", "0", "a", "1,1", "-1,2"])
def test_impossible_seeds_are_refused(text):
    with pytest.raises(SettingsError, match="--seeds"):
        plan.parse_seeds(text)


def test_names_are_given_once():
    assert plan.parse_names("a, b", "--algs") == ["a", "b"]
    with pytest.raises(SettingsError, match="each once"):
        plan.parse_names("a,a", "--algs")


def test_the_grid_goes_seed_by_seed():
    cells = plan.make_plan(["qmix", "vdn"], ["lookout"], [1, 2], 500)
    assert [(cell.alg, cell.seed) for cell in cells] == [("qmix", 1), ("vdn", 1), ("qmix", 2), ("vdn", 2)]
    assert all(cell.t_max == 500 and cell.settings["seed"] == cell.seed for cell in cells)


def test_every_run_has_an_id_of_its_own():
    cells = plan.make_plan(["qmix", "vdn"], ["lookout", "lbf"], [1, 2], 500)
    assert len({cell.run_id for cell in cells}) == len(cells)


def test_tests_are_the_same_for_all_and_at_least_twenty():
    settings = plan.make_cell("qmix", "lookout", 1, 20_000).settings
    assert (settings["test_greedy"], settings["test_nepisode"], settings["evaluation_epsilon"]) == (True, 100, 0.0)
    assert settings["test_interval"] == 1_000
    assert plan.make_cell("qmix", "lookout", 1, 10_000_000).settings["test_interval"] == 2_000


def test_the_users_settings_win():
    settings = plan.make_cell("qmix", "lookout", 1, 500, ["test_nepisode=7", "test_interval=9", "lr=0.1"]).settings
    assert (settings["test_nepisode"], settings["test_interval"], settings["lr"]) == (7, 9, 0.1)


def test_a_task_is_set_under_the_environments_own_name():
    assert plan._task_update({"env_args": {"map_name": "3m"}}, "bane_vs_hM") == ["env_args.map_name=bane_vs_hM"]
    assert plan._task_update({"env_args": {"sight": 1}}, "11x11") == ["task=11x11"]
    assert plan._task_update({"env_args": {"map_name": "3m"}}, "") == []


def test_the_arguments_make_the_same_settings_as_the_plan():
    from epymarl_lmac.settings import load_settings

    cell = plan.make_cell("qmix", "lookout", 3, 500, ["lr=0.1"])
    words = cell.argv[cell.argv.index("with") + 1 :]
    assert cell.argv[:2] == ("--config=qmix", "--env-config=lookout")
    assert vars(load_settings("qmix", "lookout", words)) == cell.settings


@pytest.mark.parametrize(
    ("algs", "envs", "updates", "message"),
    [
        (["qmxi"], ["lookout"], [], "did you mean 'qmix'"),
        (["qmix"], ["lookuot"], [], "did you mean 'lookout'"),
        (["qmix"], ["lookout"], ["lrr=1"], "did you mean 'lr'"),
        (["qmix"], ["lookout"], ["seed=3"], "seed is decided by compare itself"),
        (["qmix"], ["lookout"], ["lr=-1"], "lr=-1 must be greater than 0"),
    ],
)
def test_a_bad_plan_is_refused_before_anything_runs(algs, envs, updates, message):
    with pytest.raises(SettingsError, match=message):
        plan.make_plan(algs, envs, [1], 500, updates)
