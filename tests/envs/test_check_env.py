"""``check_env`` passes sound environments and names what a broken one breaks, in one sentence."""

import dataclasses

import broken_envs as broken
import numpy as np
import pytest
from broken_envs import CARD, SCORE, Walk, after_show, after_step, changed

from envs.check_command import run
from envs.check_env import check_env, subject_of
from epymarl_lmac.errors import SettingsError, TaskError, UserError
from epymarl_lmac.settings import environments
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import ENTRIES, Dimension, EnvEntry, Score


def found(entry, card=CARD, score=SCORE, **env_args):
    subject = subject_of("walk", entry, env_args, n_episodes=6)
    return check_env(dataclasses.replace(subject, card=card, score=score))


def test_a_sound_environment_breaks_nothing():
    assert found(EnvEntry(batched=Walk)) == []


def test_a_sound_environment_of_one_copy_breaks_nothing():
    assert found(EnvEntry(single=broken.make_one_walk, saves_state=False)) == []
    assert found(EnvEntry(single=broken.make_one_walk, saves_state=False), seeds_episodes=True) == []
    assert found(EnvEntry(single=broken.make_one_walk_with_views, saves_state=False)) == []


@pytest.mark.parametrize("name", [n for n in environments() if ENTRIES[merge("qmix", n)["env"]].batched is not None])
def test_our_own_environments_break_nothing(name):
    values = merge("qmix", name)
    assert check_env(subject_of(values["env"], ENTRIES[values["env"]], values["env_args"])) == []


def replaced(**parts):
    """Returns a change of a step's result."""
    return lambda env, result: result._replace(**{key: make(env, result) for key, make in parts.items()})


def ones(env, result):
    return np.ones_like(result.terminated_B)


def set_to(name, place, value):
    def change(env):
        getattr(env, name)[place] = value

    return change


def raising(self, actions_BN):
    return 1 // 0


