"""Turns scenes and messages into pictures with Pillow.

Bodies are discs, agents blue, opponents red, things green, with bars for health and shield. A message is an arrow from
sender to receiver; its width grows with the bits that were sent. Where an environment has no scene, the agents stand in
a ring. Everything is drawn at twice the size and made smaller, which smooths edges.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.scene import AGENT, OTHER, THING, Body, Scene

SCALE = 2  # drawn this many times larger
PAPER, INK, GRID, WALL = (250, 249, 245), (40, 42, 46), (225, 222, 212), (176, 172, 160)
COLOURS = {AGENT: (38, 98, 160), OTHER: (193, 63, 57), THING: (36, 128, 92)}
DEAD, SIGHT, SHIELD, HEALTH, ATTACK = (205, 203, 198), (150, 182, 214), (120, 160, 214), (60, 150, 80), (217, 120, 40)
MESSAGE = (122, 78, 160)
CAPTION = 22  # pixels of the line of text below
MARGIN = 18  # pixels around a scene, for bars and labels at its edge
WIDEST = 3.5  # pixels of the arrow with the most bits
Point = tuple[float, float]
Colour = tuple[int, int, int]


class Canvas:
    """One picture in the making.

    Args:
        width, height: of the result in pixels, without the caption.
    """

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height + CAPTION)
        self.image = Image.new("RGB", (self.size[0] * SCALE, self.size[1] * SCALE), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self._font = ImageFont.load_default(size=13 * SCALE)
        self._small = ImageFont.load_default(size=10 * SCALE)

    def disc(self, at: Point, radius: float, fill: Colour) -> None:
        """Draws a disc; all lengths are pixels of the result."""
        self.draw.ellipse(_around(at, radius), fill=fill)

    def circle(self, at: Point, radius: float, colour: Colour) -> None:
        """Draws a circle."""
        self.draw.ellipse(_around(at, radius), outline=colour, width=SCALE)

    def square(self, at: Point, half: float, colour: Colour) -> None:
        """Draws the outline of a square."""
        self.draw.rectangle(_around(at, half), outline=colour, width=SCALE)

    def box(self, low: Point, high: Point, fill: Colour) -> None:
        """Draws a filled rectangle."""
        corners = [*sorted((low[0] * SCALE, high[0] * SCALE)), *sorted((low[1] * SCALE, high[1] * SCALE))]
        self.draw.rectangle((corners[0], corners[2], corners[1], corners[3]), fill=fill)

    def line(self, a: Point, b: Point, fill: Colour, width: float = 1.0) -> None:
        """Draws a line."""
        ends = (a[0] * SCALE, a[1] * SCALE, b[0] * SCALE, b[1] * SCALE)
        self.draw.line(ends, fill=fill, width=max(1, round(width * SCALE)))

    def text(self, at: Point, text: str, fill: Colour = INK, small: bool = False, anchor: str = "mm") -> None:
        """Writes a text; ``anchor`` as in Pillow."""
        font = self._small if small else self._font
        self.draw.text((at[0] * SCALE, at[1] * SCALE), text, fill=fill, font=font, anchor=anchor)

    def arrow(self, a: Point, b: Point, gap: float, width: float) -> None:
        """Draws an arrow from near a to near b, bent to its left so that both directions of a pair can be seen."""
        length = math.dist(a, b)
        if length <= 2 * gap + 2:
            return
        ux, uy = (b[0] - a[0]) / length, (b[1] - a[1]) / length
        side = min(8.0, 0.12 * length)
        middle = ((a[0] + b[0]) / 2 + uy * side, (a[1] + b[1]) / 2 - ux * side)
        start, end = (a[0] + ux * gap, a[1] + uy * gap), (b[0] - ux * gap, b[1] - uy * gap)
        points = [_bent(start, middle, end, k / 12) for k in range(13)]
        for p, q in itertools.pairwise(points):
            self.line(p, q, MESSAGE, width)
        self._head(points[-2], end, width)

    def _head(self, before: Point, tip: Point, width: float) -> None:
        angle, size = math.atan2(tip[1] - before[1], tip[0] - before[0]), 4.0 + 1.2 * width
        wings = [
            (tip[0] - size * math.cos(angle + turn), tip[1] - size * math.sin(angle + turn)) for turn in (-0.45, 0.45)
        ]
        self.draw.polygon([(x * SCALE, y * SCALE) for x, y in (tip, *wings)], fill=MESSAGE)

    def finished(self, caption: str) -> Image.Image:
        """Returns the picture with a line of text below it."""
        self.text((8, self.size[1] - CAPTION / 2), caption, anchor="lm")
        return self.image.resize(self.size, Image.Resampling.LANCZOS)


def _around(at: Point, half: float) -> tuple[float, float, float, float]:
    """Returns the corners of a square around a point, in pixels of the drawing."""
    x, y, h = at[0] * SCALE, at[1] * SCALE, half * SCALE
    return (x - h, y - h, x + h, y + h)


def _bent(a: Point, middle: Point, b: Point, share: float) -> Point:
    """Returns a point of the curve from a to b that is drawn towards ``middle``."""
    first, second, third = (1 - share) ** 2, 2 * share * (1 - share), share**2
    return (
        first * a[0] + second * middle[0] + third * b[0],
        first * a[1] + second * middle[1] + third * b[1],
    )


def draw(
    scene: Scene | None, bits_NS: np.ndarray | None, n_agents: int, widest: float, caption: str, size: int
) -> Image.Image:
    """Returns one picture.

    Args:
        scene: where everything stands; None draws the agents in a ring.
        bits_NS: bits that every ordered pair told each other, receiver by sender; None: no messages.
        n_agents: N.
        widest: bits that the widest arrow stands for.
        caption: below the picture; the scene's own follows it.
        size: pixels of the longer side.
    """
    if scene is None:
        canvas, places, gap = _ring(n_agents, size)
    else:
        canvas, places, gap = _stage(scene, size)
        caption = f"{caption}  {scene.caption}"
    if bits_NS is not None and widest > 0:
        _messages(canvas, places[:n_agents], bits_NS, widest, gap)
    return canvas.finished(caption)


def _messages(canvas: Canvas, places: Sequence[Point], bits_NS: np.ndarray, widest: float, gap: float) -> None:
    for receiver, sender in np.argwhere(bits_NS > 0).tolist():
        if receiver != sender:
            width = max(0.6, WIDEST * float(bits_NS[receiver, sender]) / widest)
            canvas.arrow(places[sender], places[receiver], gap, width)


def _ring(n_agents: int, size: int) -> tuple[Canvas, list[Point], float]:
    """Draws the agents in a ring; returns the canvas, their places and their radius in pixels."""
    canvas, radius = Canvas(size, size), min(22.0, 0.9 * size / max(n_agents, 4))
    places = []
    for k in range(n_agents):
        angle = 2 * math.pi * k / n_agents - math.pi / 2
        at = (size / 2 + 0.38 * size * math.cos(angle), size / 2 + 0.38 * size * math.sin(angle))
        canvas.disc(at, radius, COLOURS[AGENT])
        canvas.text(at, str(k), PAPER)
        places.append(at)
    return canvas, places, radius + 2


def _stage(scene: Scene, size: int) -> tuple[Canvas, list[Point], float]:
    """Draws a scene; returns the canvas, the places of its bodies and the agents' radius in pixels."""
    unit = (size - 2 * MARGIN) / max(scene.width, scene.height)
    canvas = Canvas(round(scene.width * unit) + 2 * MARGIN, round(scene.height * unit) + 2 * MARGIN)

    def place(x: float, y: float) -> Point:
        return (MARGIN + x * unit, MARGIN + (scene.height - y) * unit)

    _ground(canvas, scene, place)
    places = [place(body.x, body.y) for body in scene.bodies]
    if scene.sight is not None:
        seen = [at for at, body in zip(places, scene.bodies, strict=True) if body.kind == AGENT and body.alive]
        for at in seen:
            outline = canvas.square if scene.grid else canvas.circle
            outline(at, scene.sight * unit, SIGHT)
    for attacker, target in scene.attacks:
        canvas.line(places[attacker], places[target], ATTACK, 1.5)
    for at, body in zip(places, scene.bodies, strict=True):
        radius = max(3.0, body.radius * unit)
        if not body.alive:
            canvas.circle(at, radius, DEAD)
            continue
        canvas.disc(at, radius, COLOURS[body.kind])
        _marks(canvas, at, radius, body)
    radii = [max(3.0, body.radius * unit) for body in scene.bodies[: scene.n_agents]]
    return canvas, places, max(radii, default=0.0) + 2


