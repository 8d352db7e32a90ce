"""Random play on 1o_10b_vs_1r with other terrain, for the question which cells the real game takes for walkable.

    python docs/results/sc2/terrain_variants.py [--blocks 12]

Two things are varied apart: where a unit may stand and walk, and which cells are offered as moves (SMAC looks one cell
ahead in the pathing grid that the game reports). A block is 60 episodes, as many as were played in the real game; the
line below a variant says by how many standard deviations of such a block the real game differs from it. Shares are of
agent steps, the dead included.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from random_play import Tally, make_env, play
from scripted import POLICIES

from envs.sc2 import Sc2Env
from epymarl_lmac.paths import config_root
from epymarl_lmac.tasks.sc2_constants import MAP_SIZE
from epymarl_lmac.tasks.sc2_map_file import load_map

MAP = "1o_10b_vs_1r"
EPISODES = 60  # of a block
SMALLEST_SD = 5e-4  # half of the last digit that is known of the real game
DIRECTIONS = ("north", "south", "east", "west")
STATISTICS = (
    *DIRECTIONS,
    "visible",
    "attackable",
    "alive",
    "distance",
    "health",
    "first ally",
    "tenth",
    "attack",
    "stop",
)
# .905 alive is what .896 of ten Banelings and all Overlords make.
REAL = (0.811, 0.791, 0.794, 0.789, 0.121, 0.104, 0.905, 2.34, 0.931, 0.143, 0.036, 0.021, 0.192)
Rows = list[str]  # of the map file, from north to south


def closed_border(rows: Rows, height: int, width: int) -> Rows:
    """Blocks the outermost ``height`` rows in the north and south and ``width`` columns in the east and west."""
    return _bordered(rows, "#", height, width)


def open_border(rows: Rows, width: int) -> Rows:
    """Opens the outermost rows and columns."""
    return _bordered(rows, ".", width, width)


def _bordered(rows: Rows, cell: str, height: int, width: int) -> Rows:
    side = cell * width
    inner = [side + row[width : MAP_SIZE - width] + side for row in rows[height : MAP_SIZE - height]]
    return [*[cell * MAP_SIZE] * height, *inner, *[cell * MAP_SIZE] * height]


def without_cut(rows: Rows) -> Rows:
    """Blocks the low cells that a cliff's corner cuts: in its tile of 2 x 2 cells those beside the high one."""
    return _blocked_beside_slopes(rows, 1)


def without_foot(rows: Rows) -> Rows:
    """Blocks all low cells in the tiles of cliffs' corners, also the one that the slope only touches."""
    return _blocked_beside_slopes(rows, 2)


def _blocked_beside_slopes(rows: Rows, steps: int) -> Rows:
    cells = [list(row) for row in rows]
    for top in range(0, MAP_SIZE, 2):
        for left in range(0, MAP_SIZE, 2):
            tile = [(top + i, left + j) for i in (0, 1) for j in (0, 1)]
            high = [cell for cell in tile if rows[cell[0]][cell[1]] == "#"]
            low = [cell for cell in tile if rows[cell[0]][cell[1]] == "."]
            if len(high) == 1 and len(low) == 3:
                for i, j in low:
                    if abs(i - high[0][0]) + abs(j - high[0][1]) <= steps:
                        cells[i][j] = "#"
    return ["".join(row) for row in cells]


def walkable(folder: Path, content: dict, rows: Rows) -> tuple[str, np.ndarray]:
    """Writes the map with this terrain; returns its file and its walkable cells, bool (32, 32), [x, y]."""
    path = folder / f"{MAP}.yaml"
    path.write_text(yaml.safe_dump({**content, "terrain": "\n".join(rows) + "\n"}), encoding="utf-8")
    return str(path), load_map(str(path)).walkable


def block(standing: Rows, offered: Rows, content: dict, seed: int) -> list[float]:
    """Plays uniformly random episodes; returns ``STATISTICS``."""
    with tempfile.TemporaryDirectory() as folder:
        offered_XY = walkable(Path(folder), content, offered)[1]
        env = make_env(walkable(Path(folder), content, standing)[0], EPISODES, seed)
    env._observer.rules = env._observer.rules._replace(walkable=np.ascontiguousarray(offered_XY))
    return measured(env, seed)


def measured(env: Sc2Env, seed: int) -> list[float]:
    """Plays one uniformly random episode in every battle; returns ``STATISTICS``."""
    tally = Tally(env)
    play(env, POLICIES["random"], seed, tally)
    sums, n, n_seen = tally.sums, tally.n_steps, tally.sums["enemies visible"]
    shares = ("an enemy visible", "an enemy attackable", "alive")
    last = ("ally slot 0 visible", "ally slot 9 visible", "action attack or heal", "action stop")
    return [
        *(sums[f"move {direction} available"] / n for direction in DIRECTIONS),
        *(sums[key] / n for key in shares),
        sums["distance"] / n_seen,
        sums["health"] / n_seen,
        *(sums[key] / n for key in last),
    ]


def print_head() -> None:
    """Prints the first lines of the table."""
    print("| variant | " + " | ".join(STATISTICS) + " |")
    print("| --- |" + " --- |" * len(STATISTICS))
    print("| StarCraft II | " + " | ".join(f"{value:.3f}" for value in REAL) + " |", flush=True)


def print_variant(name: str, blocks: Sequence[list[float]]) -> None:
    """Prints the means of a variant's blocks, and how far the real game lies from them."""
    values = np.array(blocks)
    mean, sd = values.mean(0), values.std(0, ddof=1)
    print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in mean) + " |")
    apart = (np.array(REAL) - mean) / sd.clip(SMALLEST_SD)
    print("| | " + " | ".join(f"{value:+.1f}" for value in apart) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12)
    options = parser.parse_args()
    content = yaml.safe_load((config_root() / "sc2_maps" / f"{MAP}.yaml").read_text(encoding="utf-8"))
    shipped = content["terrain"].split()
    sheet = [row.replace("~", ".") for row in open_border(shipped, 3)]  # every cell that may be walkable is
    cut, foot = without_cut(sheet), without_foot(sheet)

    def closed(width: int) -> Rows:
        return closed_border(sheet, width, width)

    variants = {
        "every uncertain cell walkable": (sheet, sheet),
        "border of 1 not offered": (sheet, closed(1)),
        "border of 2 in the north and south, 1 in the east and west not offered": (sheet, closed_border(sheet, 2, 1)),
        "border of 1 and foot not offered": (sheet, closed_border(foot, 1, 1)),
        "border of 1 closed": (closed(1), closed(1)),
        "border of 2 closed": (closed(2), closed(2)),
        "border of 3 closed (shipped)": (shipped, shipped),
        "border of 4 closed": (closed(4), closed(4)),
        "border of 2 closed, cut cells not offered": (closed(2), closed_border(cut, 2, 2)),
        "border of 2 closed, foot not offered": (closed(2), closed_border(foot, 2, 2)),
    }
    print_head()
    for name, (standing, offered) in variants.items():
        print_variant(name, [block(standing, offered, content, seed) for seed in range(options.blocks)])


if __name__ == "__main__":
    main()
