"""Judges the places that the sc2 bundles tell, as estimates of the state: no decoder learns anything here.

    python docs/protocols/judge_battles.py bane_vs_hM 1o_10b_vs_1r 2o_20b_vs_2r 5z_vs_1ul --battles 64 --seed 3

Plays fresh battles of the embedded engine, in half of which agents act at random and in half attack the nearest enemy
(``docs/results/sc2/scripted.py``), and takes what k = 2 says of every living teammate's x and y as it is: the shipped
protocol, or where that step was left out the kept answer. R2 is
1 - MSE / variance, pooled over the columns (agents' x and y); recall is the share of entries within two cells. Beside
it is the best constant of every column: all that somebody knows who hears nothing and sees nobody.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "docs" / "results" / "sc2")]

from scripted import POLICIES  # noqa: E402

from envs.sc2 import Sc2Env  # noqa: E402
from epymarl_lmac.paths import protocols_root  # noqa: E402
from epymarl_lmac.protocol import Bundle, Program  # noqa: E402
from epymarl_lmac.settings import merge  # noqa: E402
from epymarl_lmac.tasks import task_card  # noqa: E402
from protocol_gen.answers import step_of_design  # noqa: E402
from protocol_gen.build_bundle import schema_of  # noqa: E402

SIZE = 32.0  # cells of a side
NEAR = 2.0  # cells
# Numbers that k = 2 tells of an agent, and how many come before the first teammate's: the receiver's own.
TOLD = {"bane_vs_hM": (9, 6), "1o_10b_vs_1r": (8, 8), "2o_20b_vs_2r": (9, 9), "5z_vs_1ul": (9, 9)}


class Battles(NamedTuple):
    """Recorded battles: B of them, T steps, N agents."""

    x_BTND: torch.Tensor  # what agents read, with last actions and numbers
    place_BTN2: np.ndarray  # x and y, cells
    alive_BTN: np.ndarray
    played_BT: np.ndarray  # whether the battle still went on


def record(map_name: str, policy: str, n_battles: int, seed: int) -> Battles:
    """Plays one episode of every battle."""
    env_args = merge("qmix", "sc2", [f"env_args.map_name={map_name}", "env_args.engine=embedded"])["env_args"]
    env, rng = Sc2Env(n_battles, seed, **env_args), np.random.default_rng(seed)
    n, n_actions = env.n_agents, env.n_actions
    numbers = np.broadcast_to(np.eye(n, dtype=np.float32), (n_battles, n, n))
    last = np.zeros((n_battles, n, n_actions), np.float32)
    rows: list[tuple[np.ndarray, ...]] = []
    live_B = np.ones(n_battles, bool)
    while live_B.any():
        table = env._table
        place = np.stack([table.x[:, :n], table.y[:, :n]], axis=-1)
        rows.append((np.concatenate([env.obs_BNO, last, numbers], -1), place, env.alive_BN.copy(), live_B.copy()))
        actions_BN = POLICIES[policy](env, rng)
        last = np.eye(n_actions, dtype=np.float32)[actions_BN]
        result = env.step(actions_BN)
        live_B &= ~(result.terminated_B | result.truncated_B)
    x, place, alive, played = (np.stack(column, axis=1) for column in zip(*rows, strict=True))
    return Battles(torch.from_numpy(x), place, alive, played)


def windows(x_BTND: torch.Tensor, t: int, length: int) -> torch.Tensor:
    """Returns the last steps up to step t, (B, L, N, D); before the start all is -1 but the number."""
    seen = x_BTND[:, max(0, t + 1 - length) : t + 1]
    before = torch.full_like(x_BTND[:, :1], -1.0).repeat(1, length - seen.shape[1], 1, 1)
    n = x_BTND.shape[2]
    before[..., -n:] = torch.eye(n)
    return torch.cat([before, seen], dim=1)


def last_protocol(map_name: str) -> Program:
    """Returns k = 2 of a map's design: of the bundle, or the answer that was left out of it."""
    env_args = merge("lmac_qmix", "sc2", [f"env_args.map_name={map_name}"])["env_args"]
    schema = schema_of(task_card("sc2", env_args), True, True)
    bundle = Bundle.load(protocols_root() / "sc2" / map_name / "default", schema)
    return step_of_design(bundle, 2, ROOT / "docs" / "protocols" / "sc2" / map_name / "answers")


def judge(map_name: str, n_battles: int, seed: int) -> dict[str, float]:
    """Returns R2, recall and the mean error of what is said about teammates' places, and of the best constants."""
    program = last_protocol(map_name)
    length = program.spec.history
    assert length is not None  # k = 2 sees a history
    width, own = TOLD[map_name]
    said: dict[int, list[np.ndarray]] = {}
    true: dict[int, list[np.ndarray]] = {}
    for number, policy in enumerate(("random", "attack_nearest")):
        battles = record(map_name, policy, n_battles // 2, seed + number)
        n = battles.place_BTN2.shape[2]
        for t in range(battles.x_BTND.shape[1]):
            with torch.no_grad():
                told = program.message(windows(battles.x_BTND, t, length)).numpy()
            for sender in range(n):
                receiver = (sender + 1) % n  # everybody hears the same of a teammate
                at = own + (n - 2) * width
                counts = battles.played_BT[:, t] & battles.alive_BTN[:, t, sender] & battles.alive_BTN[:, t, receiver]
                said.setdefault(sender, []).append((told[:, receiver, at : at + 2] * SIZE + SIZE / 2)[counts])
                true.setdefault(sender, []).append(battles.place_BTN2[:, t, sender][counts])
    guess = [np.concatenate(said[sender]) for sender in said]
    truth = [np.concatenate(true[sender]) for sender in said]
    error = np.concatenate([a - b for a, b in zip(guess, truth, strict=True)])
    constant = np.concatenate([b.mean(0) - b for b in truth])
    return {
        "R2": 1 - float((error**2).sum() / (constant**2).sum()),
        "recall": float((np.abs(error) < NEAR).mean()),
        "recall of a constant": float((np.abs(constant) < NEAR).mean()),
        "error, cells": float(np.abs(error).mean()),
        "error of a constant": float(np.abs(constant).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", nargs="+", choices=list(TOLD))
    parser.add_argument("--battles", type=int, default=64)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.maps:
        found = judge(name, options.battles, options.seed)
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
