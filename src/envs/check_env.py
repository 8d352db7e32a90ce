"""Checks every promise that our runners rely on, for a user's own environment: ``epymarl-lmac check-env``.

Each broken promise is one sentence. The environment is played with random available actions; ``check_play.py`` keeps
what it showed, ``check_steps.py`` looks at single steps, this file at whole plays. A promise that random play does not
reach (a rare end of the episode) stays unchecked.

Letters: B copies, N agents, O observation, S state, A actions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from envs.batched import BatchedEnv, SingleEnv
from envs.check_play import Draws, Moment, Subject, first_difference, go_on, lengths, play, snapshot
from envs.check_steps import check_sizes, check_steps
from epymarl_lmac.tasks import EnvEntry

TOLERANCE = 1e-5  # float32 rounding of values at the border of a card's range
LEFT_AFTER = 2  # steps after which an episode is left to try a reset in its middle


def _resets(subject: Subject) -> Iterator[str]:
    """A reset in mid-episode starts a whole new episode."""
    env = subject.env()
    fresh_EB = lengths(play(env, subject.draws(env), subject.n_episodes))
    if not fresh_EB.all():
        yield "An episode after a reset() does not end within episode_limit; reset() must start every copy anew."
        return
    if fresh_EB.min() != fresh_EB.max() or fresh_EB.max() <= LEFT_AFTER:
        return  # lengths vary or are too short: nothing to compare with
    draws = subject.draws(env)
    longest_B = np.zeros(subject.num_envs, np.int64)
    for _ in range(subject.n_episodes):  # a single episode may end early for another reason
        play(env, draws, 1, LEFT_AFTER)
        longest_B = np.maximum(longest_B, lengths(play(env, draws, 1))[0])
        is_short_B = longest_B <= fresh_EB.max() - LEFT_AFTER
        if not is_short_B.any():
            return
    copy = int(is_short_B.argmax())
    yield (
        f"After a reset() in mid-episode an episode of copy {copy} lasts {longest_B[copy]} steps instead of "
        f"{fresh_EB.max()}; reset() must set the clock back."
    )


def _seeded_episodes(subject: Subject) -> Iterator[str]:
    """Where the environment says so, an episode follows from its own seed, whatever was played before."""
    from runners.adapters import OneEnv

    fresh, used = subject.env(), subject.env(subject.seed + 1)
    if not fresh.seeds_episodes or not isinstance(fresh, OneEnv) or not isinstance(used, OneEnv):
        return
    play(used, subject.draws(used, salt=1), 1)
    plays = []
    for env in (fresh, used):
        env.seed_next(subject.seed + 2)
        plays.append(play(env, subject.draws(env), 1))
    difference = first_difference(plays[0], plays[1])
    if difference is not None:
        yield (
            f"After reset(seed=...) with one seed and the same actions two episodes differ in {difference}, though "
            "seeds_episodes is set; draw everything from that seed, or leave seeds_episodes out."
        )


def _same_seed(subject: Subject) -> Iterator[str]:
    """The seed alone decides, whatever else the process draws or steps."""
    plays = []
    for salt in (0, 1):
        env = subject.env()
        before = random.getstate(), np.random.get_state()
        random.seed(salt)
        np.random.seed(salt)
        plays.append(play(env, subject.draws(env), subject.n_episodes))
        random.setstate(before[0])
        np.random.set_state(before[1])
    difference = first_difference(plays[0], plays[1])
    if difference is not None:
        yield (
            f"Two environments with one seed and the same actions differ in {difference}; draw from generators made of "
            "the seed only."
        )
        return
    one, other = subject.env(), subject.env(subject.seed + 1)
    draws, other_draws = subject.draws(one), subject.draws(other, salt=1)
    mixed: list[Moment] = []
    for episode in range(subject.n_episodes):
        part = play(one, draws, 1)
        mixed += [moment._replace(episode=episode) for moment in part]
        play(other, other_draws, 1)
    difference = first_difference(plays[0], mixed)
    if difference is not None:
        yield (
            f"Another environment in the same process changes this one's {difference}; keep nothing in "
            "classes or modules."
        )


def _copies(subject: Subject) -> Iterator[str]:
    """What one copy's agents do does not change the other copies."""
    if subject.num_envs < 2:
        return
    plays = []
    for salt in (0, 5):
        env = subject.env()
        draws = Draws([10_000 * salt, *range(1, subject.num_envs)], env.n_agents)
        plays.append(_padded(play(env, draws, subject.n_episodes), env.episode_limit))
    difference = first_difference(plays[0], plays[1], slice(1, None))
    if difference is not None:
        yield f"Other actions in copy 0 change another copy's {difference}; copies must be independent of each other."


