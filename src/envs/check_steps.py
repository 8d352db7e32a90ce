"""Sizes, types and single steps of an environment; a part of ``check_env.py``.

Letters: B copies, N agents, O observation, S state, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from envs.batched import BatchedEnv, StepResult
from envs.check_play import Draws, Subject


def check_sizes(env: BatchedEnv, subject: Subject) -> Iterator[str]:
    """Sizes and arrays of a new environment."""
    for name in ("num_envs", "n_agents", "n_actions", "obs_dim", "state_dim", "episode_limit"):
        value = getattr(env, name, None)
        if not isinstance(value, int | np.integer) or value < 1:
            yield f"{name} is {value!r}; it must be a whole number of at least 1."
            return
    if env.num_envs != subject.num_envs:
        yield f"num_envs is {env.num_envs} where {subject.num_envs} copies were asked for."
    if not isinstance(env.rules, str) or not env.rules:
        yield f"rules is {env.rules!r}; it must name the rules and their version for the run record."
    env.reset()
    yield from _views(env, "after reset()")


def _views(env: BatchedEnv, when: str) -> Iterator[str]:
    """Shapes, types and values of what the environment shows now."""
    B, N = env.num_envs, env.n_agents
    expected = {
        "obs_BNO": (np.float32, (B, N, env.obs_dim)),
        "state_BS": (np.float32, (B, env.state_dim)),
        "avail_BNA": (np.uint8, (B, N, env.n_actions)),
    }
    is_sound = True
    for name, (kind, shape) in expected.items():
        sentence = _array(getattr(env, name, None), name, kind, shape, when)
        if sentence is not None:
            is_sound = False
            yield sentence
    if not is_sound:
        return
    if env.avail_BNA.max() > 1:
        yield f"avail_BNA holds {env.avail_BNA.max()} {when}; it must hold 0 and 1 only."
    if not env.avail_BNA.any(2).all():
        b, n = np.argwhere(~env.avail_BNA.any(2))[0]
        yield f"Agent {n} of copy {b} has no available action {when}; every agent needs one, also when dead or done."


def _array(array: Any, name: str, kind: Any, shape: tuple[int, ...], when: str) -> str | None:
    """Returns what is wrong with an array, or None."""
    if not isinstance(array, np.ndarray):
        return f"{name} is {type(array).__name__} {when}; it must be a NumPy array."
    if array.dtype != kind or array.shape != shape:
        return f"{name} is {array.dtype} {array.shape} {when}; it must be {np.dtype(kind)} {shape}."
    if array.dtype == np.float32 and not np.isfinite(array).all():
        return f"{name} holds a value that is not finite {when}."
    return None


def check_steps(env: BatchedEnv, subject: Subject) -> Iterator[str]:
    """Yields the first thing that is wrong in a step: its result, an end, or what a copy that has ended reports."""
    draws = subject.draws(env)
    end_keys: set[str] | None = None
    for episode in range(subject.n_episodes):
        env.reset()
        found = list(_views(env, f"after reset() number {episode}"))
        if found:
            yield from found
            return
        results: list[StepResult] = []
        for sentence in _episode(env, subject, draws, results):
            yield sentence
            return
        for result in results:
            keys = set(result.info)
            if end_keys is not None and keys != end_keys:
                yield (
                    f"info has the keys {sorted(keys)} where one episode ends and {sorted(end_keys)} where another "
                    "does; all ends must report the same."
                )
                return
            end_keys = keys


def _episode(env: BatchedEnv, subject: Subject, draws: Draws, ends: list[StepResult]) -> Iterator[str]:
    """Plays one episode in every copy; adds the results of steps in which a copy ended to ``ends``."""
    has_ended_B = np.zeros(env.num_envs, np.bool_)
    kept: tuple[StepResult, list[np.ndarray]] | None = None
    for t in range(1, env.episode_limit + 1):
        when = f"at step {t}"
        actions_BN = draws.actions_BN(env.avail_BNA)
        given_BN = actions_BN.copy()
        result = env.step(actions_BN)
        if not np.array_equal(actions_BN, given_BN):
            yield f"step() changed the array of actions that it was given {when}."
        yield from _result(env, result, when)
        yield from _views(env, when)
        yield from _idle(result, has_ended_B, when)
        yield from _dead(env, result, has_ended_B, when)
        yield from _sums(subject, result, when)
        if kept is not None and not all(map(np.array_equal, _arrays(kept[0]), kept[1])):
            yield f"step() wrote into arrays of the result that the step before had returned {when}; return new ones."
        kept = result, [array.copy() for array in _arrays(result)]
        ends_B = result.terminated_B | result.truncated_B
        if ends_B.any():
            ends.append(result)
        has_ended_B |= ends_B
        if has_ended_B.all():
            if subject.is_batched:
                yield from _after_the_end(env, draws)
            return
    yield (
        f"{int((~has_ended_B).sum())} of {env.num_envs} copies did not end within episode_limit={env.episode_limit} "
        "steps; the last step must report terminated or truncated."
    )


def _arrays(result: StepResult) -> list[np.ndarray]:
    optional = [array for array in (result.alive_BN, result.reward_BN) if array is not None]
    return [*result[:3], *(result.info[key] for key in sorted(result.info)), *optional]


def _result(env: BatchedEnv, result: Any, when: str) -> Iterator[str]:
    if not isinstance(result, StepResult):
        yield f"step() returned {type(result).__name__} {when}; it must return a StepResult."
        return
    B, N = env.num_envs, env.n_agents
    expected: list[tuple[str, Any, Any, tuple[int, ...]]] = [
        ("reward_B", result.reward_B, np.float32, (B,)),
        ("terminated_B", result.terminated_B, np.bool_, (B,)),
        ("truncated_B", result.truncated_B, np.bool_, (B,)),
    ]
    expected += [(f"info[{key!r}]", value, np.float32, (B,)) for key, value in result.info.items()]
    for name, flag, kind in (("alive_BN", "has_alive", np.bool_), ("reward_BN", "reward_per_agent", np.float32)):
        array = getattr(result, name)
        if getattr(env, flag) != (array is not None):
            yield f"{flag} is {getattr(env, flag)}, but {name} is {'given' if array is not None else 'None'} {when}."
        elif array is not None:
            expected.append((name, array, kind, (B, N)))
    sentences = [_array(array, name, kind, shape, when) for name, array, kind, shape in expected]
    found = [sentence for sentence in sentences if sentence is not None]
    yield from found
    if not found and (result.terminated_B & result.truncated_B).any():
        yield (
            f"A copy reports both terminated and truncated {when}; say terminated where the task ended, and truncated "
            "where only the time limit cut it."
        )


def _idle(result: StepResult, has_ended_B: np.ndarray, when: str) -> Iterator[str]:
    ends_B = result.terminated_B | result.truncated_B
    if (ends_B & has_ended_B).any():
        yield f"A copy that had ended reports an end again {when}; it must report False, False until reset()."
    if result.reward_B[has_ended_B].any() or (result.reward_BN is not None and result.reward_BN[has_ended_B].any()):
        yield f"A copy that had ended reports a reward {when}; it must report 0 until reset()."


def _dead(env: BatchedEnv, result: StepResult, has_ended_B: np.ndarray, when: str) -> Iterator[str]:
    if result.alive_BN is None:
        return
    n_choices_BN = env.avail_BNA.sum(2)
    wrong = np.argwhere(~result.alive_BN & ~has_ended_B[:, None] & (n_choices_BN != 1))
    if len(wrong):
        b, n = wrong[0]
        yield (
            f"Agent {n} of copy {b} is dead and has {n_choices_BN[b, n]} available actions {when}; a dead agent has "
            "exactly one, that does nothing."
        )


def _sums(subject: Subject, result: StepResult, when: str) -> Iterator[str]:
    if not subject.reward_is_sum or result.reward_BN is None:
        return
    total_B = result.reward_BN.sum(1)
    if not np.allclose(total_B, result.reward_B, rtol=1e-4, atol=1e-5):
        b = int(np.argmax(np.abs(total_B - result.reward_B)))
        yield f"The agents' rewards sum to {total_B[b]:g} in copy {b} {when}, the team's is {result.reward_B[b]:g}."


def _after_the_end(env: BatchedEnv, draws: Draws) -> Iterator[str]:
    result = env.step(draws.actions_BN(env.avail_BNA))
    yield from _idle(result, np.ones(env.num_envs, np.bool_), "after all copies had ended")
