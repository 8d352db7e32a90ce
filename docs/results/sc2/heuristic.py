"""Plays SMAC's own scripted team (its option ``heuristic_ai``) on the embedded engine.

    python docs/results/sc2/heuristic.py [--battles 200] [--turns]

The SMAC paper (Samvelyan et al. 2019) gives win rates of this team in StarCraft II; they are written here from memory
and were not checked. With ``--turns`` the enemies' cluster is turned about its middle before the battles start, for the
question how much hangs on it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2] / part) for part in ("src", "")]

from envs.sc2 import Sc2Env  # noqa: E402
from epymarl_lmac.settings import merge  # noqa: E402

# Win rates in StarCraft II, from memory: not checked against the paper.
PUBLISHED = {"2s3z": 0.90, "3s5z": 0.42, "10m_vs_11m": 0.12, "5m_vs_6m": 0.0, "3s_vs_5z": 0.0, "MMM2": 0.0}
TURNS = range(0, 360, 45)  # degrees


def make_env(map_name: str, battles: int, seed: int) -> Sc2Env:
    """Returns battles of a map of the project, or of one beside this file, that SMAC's script plays."""
    own = HERE / f"{map_name}.yaml"
    options = {"map_name": own if own.exists() else map_name, "engine": "embedded", "heuristic_ai": True}
    settings = merge("qmix", "sc2", [f"env_args.{key}={value}" for key, value in options.items()])
    return Sc2Env(battles, seed, **settings["env_args"])


def turn_enemies(env: Sc2Env, degrees: float) -> None:
    """Turns the enemies of battles that have just begun, and the places that they set out for, about their middles."""
    n, body, table = env.n_agents, env._simulator._body_BU, env._table
    turn = np.exp(1j * np.deg2rad(degrees))
    for x, y in (("x", "y"), ("home_x", "home_y"), ("point_x", "point_y")):
        place_BM = body[x][:, n:] + 1j * body[y][:, n:]
        middle = place_BM.mean(1, keepdims=True)
        turned = middle + (place_BM - middle) * turn
        body[x][:, n:], body[y][:, n:] = turned.real, turned.imag
    table.x[:, n:], table.y[:, n:] = body["x"][:, n:], body["y"][:, n:]


def win_rate(map_name: str, battles: int, seed: int, degrees: float = 0) -> float:
    """Plays battles to their end; returns the share that was won."""
    env = make_env(map_name, battles, seed)
    if degrees:
        turn_enemies(env, degrees)
    actions_BN = np.zeros((battles, env.n_agents), np.int64)  # what they are does not matter
    won_B = np.zeros(battles, np.bool_)
    for _ in range(env.episode_limit):
        won_B |= env.step(actions_BN).info["battle_won"] > 0
    return float(won_B.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", action="store_true", help="turn the enemies' cluster, on 2s3z and 3s5z")
    options = parser.parse_args()
    if options.turns:
        print("| map | " + " | ".join(map(str, TURNS)) + " |\n|" + " --- |" * (len(TURNS) + 1))
        for name in ("2s3z", "3s5z"):
            rates = [win_rate(name, options.battles, options.seed, degrees) for degrees in TURNS]
            print(f"| {name} | " + " | ".join(f"{rate:.2f}" for rate in rates) + " |", flush=True)
        return
    print("| map | StarCraft II | embedded |\n| --- | --- | --- |")
    for name, published in PUBLISHED.items():
        ours = win_rate(name, options.battles, options.seed)
        print(f"| {name} | {published:.2f} | {ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
