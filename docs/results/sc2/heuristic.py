"""Plays SMAC's own scripted team (its option ``heuristic_ai``) on the embedded engine.

    python docs/results/sc2/heuristic.py [--battles 200] [--turns]

Every unit is ordered to attack the nearest enemy, wherever that is, and keeps to it until it is dead; Medivacs heal
the nearest hurt unit in the same way. These orders go to the simulator itself; agents can attack only what is in their
shoot range. The SMAC paper (Samvelyan et al. 2019) gives win rates of this team in StarCraft II; they are written here
from memory and were not checked. With ``--turns`` the enemies' cluster is turned about its middle before the battles
start, for the question how much hangs on it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[3] / part) for part in ("src", "")]

from envs.battle.simulator import ATTACK, HEAL, Simulator, no_orders  # noqa: E402
from envs.battle.units import UNIT_NAMES  # noqa: E402
from epymarl_lmac.tasks.sc2_map import BattleMap  # noqa: E402
from epymarl_lmac.tasks.sc2_map_file import load_map  # noqa: E402

# Win rates in StarCraft II, from memory: not checked against the paper.
PUBLISHED = {"2s3z": 0.90, "3s5z": 0.42, "10m_vs_11m": 0.12, "5m_vs_6m": 0.0, "3s_vs_5z": 0.0, "MMM2": 0.0}
TURNS = range(0, 360, 45)  # degrees
NO_TARGET = -1


def the_map(name: str) -> BattleMap:
    """Returns a map of the project, or 10m_vs_11m, which is 3m with other numbers."""
    if name != "10m_vs_11m":
        return load_map(name)
    small = load_map("3m")
    return replace(
        small, name=name, limit=150, allies=(("Marine", 10),), enemies=(("Marine", 11),),
        ally_draws=small.ally_draws[:1] * 10, enemy_draws=small.enemy_draws[:1] * 11,
    )  # fmt: skip


class Heuristic:
    """The targets of one battle's agents, by slot."""

    def __init__(self, n_agents: int) -> None:
        self.target_N = np.full(n_agents, NO_TARGET)

    def choose(self, rows: dict[str, np.ndarray], i: int) -> tuple[int, int]:
        """Returns the kind of agent i's order and its target; ``NO_TARGET`` if there is none."""
        n, names = len(self.target_N), [UNIT_NAMES[kind] for kind in rows["unit_type"]]
        alive, hurt = rows["alive"], rows["alive"] & (rows["health"] < rows["health_max"])
        if names[i] == "Medivac":
            wanted = [k for k in range(n) if hurt[k] and names[k] != "Medivac"]
        else:
            wanted = [k for k in range(n, len(names)) if alive[k] and (names[i], names[k]) != ("Marauder", "Medivac")]
        if self.target_N[i] not in wanted:
            far = np.hypot(rows["x"] - rows["x"][i], rows["y"] - rows["y"][i])
            self.target_N[i] = min(wanted, key=lambda k: far[k], default=NO_TARGET)
        return (HEAL if names[i] == "Medivac" else ATTACK), int(self.target_N[i])


def turn_enemies(simulator: Simulator, degrees: float) -> None:
    """Turns the enemies of battles that have just begun, and the places that they set out for, about their middles."""
    n, body, table = simulator.table.n_allies, simulator._body_BU, simulator.table
    turn = np.exp(1j * np.deg2rad(degrees))
    for x, y in (("x", "y"), ("home_x", "home_y"), ("point_x", "point_y")):
        place_BM = body[x][:, n:] + 1j * body[y][:, n:]
        middle = place_BM.mean(1, keepdims=True)
        turned = middle + (place_BM - middle) * turn
        body[x][:, n:], body[y][:, n:] = turned.real, turned.imag
    table.x[:, n:], table.y[:, n:] = body["x"][:, n:], body["y"][:, n:]


def win_rate(battle_map: BattleMap, battles: int, seed: int, degrees: float = 0) -> float:
    """Plays battles to their end; returns the share in which no enemy is left."""
    simulator = Simulator(battle_map, battles, seed)
    if degrees:
        turn_enemies(simulator, degrees)
    table, n = simulator.table, battle_map.n_allies
    teams = [Heuristic(n) for _ in range(battles)]
    live_B = np.ones(battles, np.bool_)
    for _ in range(battle_map.limit):
        orders = no_orders(battles, n)
        for b in np.flatnonzero(live_B):
            rows = table.get_battle(b)
            for i in np.flatnonzero(rows["alive"][:n]):
                kind, target = teams[b].choose(rows, int(i))
                if target != NO_TARGET:
                    orders.kind_BN[b, i], orders.target_BN[b, i] = kind, target
        simulator.step(orders, active_B=live_B)
        live_B &= table.alive[:, :n].any(1) & table.alive[:, n:].any(1)
    return float((~table.alive[:, n:].any(1)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", action="store_true", help="turn the enemies' cluster, on 2s3z and 3s5z")
    options = parser.parse_args()
    if options.turns:
        print("| map | " + " | ".join(map(str, TURNS)) + " |\n|" + " --- |" * (len(TURNS) + 1))
        for name in ("2s3z", "3s5z"):
            rates = [win_rate(the_map(name), options.battles, options.seed, degrees) for degrees in TURNS]
            print(f"| {name} | " + " | ".join(f"{rate:.2f}" for rate in rates) + " |", flush=True)
        return
    print("| map | StarCraft II | embedded |\n| --- | --- | --- |")
    for name, published in PUBLISHED.items():
        ours = win_rate(the_map(name), options.battles, options.seed)
        print(f"| {name} | {published:.2f} | {ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