def _padded(moments: list[Moment], limit: int) -> list[Moment]:
    """Returns the moments of copies 1 and on up to the last of their ends: how long copy 0 played does not matter."""
    kept = []
    for episode in range(1 + moments[-1].episode):
        part = [moment for moment in moments if moment.episode == episode]
        last = int(lengths([m._replace(episode=0) for m in part])[0, 1:].max()) or limit
        kept += [moment for moment in part if moment.t <= last]
    return kept


def _saves(subject: Subject) -> Iterator[str]:
    """A saved state, loaded into another environment, goes on in the same way to the bit."""
    env = subject.env()
    if not subject.saves_state:
        return
    draws = subject.draws(env)
    play(env, draws, 1)
    play(env, draws, 1, LEFT_AFTER)
    state = env.state_dict()
    if not state:
        yield "state_dict() is empty, but the entry says saves_state=True."
        return
    wrong = [key for key, value in state.items() if not isinstance(value, np.ndarray)]
    if wrong:
        yield f"state_dict()[{wrong[0]!r}] is {type(state[wrong[0]]).__name__}; everything in it must be a NumPy array."
        return
    kept = {key: value.copy() for key, value in state.items()}
    seen = Moment(0, 0, snapshot(env), None)
    rest = env.episode_limit - LEFT_AFTER
    expected = [seen, *_continue(env, subject, rest)]
    changed = [key for key, value in kept.items() if not np.array_equal(value, state[key], equal_nan=_is_float(value))]
    if changed:
        yield f"Later steps change state_dict()[{changed[0]!r}]; return copies."
    other = subject.env(subject.seed + 1)
    other.reset()
    other.load_state_dict(kept)
    got = [Moment(0, 0, snapshot(other), None), *_continue(other, subject, rest)]
    difference = first_difference(expected, got)
    if difference is not None:
        where = difference.replace("at step 0 of episode 0", "right after load_state_dict()")
        yield f"After state_dict() and load_state_dict() in mid-episode the play differs in {where}."


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f"


def _continue(env: BatchedEnv, subject: Subject, rest: int) -> list[Moment]:
    """Plays the rest of an episode and one more."""
    draws = subject.draws(env, salt=2)
    moments = go_on(env, draws, rest, 0, LEFT_AFTER) if rest > 0 else []
    return [*moments, *(moment._replace(episode=1) for moment in play(env, draws, 1))]


def _card(subject: Subject) -> Iterator[str]:
    """The card has the environment's sizes, and every value lies in its range."""
    card, env = subject.card, subject.env()
    if card is None:
        return
    claims = {
        "n_agents": card.n_agents,
        "n_actions": len(card.actions),
        "obs_dim": len(card.obs),
        "state_dim": len(card.state),
        "episode_limit": card.episode_limit,
    }
    for name, claimed in claims.items():
        if claimed != getattr(env, name):
            yield f"The task card says {name}={claimed}, the environment has {getattr(env, name)}."
            return
    for what, dims in (("obs", card.obs), ("state", card.state)):
        if [d.index for d in dims] != list(range(len(dims))) or len({d.name for d in dims}) != len(dims):
            yield f"The task card's {what} dimensions must have the indices 0, 1, ... and names of their own."
    moments = play(env, subject.draws(env), subject.n_episodes)
    for what, dims, at in (("obs", card.obs, 0), ("state", card.state, 1)):
        values = np.concatenate([moment.views[at].reshape(-1, len(dims)) for moment in moments])
        low, high = values.min(0), values.max(0)
        for d in dims:
            if low[d.index] < d.low - TOLERANCE or high[d.index] > d.high + TOLERANCE:
                yield (
                    f"{what}[{d.index}] ({d.name}) lies between {low[d.index]:g} and {high[d.index]:g}; the task card "
                    f"says {d.low:g} to {d.high:g}."
                )
                break


def _score(subject: Subject) -> Iterator[str]:
    """The score's key is in the record, and returns lie in its range."""
    score, env = subject.score, subject.env()
    if score is None:
        return
    moments = play(env, subject.draws(env), subject.n_episodes)
    results = [moment.result for moment in moments if moment.result is not None]
    keys = {"return_mean", "ep_length_mean", "episode_limit_mean", *(f"{key}_mean" for r in results for key in r.info)}
    if score.key not in keys:
        yield f"The score {score.key!r} is not in the record, which has {', '.join(sorted(keys))}."
    if score.key != "return_mean" or score.low is None or score.high is None:
        return
    for episode in range(subject.n_episodes):
        rewards = [m.result.reward_B for m in moments if m.episode == episode and m.result is not None]
        return_B = np.sum(rewards, axis=0)
        wrong = np.flatnonzero((return_B < score.low - TOLERANCE) | (return_B > score.high + TOLERANCE))
        if len(wrong):
            yield f"A return of {return_B[wrong[0]]:g} lies outside the score's range, {score.low:g} to {score.high:g}."
            return


