"""Prints what scripted play of a map looks like, for comparison with StarCraft II.

    python docs/results/sc2/random_play.py 1o_10b_vs_1r --episodes 60
    python docs/results/sc2/random_play.py --all --policies random,attack_nearest,focus_fire,rush --episodes 64 \
        --csv docs/results/sc2/win_rates.csv

With ``--csv`` a row is written as soon as it is played, and rows that the file has already are not played again.

Shares are of agent steps: every agent in every step that was played, the dead included; those in brackets are of the
living only.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(HERE)]

from scripted import POLICIES, Policy  # noqa: E402

from envs.sc2 import SIMULATOR_VERSION, Sc2Env, Sc2V2Env  # noqa: E402
from epymarl_lmac.paths import config_root  # noqa: E402
from epymarl_lmac.tasks import task_card  # noqa: E402
from epymarl_lmac.tasks.sc2_map_file import load_map, map_names  # noqa: E402


def make_env(map_name: str, num_envs: int, seed: int) -> Sc2Env:
    """Returns the embedded battles of a map with its published settings."""
    env = "sc2v2" if load_map(map_name).is_generated else "sc2"
    text = (config_root() / "envs" / f"{env}.yaml").read_text(encoding="utf-8")
    args = {**yaml.safe_load(text)["env_args"], "map_name": map_name, "engine": "embedded"}
    made = (Sc2Env if env == "sc2" else Sc2V2Env)(num_envs, seed, **args)
    made.columns = [d.name for d in task_card(env, args).obs]  # type: ignore[attr-defined]
    return made


class Tally:
    """Sums over agent steps."""

    def __init__(self, env: Sc2Env) -> None:
        self.env = env
        self.sums: dict[str, float] = {}
        self.n_steps = self.n_living = 0
        self._at = {name: k for k, name in enumerate(env.columns)}  # type: ignore[attr-defined]

    def add(self, key: str, values: np.ndarray) -> None:
        self.sums[key] = self.sums.get(key, 0.0) + float(values.sum())

    def count(self, live_B: np.ndarray, actions_BN: np.ndarray) -> None:
        """Adds one step of the battles of ``live_B``."""
        env, obs = self.env, self.env.obs_BNO[live_B]
        alive = env.alive_BN[live_B]
        self.n_steps += alive.size
        self.n_living += int(alive.sum())
        self.add("alive", alive)
        for direction, column in zip(("north", "south", "east", "west"), range(2, 6), strict=True):
            self.add(f"move {direction} available", env.avail_BNA[live_B][:, :, column])
        settings = env.settings
        visible = np.zeros(alive.shape, bool)
        for j in range(settings.n_enemies):
            start = self._at[f"enemy{j}_attackable"]
            sees = obs[:, :, start : start + settings.enemy_width].any(2)
            visible |= sees
            self.add("enemies visible", sees)
            self.add("distance", obs[:, :, start + 1] * settings.sight_range)
            if f"enemy{j}_health" in self._at:
                self.add("health", obs[:, :, self._at[f"enemy{j}_health"]])
        self.add("an enemy visible", visible)
        self.add("an enemy attackable", env.avail_BNA[live_B][:, :, settings.first_attack :].any(2))
        for r in range(settings.n_agents - 1):
            self.add(f"ally slot {r} visible", obs[:, :, self._at[f"ally{r}_visible"]])
        chosen = np.minimum(actions_BN[live_B], settings.first_attack)
        names = ("no-op", "stop", "north", "south", "east", "west")
        for action, name in enumerate(names):
            self.add(f"action {name}", chosen == action)
        self.add("action attack or heal", chosen == settings.first_attack)

    def lines(self) -> list[str]:
        """Returns one line a statistic."""
        seen = max(self.sums["enemies visible"], 1)
        lines = [f"alive: {self.sums['alive'] / self.n_steps:.3f}"]
        for key, total in self.sums.items():
            if key not in ("alive", "distance", "health", "enemies visible"):
                lines.append(f"{key}: {total / self.n_steps:.3f} ({total / self.n_living:.3f})")
        if not self.env.settings.use_unit_ranges:
            lines.append(f"mean distance of a visible enemy: {self.sums['distance'] / seen:.2f}")
        if "health" in self.sums:
            lines.append(f"mean health of a visible enemy: {self.sums['health'] / seen:.3f}")
        return lines


def play(env: Sc2Env, policy: Policy, seed: int, tally: Tally | None = None) -> dict[str, float]:
    """Plays one episode in every battle of ``env`` and returns its statistics."""
    rng = np.random.default_rng(seed)
    B = env.num_envs
    length_B, return_B, won_B = np.zeros(B), np.zeros(B), np.zeros(B)
    live_B = np.ones(B, bool)
    while live_B.any():
        actions_BN = policy(env, rng)
        if tally is not None:
            tally.count(live_B, actions_BN)
        result = env.step(actions_BN)
        return_B += result.reward_B
        length_B += live_B
        won_B = np.maximum(won_B, result.info["battle_won"])
        live_B &= ~(result.terminated_B | result.truncated_B)
    return {
        "episodes": B,
        "win_rate": won_B.mean(),
        "length_mean": length_B.mean(),
        "length_min": length_B.min(),
        "return_mean": return_B.mean(),
    }


_SAME = ("map", "map_hash", "simulator", "policy", "seed", "episodes")  # what names a row
COLUMNS = (*_SAME, "win_rate", "length_mean", "length_min", "return_mean")


def known_rows(path: Path | None) -> set[tuple[str, ...]]:
    """Returns which rows a file has."""
    if path is None or not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {tuple(row[name] for name in _SAME) for row in csv.DictReader(file)}


def write_row(path: Path, row: dict[str, object]) -> None:
    """Adds a row to a file."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def table(path: Path, policies: list[str]) -> list[str]:
    """Returns a markdown table of a file: win rate and mean length of every map and policy."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = {(row["map"], row["policy"]): row for row in csv.DictReader(file)}
    lines = ["| map | " + " | ".join(policies) + " |", "|" + " --- |" * (len(policies) + 1)]
    for name in dict.fromkeys(name for name, _ in rows):
        found = [rows.get((name, policy)) for policy in policies]
        cells = [f"{float(r['win_rate']):.2f}, {float(r['length_mean']):.1f}" if r else "" for r in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", nargs="*", help="maps to play")
    parser.add_argument("--all", action="store_true", help="play every map of the project")
    parser.add_argument("--policies", default="random", help=f"comma list of {', '.join(POLICIES)}")
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="also write one row a map and policy, and print the table at the end")
    options = parser.parse_args()
    policies, known = options.policies.split(","), known_rows(options.csv)
    for name in map_names() if options.all else options.maps:
        for policy in policies:
            map_hash = load_map(name).hash()[:12]
            key = (name, map_hash, SIMULATOR_VERSION, policy, str(options.seed), str(options.episodes))
            if key in known:
                continue
            env = make_env(name, options.episodes, options.seed)
            tally = Tally(env) if policy == "random" else None
            result = play(env, POLICIES[policy], options.seed, tally)
            print(f"{name}, {policy}: " + ", ".join(f"{k} {value:g}" for k, value in result.items()), flush=True)
            if options.csv:
                rounded = {k: round(float(v), 4) for k, v in result.items() if k != "episodes"}
                write_row(options.csv, {**dict(zip(_SAME, key, strict=True)), **rounded})
            elif tally is not None:
                print("  " + "\n  ".join(tally.lines()))
    if options.csv:
        print("\n".join(table(options.csv, policies)))


if __name__ == "__main__":
    main()
