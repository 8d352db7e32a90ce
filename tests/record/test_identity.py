"""Hashes of the settings that change learning, and names under which only repetitions meet."""

import json

import pytest

from epymarl_lmac.record.identity import NOT_LEARNING, differing, experiment_key, names_for, run_id, settings_hash
from epymarl_lmac.record.provenance import read_run
from epymarl_lmac.settings import load_settings


def settings(alg="qmix", env="lookout", **updates):
    return vars(load_settings(alg, env, updates))


def run(label="", rules="lookout 1", **updates):
    values = settings(**updates)
    return {
        "algorithm": values["name"],
        "task": "lookout",
        "environment_rules": rules,
        "seed": values["seed"],
        "settings": {**values, "label": label},
    }


def test_the_seed_changes_the_run_but_not_the_experiment():
    first, second = settings(seed=1), settings(seed=2)
    assert settings_hash(first) == settings_hash(second)
    assert run_id(first) != run_id(second)


CHANGES = {
    "lr": 0.1, "gamma": 0.5, "batch_size_run": 4, "updates_per_episode": 2.0, "mixer": "vdn", "hidden_dim": 8,
    "standardise_rewards": False, "epsilon_anneal_time": 7, "env_args.steps": 3,
}  # fmt: skip


@pytest.mark.parametrize("key", CHANGES)
def test_what_changes_learning_changes_the_hash(key):
    assert settings_hash(settings(**{key: CHANGES[key]})) != settings_hash(settings())


FREE = {
    "t_max": 5, "label": "x", "local_results_path": "y", "save_model": False, "log_interval": 3, "test_nepisode": 7,
    "test_interval": 9, "runner_log_interval": 11, "n_threads": 2, "use_cuda": False,
    "matrix_products": "numpy",
}  # fmt: skip


@pytest.mark.parametrize("key", FREE)
def test_what_does_not_change_learning_does_not_change_the_hash(key):
    assert settings_hash(settings(**{key: FREE[key]})) == settings_hash(settings())


def test_equal_numbers_have_equal_hashes():
    assert settings_hash({"lr": 1.0, "c": [2.0]}) == settings_hash({"lr": 1, "c": [2]})


def test_sizes_that_follow_from_the_environment_do_not_count():
    known = {**settings(), "state_shape": 3, "n_agents": 2, "device": "cpu"}
    assert settings_hash(known) == settings_hash(settings())


def test_every_setting_either_counts_or_is_named_as_free():
    for key in settings():
        changed = {**settings(), key: "another value"}
        assert (settings_hash(changed) == settings_hash(settings())) == (key in NOT_LEARNING)


def test_repetitions_share_a_name():
    assert names_for([run(seed=1), run(seed=2)]) == ["qmix on lookout"] * 2


def test_a_difference_under_one_name_is_shown():
    names = names_for([run(seed=1, lr=0.1), run(seed=2), run(alg="vdn")])
    assert names == ["qmix on lookout [lr=0.1]", "qmix on lookout [lr=0.0005]", "vdn on lookout"]


def test_other_rules_and_other_tests_split_a_name_too():
    names = names_for([run(), run(rules="lookout 2"), run(test_nepisode=5)])
    assert len(set(names)) == 3
    assert "environment rules=lookout 2" in names[1] and "test_nepisode=5" in names[2]


def attempts(*rules):
    return [{"environment_rules": f"lookout {version}"} for version in rules]


def test_a_run_that_was_resumed_under_other_rules_is_kept_apart():
    again, other = ({**run(), "attempts": rules} for rules in (attempts(1, 1), attempts(1, 2)))
    names = names_for([run(), again, other])
    assert names[0] == names[1] != names[2]
    assert "environment rules=lookout 1, resumed under lookout 2" in names[2]


def test_a_label_is_part_of_the_name():
    assert names_for([run(), run(label="slow", lr=0.1)]) == ["qmix on lookout", "qmix (slow) on lookout"]


def test_differences_are_named_with_every_value():
    assert differing([run(lr=0.1), run(lr=0.2)]) == {"lr": [0.1, 0.2]}


def test_runs_with_other_protocols_are_other_experiments():
    manifest = {"sha256": {"k0.py": "a"}, "steps": [0], "history": 1, "important_state": [0], "scores": {"r2": 0.1}}
    rewritten = {**manifest, "sha256": {"k0.py": "b"}}
    judged_again = {**manifest, "scores": {"r2": 0.2}}
    runs = [{**run(), "communication": {"protocol": one}} for one in (manifest, rewritten, judged_again)]
    assert list(differing(runs)) == ["protocol"]
    assert differing([runs[0], runs[2]]) == {}


def test_runs_from_before_and_after_an_option_came_are_repetitions(tmp_path):
    keys = []
    for seed, left_out in enumerate([(), ("step_mul", "heuristic_ai")]):
        recorded = run(env="sc2", seed=seed)
        recorded["settings"]["env_args"] = {
            key: value for key, value in recorded["settings"]["env_args"].items() if key not in left_out
        }
        (tmp_path / "run.json").write_text(json.dumps(recorded))
        keys.append(experiment_key(read_run(tmp_path)))
    assert keys[0] == keys[1]