def _ground(canvas: Canvas, scene: Scene, place: Callable[[float, float], Point]) -> None:
    if scene.walls is not None:
        for x, y in np.argwhere(scene.walls).tolist():
            canvas.box(place(x, y), place(x + 1, y + 1), WALL)
    if scene.grid:
        for x in range(int(scene.width) + 1):
            canvas.line(place(x, 0), place(x, scene.height), GRID)
        for y in range(int(scene.height) + 1):
            canvas.line(place(0, y), place(scene.width, y), GRID)


def _marks(canvas: Canvas, at: Point, radius: float, body: Body) -> None:
    """Writes a body's label and its bars."""
    if body.label:
        if radius >= 9:
            canvas.text(at, body.label[:2], PAPER, small=radius < 14)
        else:
            canvas.text((at[0], at[1] + radius + 7), body.label[:2], INK, small=True)
    for row, (share, colour) in enumerate(((body.health, HEALTH), (body.shield, SHIELD))):
        if share is None:
            continue
        y, half = at[1] - radius - 5 - 4 * row, max(6.0, radius)
        canvas.box((at[0] - half, y), (at[0] + half, y + 2.5), DEAD)
        if share > 0:
            canvas.box((at[0] - half, y), (at[0] - half + 2 * half * share, y + 2.5), colour)
