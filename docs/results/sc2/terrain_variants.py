"""Random play on 1o_10b_vs_1r with other terrain, for the question which cells the real game takes for walkable.

    python docs/results/sc2/terrain_variants.py [--episodes 240]

Two things are varied apart: where a unit may stand and walk, and which cells are offered as moves (SMAC looks one cell
ahead in the game's pathing grid). "Foot" are the cells marked ``~`` in the map file, "border" the outermost cells.
Shares are of agent steps, the dead included.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import yaml
from random_play import Tally, make_env, play
from scripted import POLICIES

from epymarl_lmac.paths import config_root
from epymarl_lmac.tasks.sc2_map_file import load_map

MAP = "1o_10b_vs_1r"
DIRECTIONS = ("north", "south", "east", "west")
Rows = list[str]  # of the map file, from north to south


def without_foot(rows: Rows) -> Rows:
    """Blocks the cells at the foot of cliff corners."""
    return [row.replace("~", "#") for row in rows]


def without_border(rows: Rows) -> Rows:
    """Blocks the outermost cells."""
    wall = "#" * len(rows[0])
    return [wall, *(f"#{row[1:-1]}#" for row in rows[1:-1]), wall]


def walkable(folder: Path, content: dict, rows: Rows) -> tuple[str, np.ndarray]:
    """Writes the map with this terrain; returns its file and its walkable cells, bool (32, 32), [x, y]."""
    path = folder / f"{MAP}.yaml"
    path.write_text(yaml.safe_dump({**content, "terrain": "\n".join(rows) + "\n"}), encoding="utf-8")
    return str(path), load_map(str(path)).walkable


def statistics(standing: Rows, offered: Rows, content: dict, n_episodes: int) -> list[str]:
    """Plays uniformly random episodes; returns the cells of a table's row."""
    with tempfile.TemporaryDirectory() as folder:
        offered_XY = walkable(Path(folder), content, offered)[1]
        env = make_env(walkable(Path(folder), content, standing)[0], n_episodes, seed=0)
    env._observer.rules = env._observer.rules._replace(walkable=np.ascontiguousarray(offered_XY))
    tally = Tally(env)
    play(env, POLICIES["random"], 0, tally)
    sums, n, n_seen = tally.sums, tally.n_steps, tally.sums["enemies visible"]
    moves = " / ".join(f"{sums[f'move {d} available'] / n:.3f}" for d in DIRECTIONS)
    shares = [sums[key] / n for key in ("an enemy visible", "an enemy attackable", "alive")]
    distance, health = sums["distance"] / n_seen, sums["health"] / n_seen
    return [moves, *(f"{share:.3f}" for share in shares), f"{distance:.2f}", f"{health:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=240)
    options = parser.parse_args()
    content = yaml.safe_load((config_root() / "sc2_maps" / f"{MAP}.yaml").read_text(encoding="utf-8"))
    rows = content["terrain"].split()
    inner = without_border(rows)
    neither = without_border(without_foot(rows))
    variants = {
        "as shipped": (rows, rows),
        "border not offered": (rows, inner),
        "foot not offered": (rows, without_foot(rows)),
        "both not offered": (rows, neither),
        "both not offered, border blocked": (inner, neither),
        "both blocked": (neither, neither),
    }
    print("| variant | north / south / east / west | enemy visible | attackable | agents alive | distance | health |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (standing, offered) in variants.items():
        print(f"| {name} | " + " | ".join(statistics(standing, offered, content, options.episodes)) + " |", flush=True)


if __name__ == "__main__":
    main()
