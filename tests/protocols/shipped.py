"""The bundles that ship, the settings of their tasks, and how tests load them."""

from __future__ import annotations

import pytest

from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol import Bundle
from epymarl_lmac.settings.load import merge
from epymarl_lmac.tasks import TaskCard, task_card
from protocol_gen.build_bundle import schema_of

RANDOM = ["env_args.random_lengths=True", "env_args.time_slack=0"]
FORAGING = ["env_args.key=lbforaging:Foraging-2s-8x8-2p-2f-coop-v3", "env_args.time_limit=50"]
WAREHOUSE = ["env_args.key=rware:rware-tiny-2ag-v2", "env_args.time_limit=500"]
SC2_MAPS = ("bane_vs_hM", "1o_10b_vs_1r", "2o_20b_vs_2r", "5z_vs_1ul")
TASKS: dict[str, tuple[str, list[str]]] = {
    "lookout/3a-4k": ("lookout", []),
    "lbf/8x8-2p-2f-s1-coop": ("lbf", []),
    "lbf/11x11-6p-4f-s1-coop": (
        "lbf",
        ["env_args.players=6", "env_args.max_food=4", "env_args.field_size=11"],
    ),
    "hallway/6x6": ("hallway", []),
    "hallway/6x6-random-slack0": ("hallway", RANDOM),
    "hallway_group/3x5-4x6x10": ("hallway_group", []),
    "hallway_group/3x5-4x6x10-random-slack0": ("hallway_group", RANDOM),
    "predator_prey/5x5-3p-v0": ("predator_prey", []),
    "traffic_junction/easy-v0": ("traffic_junction", []),
    "pettingzoo/simple_reference_v3-25t": ("pettingzoo", []),
    "pettingzoo/simple_speaker_listener_v4-25t": ("pettingzoo", ["env_args.key=mpe2.simple_speaker_listener_v4"]),
    "pettingzoo/simple_spread_v3-25t": ("pettingzoo", ["env_args.key=mpe2.simple_spread_v3"]),
    "gymma/Foraging-2s-8x8-2p-2f-coop-v3-50t": ("gymma", FORAGING),
    "gymma/rware-tiny-2ag-v2-500t": ("gymma", WAREHOUSE),
    **{f"sc2/{name}": ("sc2", [f"env_args.map_name={name}"]) for name in SC2_MAPS},
    "sc2/3m": ("sc2", ["env_args.map_name=3m"]),
    "smaclite/2s3z-150t": ("smaclite", ["env_args.map_name=2s3z"]),
}

# The default designs of LBF infer where everything is; those they replaced forward what is seen now.
LBF = ("lbf/8x8-2p-2f-s1-coop", "lbf/11x11-6p-4f-s1-coop")
BUNDLES = [*((name, "default") for name in TASKS), *((name, "forwarding") for name in LBF)]


def load(name: str, which: str = "default") -> tuple[Bundle, TaskCard]:
    """Returns a bundle and its task's card; skips where the task's package is missing."""
    env, updates = TASKS[name]
    if env == "smaclite":
        pytest.importorskip("smaclite")
    values = merge("lmac_qmix", env, updates)
    card = task_card(env, values["env_args"])
    return Bundle.load(protocols_root() / name / which, schema_of(card, True, True)), card
