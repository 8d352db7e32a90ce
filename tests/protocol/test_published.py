"""Modules in the published format load unchanged: bit-equal to what they say, or refused if they are not static.

The modules are not part of this project. Set LMAC_ARCHIVE to a folder with one folder for each task, each with
comm_init.py, comm_update.py and comm_update_timestep_wise2.py; the tests run those files in their own process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from epymarl_lmac.errors import ProtocolRejected
from epymarl_lmac.protocol import ProtocolSpec, build_program

ARCHIVE = os.environ.get("LMAC_ARCHIVE", "")
pytestmark = pytest.mark.skipif(not ARCHIVE, reason="LMAC_ARCHIVE names no folder of published modules")
L = 10
SIZES = {
    "bane_vs_hM": (3, 42),
    "1o_10b_vs_1r": (11, 103),
    "2o_20b_vs_2r": (22, 200),
    "5z_vs_1ul": (5, 48),
    "Foraging-8x8-2p-2f-s1True": (2, 35),
    "Foraging-11x11-6p-4f-s1True": (6, 39),
    "academy_3_vs_1_with_keeper": (3, 48),
    "academy_run_pass_and_shoot_with_keeper": (2, 43),
    "protoss_5_vs_5": (5, 108),
    "terran_5_vs_5": (5, 98),
    "zerg_5_vs_5": (5, 98),
}
FILES = ("comm_init", "comm_update", "comm_update_timestep_wise2")
# The layer that refuses those that raise on their own task's sizes, or compute what depends on other episodes.
REFUSED = {
    "5z_vs_1ul/comm_update": "run",
    "zerg_5_vs_5/comm_update": "grammar",  # a name that is defined nowhere
    "Foraging-8x8-2p-2f-s1True/comm_update_timestep_wise2": "grammar",  # lists of numbers taken out of tensors
}
# Runs a module as it is, in a process of its own, on inputs made from a seed.
EAGER = """
import importlib.util, json, sys, torch
path, shape, out = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("published", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
results = []
for batch, seed in ((1, 0), (7, 1), (32, 2)):
    o = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed))
    results += [o, module.communication(o.clone())]
o = (o > 0.5).float()
torch.save([*results, o, module.communication(o.clone())], out)
"""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("task", SIZES)
def test_a_published_module_is_bit_equal_or_refused(task, name, tmp_path):
    path = Path(ARCHIVE) / task / f"{name}.py"
    if not path.is_file():
        pytest.skip(f"LMAC_ARCHIVE has no {task}/{name}.py")
    spec = ProtocolSpec(*SIZES[task], L if name.endswith("wise2") else None)
    layer = REFUSED.get(f"{task}/{name}")
    if layer is not None:
        with pytest.raises(ProtocolRejected) as caught:
            build_program(path.read_text(), spec)
        assert caught.value.layer == layer and caught.value.line is not None
        return
    program = build_program(path.read_text(), spec)
    out = tmp_path / "eager.pt"
    shape = json.dumps(spec.input_shape(1)[1:])
    subprocess.run([sys.executable, "-c", EAGER, str(path), shape, str(out)], check=True, timeout=120)
    results = torch.load(out, weights_only=True)
    for o, expected in zip(results[::2], results[1::2], strict=True):
        assert torch.equal(program(o), expected)
        assert torch.equal(program.message(o), expected[..., spec.x_dim :])