BROKEN = {
    "cannot be made": (changed(__init__=broken._fails_to_start), r"cannot be made: OSError: no licence"),
    "a size is missing": (changed(episode_limit=property(lambda s: None, lambda s, v: None)), "episode_limit is None"),
    "another number of copies": (changed(num_envs=property(lambda s: 2, lambda s, v: None)), "num_envs is 2 where 3"),
    "no rules": (changed(rules=""), "rules is ''"),
    "observations of another type": (
        changed(show=lambda self: setattr(self, "obs_BNO", self.place_B[:, None, None] * np.ones((1, 2, 1)))),
        r"obs_BNO is float64 \(3, 2, 1\) after reset\(\); it must be float32",
    ),
    "a state of another size": (changed(state_dim=property(lambda s: 7, lambda s, v: None)), r"state_BS is .*\(3, 7\)"),
    "no array": (changed(show=lambda self: setattr(self, "state_BS", [0.0])), "state_BS is list after"),
    "a value that is not finite": (after_show(set_to("obs_BNO", (0, 1), np.nan)), "obs_BNO holds a value that is not"),
    "availability beyond 1": (after_show(set_to("avail_BNA", 0, 2)), "avail_BNA holds 2 after"),
    "nothing is available": (after_show(set_to("avail_BNA", (1, 0), 0)), "Agent 0 of copy 1 has no available action"),
    "nothing is available after the end": (
        after_show(lambda env: env.avail_BNA.__setitem__(env.ended_B & (env.t_B > 0), 0)),
        "has no available action at step",
    ),
    "dead agents have a choice": (after_show(set_to("avail_BNA", (0, 1, 1), 1)), "Agent 1 of copy 0 is dead and has 2"),
    "step raises": (changed(move=raising), r"raised ZeroDivisionError: .* in raising\(\), line \d+"),
    "no StepResult": (after_step(lambda env, result: tuple(result)[:3]), "returned tuple at step 1"),
    "rewards of another type": (
        after_step(replaced(reward_B=lambda e, r: r.reward_B.astype(float))),
        "reward_B is float64",
    ),
    "rewards not finite": (
        after_step(replaced(reward_B=lambda e, r: r.reward_B + np.float32(np.inf))),
        "reward_B holds",
    ),
    "ends as numbers": (after_step(replaced(terminated_B=lambda e, r: r.terminated_B * 1)), "terminated_B is int64"),
    "info of another shape": (
        after_step(replaced(info=lambda e, r: {"x": np.zeros(1, np.float32)})),
        r"info\['x'\] is",
    ),
    "alive is missing": (after_step(replaced(alive_BN=lambda e, r: None)), "has_alive is True, but alive_BN is None"),
    "rewards of agents unannounced": (
        changed(reward_per_agent=False),
        "reward_per_agent is False, but reward_BN is given",
    ),
    "rewards do not sum": (
        after_step(replaced(reward_BN=lambda e, r: r.reward_BN + np.float32(1))),
        "agents' rewards sum",
    ),
    "terminated and truncated": (
        after_step(replaced(truncated_B=lambda e, r: r.truncated_B | r.terminated_B)),
        "both terminated and truncated",
    ),
    "ends again": (after_step(replaced(truncated_B=lambda e, r: e.ended_B & ~r.terminated_B)), "reports an end again"),
    "rewards after the end": (
        after_step(
            replaced(
                reward_B=lambda e, r: e.ended_B.astype(np.float32),
                reward_BN=lambda e, r: np.repeat(e.ended_B[:, None] / 2, 2, 1).astype(np.float32),
            )
        ),
        "had ended reports a reward",
    ),
    "never ends": (
        after_step(replaced(terminated_B=lambda e, r: ~ones(e, r), truncated_B=lambda e, r: ~ones(e, r))),
        "3 of 3 copies did not end within episode_limit=4",
    ),
    "info keys vary": (
        after_step(lambda e, r: r if r.truncated_B.any() else r._replace(info={**r.info, "swift": r.reward_B})),
        r"info has the keys \['swift', 'won'\] where|info has the keys \['won'\] where",
    ),
    "actions are changed": (
        changed(move=lambda self, actions_BN: (actions_BN.__setitem__(0, 0), self.place_B)[1]),
        "changed the array of actions",
    ),
    "results are overwritten": (broken.KeepsResults, "wrote into arrays of the result"),
    "reset starts nothing": (changed(reset=lambda self: self.show()), "did not end within|does not end"),
    "reset forgets the clock": (
        type("Clock", (broken.LeftClock,), {}),
        r"After a reset\(\) in mid-episode an episode of copy 0 lasts 2 steps instead of 4",
    ),
    "reset forgets one copy's clock": (
        type("Clock", (broken.LeftClock,), {"forgotten": slice(1, 2)}),
        r"After a reset\(\) in mid-episode an episode of copy 1 lasts 2 steps instead of 4",
    ),
    "global random numbers": (
        changed(new_places=lambda self: setattr(self, "place_B", np.random.randint(0, 3, self.num_envs))),
        "one seed and the same actions differ in",
    ),
    "state in the class": (broken.SharedPlaces, "Another environment in the same process changes this one's obs"),
    "copies touch": (broken.Touching, "Other actions in copy 0 change another copy's obs"),
    "nothing is saved": (changed(state_dict=lambda self: {}), r"state_dict\(\) is empty"),
    "lists are saved": (changed(state_dict=lambda self: {"t": [1]}), r"state_dict\(\)\['t'\] is list"),
    "saved arrays are aliased": (broken.AliasedState, r"Later steps change state_dict\(\)\['t'\]"),
    "the clock is not restored": (broken.ForgetsTheClock, "in mid-episode the play differs in state right after"),
    "generators are not restored": (broken.ForgetsGenerators, "differs in obs at step 0 of episode 1"),
    "views are not restored": (broken.ForgetsToShow, r"differs in obs right after load_state_dict\(\)"),
}


