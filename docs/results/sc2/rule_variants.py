"""Random play on 1o_10b_vs_1r with other rules of the engine, for the question which of them the real game has.

    python docs/results/sc2/rule_variants.py [--blocks 12]

Every variant changes one thing of the shipped map and engine. Blocks and lines are those of ``terrain_variants.py``.
The shipped scan range and periods are those of the map's data, which shorten them for the Roach's acid and not for its
claws.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from random_play import make_env
from terrain_variants import EPISODES, MAP, measured, print_head, print_variant

from envs.battle.kernels_data import N_TYPES, WEAPONS
from envs.battle.units import UNIT_INDEX, UNIT_TYPES
from envs.sc2 import Sc2Env
from epymarl_lmac.tasks.sc2_constants import LOOPS_PER_SECOND

ACID = (N_TYPES + UNIT_INDEX["Roach"]) * WEAPONS  # place of the enemies' first weapon; the claws come next
CLAWS = ACID + 1
BURST = UNIT_INDEX["Baneling"] * WEAPONS
Change = Callable[[Sc2Env], None]


def scan_of(distance: float) -> Change:
    """Lets the Roach find agents by itself up to this distance between edges."""

    def change(env: Sc2Env) -> None:
        env._simulator._body_BU["scan"][:, env.n_agents :] = distance

    return change


def weapon_with(place: int, field: str, value: float) -> Change:
    """Changes one number of a weapon, see ``WEAPON`` in ``envs.battle.kernels_data``."""

    def change(env: Sc2Env) -> None:
        env._simulator._rules.weapons[field][place] = value

    return change


def stay_after_chase(env: Sc2Env) -> None:
    """Lets no unit walk back to its post: after every step its post is where it stands."""
    simulator = env._simulator
    step = simulator.step

    def step_and_settle(*args: Any, **options: Any) -> None:
        step(*args, **options)
        body = simulator._body_BU
        body["home_x"], body["home_y"], body["is_away"] = body["x"], body["y"], False

    simulator.step = step_and_settle  # type: ignore[method-assign]


RADIUS = UNIT_TYPES["Roach"].radius
BURST_RADIUS = UNIT_TYPES["Baneling"].weapons[0].splash_radius
VARIANTS: dict[str, tuple[Change, ...]] = {
    "shipped: scan 5, claws every 2 s": (),
    "scan 3, claws every 1 s (before)": (scan_of(3), weapon_with(CLAWS, "period", LOOPS_PER_SECOND)),
    "scan 3": (scan_of(3),),
    "claws every 1 s": (weapon_with(CLAWS, "period", LOOPS_PER_SECOND),),
    "scan 4": (scan_of(4),),
    "scan 6": (scan_of(6),),
    "the Roach stays where it chased": (stay_after_chase,),
    "bursts reach centres, not edges": (weapon_with(BURST, "splash_radius", BURST_RADIUS - RADIUS),),
    "no backswing": (weapon_with(ACID, "backswing", 0), weapon_with(CLAWS, "backswing", 0)),
}


def block(changes: tuple[Change, ...], seed: int) -> list[float]:
    """Plays uniformly random episodes with changed rules; returns ``STATISTICS``."""
    env = make_env(MAP, EPISODES, seed)
    for change in changes:
        change(env)
    return measured(env, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12)
    options = parser.parse_args()
    print_head()
    for name, changes in VARIANTS.items():
        print_variant(name, [block(changes, seed) for seed in range(options.blocks)])


if __name__ == "__main__":
    main()
