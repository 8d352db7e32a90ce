"""EPyMARL v1.0.0, the last version on Gym: environments return three values, SMAC is imported at start."""

from __future__ import annotations

from dataclasses import replace

from epymarl_lmac.plugin import epymarl
from epymarl_lmac.plugin.older import restore_removed_names

HOST = replace(
    epymarl.HOST,
    kind="epymarl_v1",
    title="EPyMARL v1.0.0 (Gym)",
    five_values=False,
    optional=("smac", "gym"),
    prepare=restore_removed_names,
)
