"""Old names of settings are taken, with one warning that names the new one."""

import warnings

import pytest
from config_tree import configs, write  # noqa: F401  (a fixture)

from epymarl_lmac.checkpoint import check_same_run
from epymarl_lmac.errors import CheckpointError
from epymarl_lmac.settings import load_settings, merge, recorded_run, renamed
from epymarl_lmac.settings.renamed import RenamedSettingWarning

OLD = r"the setting 'rnn_hidden_dim' is now called 'hidden_dim'"


def test_on_the_command_line():
    with pytest.warns(RenamedSettingWarning, match=f"command line: {OLD}") as caught:
        assert merge("qmix", "lookout", ["rnn_hidden_dim=8"])["hidden_dim"] == 8
    assert len(caught) == 1


def test_in_a_file(configs):  # noqa: F811
    write(configs, "algs/m", "base: qmix\nrnn_hidden_dim: 8\n")
    with pytest.warns(RenamedSettingWarning, match=rf"algs/m\.yaml: {OLD}") as caught:
        assert load_settings("m", "lookout").hidden_dim == 8
    assert len(caught) == 1


def test_in_a_record():
    saved = {**merge("qmix", "lookout"), "n_agents": 3}
    saved["rnn_hidden_dim"] = saved.pop("hidden_dim") // 2
    with pytest.warns(RenamedSettingWarning, match="the record"):
        alg, env, values = recorded_run(saved)
    assert (alg, env, values["hidden_dim"]) == ("qmix", "lookout", 32)
    assert "n_agents" not in values


def test_in_a_checkpoint():
    current = merge("qmix", "lookout")
    saved = dict(current)
    saved["rnn_hidden_dim"] = saved.pop("hidden_dim")
    with pytest.warns(RenamedSettingWarning, match="the checkpoint"):
        check_same_run(saved, current)


def test_an_old_value_becomes_the_settings_that_say_the_same(monkeypatch):
    monkeypatch.setitem(renamed.RENAMED_VALUES, ("mixer", "sum"), {"mixer": "vdn", "double_q": False})
    with pytest.warns(RenamedSettingWarning, match="mixer=sum is now mixer=vdn double_q=False"):
        values = merge("qmix", "lookout", ["mixer=sum", "lr=0.1"])
    assert (values["mixer"], values["double_q"], values["lr"]) == ("vdn", False, 0.1)


def test_a_setting_that_nothing_reads_any_more_is_dropped(monkeypatch):
    monkeypatch.setitem(renamed.RENAMED, "colour", None)
    with pytest.warns(RenamedSettingWarning, match="nothing reads the setting 'colour' any more"):
        assert "colour" not in merge("qmix", "lookout", ["colour=red"])


def test_the_new_name_wins_over_the_old_one():
    with pytest.warns(RenamedSettingWarning):
        assert merge("qmix", "lookout", ["hidden_dim=4", "rnn_hidden_dim=8"])["hidden_dim"] == 4


def test_todays_names_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_settings("qmix", "lookout", ["hidden_dim=8"])


def test_a_record_from_before_a_setting_existed_goes_on_at_its_default():
    current = merge("qmix", "lookout")
    saved = {key: value for key, value in current.items() if key not in ("comm", "task", "preset", "config")}
    check_same_run(saved, current)
    with pytest.raises(CheckpointError, match="comm: None there, 'x' here"):
        check_same_run(saved, {**current, "comm": "x"})


def test_a_record_from_before_an_option_of_its_environment_existed_goes_on_at_what_it_was_then():
    current = merge("qmix", "sc2")
    before = {key: value for key, value in current["env_args"].items() if key != "step_mul"}
    check_same_run({**current, "env_args": before}, current)
    with pytest.raises(CheckpointError, match="another run"):
        check_same_run({**current, "env_args": before}, merge("qmix", "sc2", ["env_args.step_mul=4"]))


def test_a_recorded_run_makes_its_settings_again():
    settings = load_settings("lmac_qmix", "lbf", ["task=11x11-6p-4f-s1-coop", "latent_dim=5", "env_args.sight=2"])
    alg, env, values = recorded_run(vars(settings))
    assert load_settings(alg, env, values) == settings
