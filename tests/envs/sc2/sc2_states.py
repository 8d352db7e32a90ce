"""Unit states for the tests of the interface: drawn from fixed streams, with the hard cases among them.

Among them: units at exactly the ranges that matter, on the border of the map, dead, at full and nearly no health.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import yaml
from sc2_oracle import MAPS

from envs.battle.units import UNIT_INDEX

ROOT = Path(__file__).resolve().parents[3]
BODY = {  # health, shield, largest cooldown in loops
    "Colossus": (200, 150, 37), "Baneling": (30, 0, 15), "Marine": (45, 0, 15.75), "Reaper": (50, 0, 19),
    "Marauder": (125, 0, 26), "Medivac": (150, 0, 0), "Zealot": (100, 50, 21), "Stalker": (80, 80, 25),
    "Zergling": (35, 0, 13), "Overlord": (200, 0, 0), "Hydralisk": (80, 0, 15.25), "Ultralisk": (600, 0, 15),
    "Roach": (145, 0, 34),
}  # fmt: skip
FAMILY_TYPES = {
    "terran": ["Marauder", "Marine", "Medivac"],
    "protoss": ["Colossus", "Stalker", "Zealot"],
    "zerg": ["Baneling", "Hydralisk", "Zergling"],
}
STEPS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 2.5, 0.25, 0.1, 1e-3])  # offsets at which rules change
V1_MAPS = [name for name in MAPS if MAPS[name][0] not in FAMILY_TYPES]
V2_MAPS = [name for name in MAPS if MAPS[name][0] in FAMILY_TYPES]


def env_args(env: str, **changes: object) -> dict:
    """Returns the yaml's env_args with the embedded engine and changes."""
    text = (ROOT / "config" / "envs" / f"{env}.yaml").read_text(encoding="utf-8")
    return {**yaml.safe_load(text)["env_args"], "engine": "embedded", **changes}


def rng_of(*words: object) -> np.random.Generator:
    """Returns a generator that depends on the words only."""
    return np.random.default_rng(zlib.crc32("/".join(map(str, words)).encode()))


def draw_rows(map_name: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns one battle's table rows, arrays (U,) by column."""
    family, allies, enemies, _, _ = MAPS[map_name]
    names = [*allies, *enemies]
    if family in FAMILY_TYPES:
        kinds = FAMILY_TYPES[family]
        names = sorted(rng.choice(kinds, len(allies))) + list(rng.choice(kinds, len(enemies)))
    U = len(names)
    body = np.array([BODY[name] for name in names])
    xy = _positions(U, rng)
    alive = rng.random(U) < (1.0 if rng.random() < 0.3 else 0.75)
    part = np.where(rng.random(U) < 0.4, 1.0, rng.random(U))
    return {
        "unit_type": np.array([UNIT_INDEX[name] for name in names], np.int16),
        "x": xy[0].astype(np.float32),
        "y": xy[1].astype(np.float32),
        "health_max": body[:, 0].astype(np.float32),
        "health": np.where(alive, np.maximum(body[:, 0] * part, 1e-3), 0).astype(np.float32),
        "shield_max": body[:, 1].astype(np.float32),
        "shield": np.where(alive, body[:, 1] * rng.choice([0, 0.3, 1, rng.random()], U), 0).astype(np.float32),
        "energy": np.where([name == "Medivac" for name in names], rng.uniform(0, 200, U), 0).astype(np.float32),
        "cooldown": (body[:, 2] * rng.choice([0, 0.5, 1], U) * rng.random(U)).astype(np.float32),
        "alive": alive,
    }


def _positions(U: int, rng: np.random.Generator) -> np.ndarray:
    """Returns positions (2, U): anywhere, in a crowd, on a lattice, or at exact offsets from the first unit."""
    kind = rng.integers(5)
    if kind == 0:
        return rng.uniform(0, 32, (2, U))
    if kind == 1:
        return np.clip(rng.uniform(3, 29, (2, 1)) + rng.normal(0, 3, (2, U)), 0, 32)
    if kind == 2:
        return rng.integers(0, 65, (2, U)) / 2
    if kind == 3:
        centre = rng.integers(4, 28, (2, 1)).astype(float)
        xy = np.clip(centre + rng.choice(STEPS, (2, U)) * rng.choice([-1, 0, 1], (2, U)), 0, 32)
        xy[:, :1] = centre
        return xy
    border = rng.choice([0.0, 0.4, 0.999, 1.0, 31.0, 31.5, 31.999, 32.0], (2, U))
    return np.where(rng.random((2, U)) < 0.5, border, rng.uniform(0, 32, (2, U)))


def after(rows: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns what the rows might be one step later: hits, deaths, healing, moves."""
    new = {name: column.copy() for name, column in rows.items()}
    U = len(new["x"])
    dies = new["alive"] & (rng.random(U) < rng.choice([0.0, 0.2, 0.6, 1.0]))
    new["alive"] &= ~dies
    hit = new["health"] * (1 - rng.random(U) * 0.4)
    healed = np.minimum(new["health"] + 2, new["health_max"])
    new["health"] = np.where(new["alive"], np.where(rng.random(U) < 0.5, hit, healed), 0).astype(np.float32)
    recharged = np.minimum(new["shield"] + 1, new["shield_max"])
    shield = np.where(rng.random(U) < 0.5, recharged, new["shield"] * 0.5)
    new["shield"] = np.where(new["alive"], shield, 0).astype(np.float32)
    for axis in ("x", "y"):
        moved = np.clip(new[axis] + rng.uniform(-1.2, 1.2, U), 0, 32).astype(np.float32)
        new[axis] = np.where(new["alive"], moved, new[axis])
    new["cooldown"] = np.maximum(new["cooldown"] - 8, 0)
    return new


def as_units(rows: dict[str, np.ndarray], n: int) -> tuple[list[dict], list[dict]]:
    """Returns the rows as the oracle takes them: (allies, enemies), numbers as Python floats."""
    names = {k: name for name, k in UNIT_INDEX.items()}
    units = []
    for k in range(len(rows["x"])):
        unit = {key: float(rows[key][k]) for key in rows if key not in ("unit_type", "alive")}
        units.append({**unit, "name": names[int(rows["unit_type"][k])], "alive": bool(rows["alive"][k])})
    return units[:n], units[n:]


def draw_actions(avail_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns one available action for every agent."""
    return np.array([int(rng.choice(np.flatnonzero(row))) for row in avail_NA], np.int64)