def _hosts_views(subject: Subject) -> Iterator[str]:
    """What one copy hands to a host is the host's: a later step must not write into it. Its own views say the same."""
    env = subject.make(1, subject.seed)
    single: Any = getattr(env, "env", None) or SingleEnv(env)
    draws = Draws([0], env.n_agents)
    for _ in range(subject.n_episodes):
        single.reset()
        for _ in range(env.episode_limit):
            kept = [*single.get_obs(), single.get_state()]
            before = [np.array(array) for array in kept]
            if hasattr(single, "views"):
                one_by_one = single.get_obs(), single.get_state(), single.get_avail_actions()
                if not all(map(np.array_equal, single.views(), one_by_one)):
                    yield (
                        "views() differs from get_obs(), get_state() and get_avail_actions(); return the same numbers, "
                        "or leave views() out."
                    )
                    return
            ends = single.step(draws.actions_BN(np.array([single.get_avail_actions()]))[0])[2:4]
            if not all(map(np.array_equal, kept, before)):
                yield "get_obs() or get_state() return arrays that the next step writes into; return copies."
                return
            if any(ends):
                break


PLAYED = (_resets, _same_seed, _seeded_episodes, _copies, _saves, _card, _score, _hosts_views)


def check_env(subject: Subject) -> list[str]:
    """Returns one sentence for every promise that an environment breaks; empty where it keeps all.

    Args:
        subject: the environment and what is said about it.

    An exception inside the environment is a broken promise too. Where sizes or single steps are wrong, whole plays are
    not looked at.
    """
    made: list[BatchedEnv] = []

    def make(num_envs: int, seed: int) -> BatchedEnv:
        made.append(subject.make(num_envs, seed))
        return made[-1]

    tracked = replace(subject, make=make)
    try:
        env = tracked.env()
    except Exception as error:  # whatever the environment raises is what the user needs to see
        return [f"It cannot be made: {type(error).__name__}: {error}"]
    found = _guarded(partial(_basics, env, subject), made)
    if found:
        return found
    return [sentence for check in PLAYED for sentence in _guarded(partial(check, tracked), made)]


def _basics(env: BatchedEnv, subject: Subject) -> Iterator[str]:
    """Yields what is wrong with sizes, or, where they are right, with single steps."""
    found = list(check_sizes(env, subject))
    yield from found or check_steps(env, subject)


def _guarded(check: Callable[[], Iterator[str]], made: list[BatchedEnv]) -> list[str]:
    """Returns what a check says, an exception included, and closes the environments that it made."""
    try:
        return list(check())
    except Exception as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        name = "" if where is None else f" in {where.tb_frame.f_code.co_name}(), line {where.tb_lineno}"
        return [f"It raised {type(error).__name__}: {error}{name}."]
    finally:
        while made:
            made.pop().close()


def subject_of(
    name: str, entry: EnvEntry, env_args: Mapping[str, Any], num_envs: int = 3, n_episodes: int = 3, seed: int = 1
) -> Subject:
    """Returns what an entry promises, ready for ``check_env``.

    Args:
        name: of the environment.
        entry: its entry.
        env_args: its arguments.
        num_envs: copies of the batched form; one copy at a time is checked as one.
        n_episodes: episodes a copy in every play, at least 2.
        seed: of the environment.
    """
    from envs.making import make_batched, make_one
    from runners.adapters import OneEnv

    is_batched = entry.form(env_args) == "batched"

    def make(n: int, own_seed: int) -> BatchedEnv:
        if is_batched:
            return make_batched(name, entry, n, own_seed, env_args)
        return OneEnv(make_one(name, entry, seed=own_seed, **env_args))

    module = entry.card_module()
    return Subject(
        make=make,
        num_envs=num_envs if is_batched else 1,
        is_batched=is_batched,
        n_episodes=n_episodes,
        seed=seed,
        card=None if module is None else module.card(env_args),
        score=entry.score_of(env_args),
        saves_state=entry.saves_state,
        reward_is_sum="sum" in entry.rewards,
    )
