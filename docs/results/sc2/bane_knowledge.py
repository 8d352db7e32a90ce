"""What agents on bane_vs_hM have to know, and what they win with it.

    python docs/results/sc2/bane_knowledge.py teams [--battles 200]
    python docs/results/sc2/bane_knowledge.py table RUN...
    python docs/results/sc2/bane_knowledge.py train KNOWLEDGE --results results/knowledge [--t-max 500000] [--seed 1]

``teams`` plays scripted teams. ``train`` trains QMIX whose agents read a part of the state: ``places`` (x and y of all
agents), ``own`` (each its own x and y: nothing that a message would have to tell), ``stem`` (y of agent 1, to all), or
``landmarks`` (three numbers: whether agent 1 has come out of the stem, and whether agents 0 and 2 have come to the head
of the T; this much an agent knows of itself by the ways that are closed around it). The mixer reads the whole state, as
in ``qmix_state``. Runs are named ``qmix_knows_KNOWLEDGE``.

``table`` prints what runs win and how long their tests last. It writes all their tests to ``bane_knowledge.csv`` beside
this file, in the place of those of the same name and seed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(HERE)]

from learning_curves import Curve  # noqa: E402
from random_play import make_env, play  # noqa: E402
from scripted import POLICIES, STOP, Battle, nearest, scripted  # noqa: E402

from controllers.sequence_controller import SequenceMac  # noqa: E402
from epymarl_lmac.record.metrics import read_metrics  # noqa: E402
from epymarl_lmac.record.provenance import read_run  # noqa: E402
from main import main as train_main  # noqa: E402
from modules.comm.steps import Steps  # noqa: E402

MAP = "bane_vs_hM"
TESTS = HERE / "bane_knowledge.csv"
KEYS = ("test_battle_won_mean", "test_ep_length_mean")
USUAL = {"epsilon_anneal_time": 50_000, "standardise_rewards": True, "mixer": "qmix"}  # in the LMAC comparison
LATE = 100_000  # steps after which single tests are looked at
Row = tuple[object, ...]
STEM, ARMS = 1, (0, 2)  # agents by where they start
HYDRALISK = 3  # slot of the unit table
STEM_ENDS, HEAD_BEGINS, HEAD_ENDS = 27.0, 13.0, 19.0  # y; x; x: there other ways are open than before, cells
ARRIVED = 3.2  # cells from the Hydralisk at which an agent of an arm has come to it
GO_ARMS, GO_STEM = 15, 23  # steps after which the team with a schedule sets out for the Hydralisk
TO_THE_END = 12  # steps that bring an agent of an arm to its outer end
EAST, WEST = 4, 5  # actions
X, Y, COLUMNS = 2, 3, 6  # of an agent's block in the state: (value - 16) / 32; width of a block


def landmarks(battle: Battle, i: int) -> int:
    """The arms wait for the message that agent 1 has left the stem; there it waits until an arm arrives."""
    stem_is_out = STEM not in battle.agents or battle.xy[STEM, 1] >= STEM_ENDS
    arm_is_there = any(k not in battle.agents or battle.gap(k, HYDRALISK) < ARRIVED for k in ARMS)
    if i == STEM:
        return STOP if stem_is_out and not arm_is_there else nearest(battle, i)
    return nearest(battle, i) if stem_is_out else STOP


def schedule(battle: Battle, i: int) -> int:
    """No messages: the arms walk to their outer ends first, agent 1 to the end of the stem; each leaves at its time."""
    if i == STEM:
        return STOP if battle.xy[STEM, 1] >= STEM_ENDS and battle.step < GO_STEM else nearest(battle, i)
    if battle.step >= GO_ARMS:
        return nearest(battle, i)
    out = WEST if i == ARMS[0] else EAST
    return out if battle.step < TO_THE_END and battle.env.avail_BNA[battle.b, i, out] else STOP


def known(knowledge: str, state_RS: Tensor, n_agents: int) -> Tensor:
    """Returns what each agent reads, (R, N, K), of states (R, S)."""
    x_RN, y_RN = state_RS[:, X : COLUMNS * n_agents : COLUMNS], state_RS[:, Y : COLUMNS * n_agents : COLUMNS]
    if knowledge == "own":
        return torch.stack([x_RN, y_RN], dim=-1)
    if knowledge == "places":
        told_RK = torch.cat([x_RN, y_RN], dim=-1)
    elif knowledge == "stem":
        told_RK = y_RN[:, STEM : STEM + 1]
    else:
        x_RN, y_RN = x_RN * 32 + 16, y_RN * 32 + 16
        marks = [y_RN[:, STEM] >= STEM_ENDS, x_RN[:, ARMS[0]] >= HEAD_BEGINS, x_RN[:, ARMS[1]] <= HEAD_ENDS]
        told_RK = torch.stack(marks, dim=-1).float()
    return told_RK.unsqueeze(1).expand(-1, n_agents, -1)


def train(knowledge: str, options: argparse.Namespace) -> int:
    """Trains QMIX whose agents read ``known`` instead of the state, the columns that are left over being 0."""

    def own(controller: SequenceMac, steps: Steps) -> Tensor:
        state_RS = steps.stored("state")
        told_RNK = known(knowledge, state_RS, controller.n_agents)
        rest = told_RNK.new_zeros(*told_RNK.shape[:2], state_RS.shape[1] - told_RNK.shape[2])
        return torch.cat([steps.x_RND, told_RNK, rest], dim=-1)

    SequenceMac._own = own  # type: ignore[method-assign]
    updates = {
        "env_args.map_name": MAP, "env_args.engine": "embedded", "seed": options.seed, "t_max": options.t_max,
        "test_interval": 20000, "use_cuda": False,
        "name": f"qmix_knows_{knowledge}", "local_results_path": options.results,
    }  # fmt: skip
    flags = ["--no-sacred", "--config=qmix_state", "--env-config=sc2", "with"]
    return train_main([*flags, *(f"{key}={value}" for key, value in updates.items())])


def teams(battles: int) -> None:
    """Prints win rate and mean length of scripted teams."""
    all_places = {"attack nearest": POLICIES["attack_nearest"], "rush": POLICIES["rush"]}
    told = {"landmarks told, no places": scripted(landmarks), "a schedule, no messages": scripted(schedule)}
    print("| team | wins | steps |\n| --- | --- | --- |")
    for name, policy in {**all_places, **told}.items():
        played = play(make_env(MAP, battles, 0), policy, 0)
        print(f"| {name} | {played['win_rate']:.2f} | {played['length_mean']:.1f} |", flush=True)


def read(run: Path) -> list[Row]:
    """Returns the tests of a run; its name has the settings that differ from those of the comparison."""
    record = read_run(run)
    changed = [f"{key}={record['settings'][key]}" for key, usual in USUAL.items() if record["settings"][key] != usual]
    name = " ".join([record["algorithm"], *changed])
    tests: dict[int, dict[str, float]] = {}
    for row in read_metrics(run):
        if row.key in KEYS:
            tests.setdefault(row.t_env, {})[row.key] = row.value
    return [(name, record["seed"], step, *(f"{test[key]:.4f}" for key in KEYS)) for step, test in tests.items()]


def table(runs: list[Path]) -> None:
    """Adds runs to the file of tests and prints what the file has."""
    kept: dict[tuple[str, str], list[Row]] = {}
    if TESTS.exists():
        with TESTS.open(newline="", encoding="utf-8") as file:
            for row in list(csv.reader(file))[1:]:
                kept.setdefault((row[0], row[1]), []).append(tuple(row))
    for run in runs:
        rows = read(run)
        if not rows or int(str(rows[-1][2])) < LATE:
            raise SystemExit(f"{run} has no test after {LATE:,} steps; give runs that were trained that far.")
        kept[rows[0][0], str(rows[0][1])] = rows
    with TESTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("run", "seed", "t_env", *KEYS))
        for key in sorted(kept):
            writer.writerows(kept[key])
    print(f"| run | seed | steps | last 50,000 | from {LATE:,} on | steps of a test there |\n|" + " --- |" * 6)
    for (name, seed), rows in sorted(kept.items()):
        step_T, won_T, length_T = (np.array([float(row[k]) for row in rows]) for k in (2, 3, 4))
        last, late = Curve(step_T, won_T).at(int(step_T[-1])), step_T >= LATE
        won_T, length_T = won_T[late], length_T[late]
        print(f"| {name} | {seed} | {step_T[-1]:,.0f} | {last:.2f} | {won_T.min():.2f} to {won_T.max():.2f} |", end="")
        print(f" {length_T.min():.0f} to {length_T.max():.0f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    playing = commands.add_parser("teams")
    playing.add_argument("--battles", type=int, default=200)
    training = commands.add_parser("train")
    training.add_argument("knowledge", choices=("places", "own", "stem", "landmarks"))
    training.add_argument("--results", required=True)
    training.add_argument("--t-max", type=int, default=500_000)
    training.add_argument("--seed", type=int, default=1)
    showing = commands.add_parser("table")
    showing.add_argument("runs", nargs="*", type=Path)
    options = parser.parse_args()
    if options.command == "table":
        table(options.runs)
        return 0
    if options.command == "train":
        return train(options.knowledge, options)
    teams(options.battles)
    return 0


if __name__ == "__main__":
    sys.exit(main())
