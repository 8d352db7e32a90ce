"""What a picture of an environment shows, in the environment's own units; ``drawing.py`` turns it into pixels.

An environment that can be drawn overrides ``BatchedEnv.scene``. Others are drawn as a ring of agents with the messages
between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

AGENT, OTHER, THING = "agent", "other", "thing"  # an agent; whoever plays against the agents; what does not act


@dataclass(frozen=True)
class Body:
    """Something that stands somewhere."""

    x: float
    y: float  # grows upwards
    radius: float
    kind: str  # AGENT, OTHER or THING
    label: str = ""
    health: float | None = None  # share left, drawn as a bar; None: no bar
    shield: float | None = None  # share left
    alive: bool = True


@dataclass(frozen=True)
class Scene:
    """One moment of one copy. The first N bodies are the agents, in order."""

    width: float
    height: float
    bodies: list[Body]
    n_agents: int
    sight: float | None = None  # how far an agent sees: a circle, in a grid a square; None: not drawn
    walls: np.ndarray | None = None  # bool (width, height), [x, y], cells that cannot be entered
    attacks: list[tuple[int, int]] = field(default_factory=list)  # pairs of bodies: who attacks whom
    grid: bool = False  # whether cells are drawn
    caption: str = ""
