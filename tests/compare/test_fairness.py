"""What is not on equal terms is refused, or marked if the user insists."""

import dataclasses

import pytest
from fake_records import cell

from epymarl_lmac.compare import fairness
from epymarl_lmac.errors import SettingsError

UNFAIR = {
    "updates_per_episode": (2.0, "update ratio"),
    "batch_size": (16, "update ratio"),
    "test_nepisode": (5, "evaluation protocol"),
    "test_greedy": (False, "evaluation protocol"),
    "t_max": (77, "step budget"),
    "common_reward": (False, "environment rules"),
}


def changed(of, **updates):
    return dataclasses.replace(of, settings={**of.settings, **updates})


@pytest.mark.parametrize("key", UNFAIR)
def test_runs_on_unequal_terms_are_refused_by_name(key):
    value, group = UNFAIR[key]
    cells = [cell("qmix"), changed(cell("vdn"), **{key: value})]
    with pytest.raises(SettingsError, match=rf"lookout: {group}: {key} \(qmix: .*, vdn: {value}\)"):
        fairness.require_fair(cells, allow=False)
    (difference,) = fairness.require_fair(cells, allow=True)
    assert (difference.group, difference.key) == (group, key)


def test_other_rules_of_the_environment_are_refused():
    other = cell("vdn")
    other = changed(other, env_args={**other.settings["env_args"], "noise": 0.5})
    with pytest.raises(SettingsError, match=r"environment rules: env_args.noise"):
        fairness.require_fair([cell("qmix"), other], allow=False)


def test_what_makes_a_method_is_shown_and_not_refused():
    cells = [cell("qmix"), changed(cell("vdn"), lr=0.1)]
    assert fairness.require_fair(cells, allow=False) == []
    shown = {difference.key: difference.values for difference in fairness.method_differences(cells)}
    assert shown["lr"] == {"qmix": 0.0005, "vdn": 0.1} and "mixer" in shown and "name" not in shown


def test_environments_are_not_compared_with_each_other():
    assert fairness.unfair([cell("qmix"), cell("qmix", env="lbf")]) == []


def test_records_that_ran_on_another_engine_are_marked():
    def run(rules):
        return {"environment_rules": rules, "settings": cell().settings}

    (difference,) = fairness.recorded_differences("sc2", {"a": run("simulator"), "b": run("StarCraft II")})
    assert difference.group == "environment rules and engine"
    assert difference.values == {"a": "simulator", "b": "StarCraft II"}


def test_runs_of_one_algorithm_with_other_protocols_are_marked():
    def run(alg, text):
        protocol = {"sha256": {"k0.py": text}, "steps": [0]}
        return {"algorithm": alg, "communication": {"protocol": protocol}, "settings": cell().settings}

    runs = {"lmac, seed 1": run("lmac", "a"), "lmac, seed 2": run("lmac", "b"), "other": run("other", "c")}
    (difference,) = fairness.recorded_differences("lookout", runs)
    assert (difference.group, difference.key, set(difference.values)) == (
        "protocol", "protocol", {"lmac, seed 1", "lmac, seed 2"},
    )  # fmt: skip


def test_a_run_that_was_resumed_with_other_code_or_tests_is_marked():
    settings = {**cell().settings, "test_nepisode": 5}
    change = {"test_nepisode": {"before": 100, "now": 5}}
    attempts = [{"git": {"commit": "one"}}, {"git": {"commit": "two"}, "changed_settings": change}]
    run = {"git": {"commit": "one"}, "settings": settings, "attempts": attempts}
    found = {d.key: d.values for d in fairness.recorded_differences("lookout", {"a": run})}
    assert found == {
        "commit": {"a": "one", "a, attempt 2": "two"},
        "test_nepisode": {"a": 100, "a, attempt 2": 5},
    }
    same = {**run, "settings": cell().settings, "attempts": [attempts[0], attempts[0]]}
    assert fairness.recorded_differences("lookout", {"a": same}) == []
