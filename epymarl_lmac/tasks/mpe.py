"""The two textbook tasks for communication of the particle world, in words: what every number and action means.

Read from the rules of the package ``mpe2``; ``src/envs/engine_cards.py`` makes the task cards from it. An agent's place
changes by its velocity times 0.1 a step, and its velocity is v <- 0.75 v + 0.5 in the direction of a move, so no
component of a velocity reaches 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from epymarl_lmac.tasks.card import Dimension

AXES = ("x", "y")
COLOURS = ("red", "green", "blue")
MOVES = ("stay", "left", "right", "down", "up")
MAX_VELOCITY = 2.0
STEP_S = 0.1


@dataclass(frozen=True)
class Description:
    """What one task is."""

    goal: str
    obs: tuple[tuple[Dimension, ...], ...]  # the columns of every agent's observation
    actions: tuple[tuple[str, ...], ...]  # the names of every agent's actions


def _columns(parts: list[tuple[str, str, float, float, str]]) -> tuple[Dimension, ...]:
    return tuple(Dimension(index, *part) for index, part in enumerate(parts))


def _velocity() -> list[tuple[str, str, float, float, str]]:
    return [
        (f"velocity[{a}]", f"this agent's velocity along {a}", -MAX_VELOCITY, MAX_VELOCITY, "a unit of time")
        for a in AXES
    ]


def _landmarks(time_limit: int, colours: str) -> list[tuple[str, str, float, float, str]]:
    """Landmarks and agents start in [-1, 1]; then only agents move."""
    farthest = 2 + time_limit * MAX_VELOCITY * STEP_S
    return [
        (
            f"landmark{i}[{a}]",
            f"the place of landmark {i} ({COLOURS[i]}: {colours}) along {a}, less this agent's own",
            -farthest,
            farthest,
            "places",
        )
        for i in range(3)
        for a in AXES
    ]


def _goal_colour(low: float, high: float, whose: str) -> list[tuple[str, str, float, float, str]]:
    return [
        (
            f"goal[{colour}]",
            f"{colour} share of the colour of {whose}; {high:g} where that is landmark {i}, else {low:g}",
            low,
            high,
            "colour",
        )
        for i, colour in enumerate(COLOURS)
    ]


def _heard(words: int, speaker: str) -> list[tuple[str, str, float, float, str]]:
    return [
        (f"heard[{w}]", f"1 if {speaker} said word {w} in the last step (all 0 at the first)", 0, 1, "0/1")
        for w in range(words)
    ]


def simple_reference(time_limit: int) -> Description:
    """Returns ``simple_reference_v3``: each of two agents knows the other's goal.

    Args:
        time_limit: longest episode, steps.
    """
    parts = [
        *_velocity(),
        *_landmarks(time_limit, "0.75 of its own colour, 0.25 of the others"),
        *_goal_colour(0.25, 0.75, "the landmark to which the other agent must go"),
        *_heard(10, "the other agent"),
    ]
    actions = tuple(f"{move}, say {word}" for word in range(10) for move in MOVES)
    return Description(
        goal=(
            "Two agents move on a plane with three landmarks, red, green and blue, at random places. Each must go to "
            "one of them, its goal, but sees only the colour of the other agent's goal. In every step an agent moves "
            "and says one of 10 words, which the other hears in the next step; the words mean nothing from the start. "
            "The team's reward of a step is minus the sum of both agents' distances from their own goals."
        ),
        obs=(_columns(parts), _columns(parts)),
        actions=(actions, actions),
    )


def simple_speaker_listener(time_limit: int) -> Description:
    """Returns ``simple_speaker_listener_v4``: one agent knows the goal, the other must go there.

    Args:
        time_limit: longest episode, steps.
    """
    listener = [*_velocity(), *_landmarks(time_limit, "0.65 of its own colour"), *_heard(3, "the speaker")]
    return Description(
        goal=(
            "A speaker that cannot move and a listener that cannot speak. Three landmarks, red, green and blue, lie at "
            "random places on a plane. The speaker sees only the colour of the one to which the listener must go, and "
            "says one of 3 words in every step, which the listener hears in the next step; the words mean nothing from "
            "the start. The listener sees where the landmarks are and moves. Both agents' reward of a step is minus "
            "the squared distance between the listener and its goal; the team's is their sum."
        ),
        obs=(_columns(_goal_colour(0.15, 0.65, "the landmark to which the listener must go")), _columns(listener)),
        actions=(tuple(f"say {word}" for word in range(3)), MOVES),
    )


DESCRIPTIONS: dict[str, Callable[[int], Description]] = {
    "simple_reference_v3": simple_reference,
    "simple_speaker_listener_v4": simple_speaker_listener,
}
