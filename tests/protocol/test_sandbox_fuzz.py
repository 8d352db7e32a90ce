"""Damaged programs and bundles: refused with BundleError, whatever was done to them."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import epymarl_lmac
from epymarl_lmac.errors import BundleError
from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol import Bundle

SOURCE = protocols_root() / "lookout" / "3a-4k" / "default"
FUZZER = Path(__file__).with_name("fuzz_program.py")


def fuzz(runs, seed):
    """Runs the fuzzer in a process of its own, with bounded memory."""
    environment = {**os.environ, "PYTHONPATH": str(Path(epymarl_lmac.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FUZZER), str(runs), str(seed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[2])


def test_mutated_programs_are_read_or_refused_and_nothing_is_executed():
    accepted = fuzz(600, 1)
    assert 0 < accepted < 600  # some changes leave a program, else nothing past the first check was reached


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_mutated_programs_are_read_or_refused(seed):
    assert fuzz(10_000, 100 + seed) > 0


def test_every_corruption_of_a_bundle_is_refused(tmp_path):
    rng = random.Random(5)
    names = ["k0.py", "k1.py", "k2.py", "program.json", "constants.safetensors"]
    bundle = tmp_path / "bundle"
    shutil.copytree(SOURCE, bundle)
    for number in range(150):
        name = names[number % len(names)]
        good = (bundle / name).read_bytes()
        bad = bytearray(good)
        where = rng.randrange(len(bad))
        if number % 3 == 0:
            del bad[where:]
        elif number % 3 == 1:
            bad[where] ^= 1 << rng.randrange(8)
        else:
            bad[where:where] = b"\x00"
        (bundle / name).write_bytes(bad)
        with pytest.raises(BundleError, match=name):
            Bundle.load(bundle, None)
        (bundle / name).write_bytes(good)
    Bundle.load(bundle, None)