@pytest.mark.parametrize(("env", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_promise_is_named_in_one_sentence(env, sentence):
    import re

    sentences = found(EnvEntry(batched=env))
    assert any(re.search(sentence, text) for text in sentences), sentences
    assert all(len(text.splitlines()) == 1 for text in sentences)


@pytest.mark.parametrize(
    ("entry", "env_args", "sentence"),
    [
        (EnvEntry(single=broken.make_one_walk), {}, "empty, but the entry says saves_state=True"),
        (
            EnvEntry(single=broken.make_one_walk, saves_state=False),
            {"aliased": True},
            "return arrays that the next step",
        ),
        (EnvEntry(single=broken.make_one_walk, saves_state=False), {"keys": ("won", "fast")}, "info has the keys"),
        (
            EnvEntry(single=broken.make_one_walk, saves_state=False),
            {"seeds_episodes": True, "obeys": False},
            "After reset(seed=...) with one seed",
        ),
        (EnvEntry(single=broken.make_one_walk_with_views, saves_state=False), {"wrong": True}, "views() differs from"),
    ],
)
def test_one_copy_breaks_promises_of_its_own(entry, env_args, sentence):
    sentences = found(entry, **env_args)
    assert any(sentence in text for text in sentences), sentences


def card_with(**changes):
    return dataclasses.replace(CARD, **changes)


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        (card_with(n_agents=3), "task card says n_agents=3, the environment has 2"),
        (card_with(actions=("stay",)), "task card says n_actions=1"),
        (
            card_with(obs=(Dimension(0, "place", "", 0, 2, ""),)),
            r"obs[0] (place) lies between 0 and 3; the task card says",
        ),
        (card_with(state=(CARD.state[0], dataclasses.replace(CARD.state[1], name="place"))), "names of their own"),
    ],
)
def test_a_card_that_does_not_fit_is_named(card, sentence):
    sentences = found(EnvEntry(batched=Walk), card=card)
    assert any(sentence in text for text in sentences), sentences


@pytest.mark.parametrize(
    ("score", "sentence"),
    [
        (Score("battle_won_mean", 0, 1), "The score 'battle_won_mean' is not in the record, which has ep_length_mean"),
        (Score("return_mean", 0, 0.5), "A return of 1 lies outside the score's range, 0 to 0.5"),
    ],
)
def test_a_score_that_does_not_fit_is_named(score, sentence):
    sentences = found(EnvEntry(batched=Walk), score=score)
    assert any(sentence in text for text in sentences), sentences
    assert found(EnvEntry(batched=Walk), score=Score("won_mean", 0, 1)) == []


def test_the_command_tells_what_is_broken_and_fails(capsys):
    assert run(["lookout", "with", "env_args.steps=3"]) == 0
    assert "It keeps every promise" in capsys.readouterr().out
    assert run(["broken_envs:Touching"]) == 1
    said = capsys.readouterr().out
    assert "without a task card or a known score range" in said and "- Other actions in copy 0" in said


@pytest.mark.parametrize(
    ("argv", "error", "message"),
    [
        ([], SettingsError, "Name one environment: "),
        (["lookot"], SettingsError, "did you mean 'lookout'"),
        (["lookout", "with", "env_args.player=2"], SettingsError, "env_args.player"),
        (["lookout", "with", "env_args.players=1"], TaskError, "players=1 must be at least 2"),
        (["broken_envs:Wolk"], TaskError, "broken_envs:Wolk cannot be imported"),
        (["no_such_module:Walk"], TaskError, "No module named 'no_such_module'"),
        (["broken_envs:Walk", "with", "lr=1"], SettingsError, "lr is no argument of the environment"),
        (["broken_envs:LIMIT"], TaskError, "4 is no environment"),
    ],
)
def test_bad_input_of_the_command_is_one_message(argv, error, message):
    with pytest.raises(error, match=message) as caught:
        run(argv)
    assert isinstance(caught.value, UserError)
