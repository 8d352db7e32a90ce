"""A new communication method touches one file, one yaml and one line of the registry."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
METHOD = '''
"""Every agent tells the others what it reads."""

from dataclasses import dataclass

import torch

from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Sizes
from modules.comm.link import LinkSettings


@dataclass(frozen=True)
class EchoSettings(LinkSettings):
    """The echo's own settings."""

    echo_scale: float = setting(1.0, "what messages are multiplied by", above=0)


class EchoComm(Comm):
    """The mean of what the others read joins an agent's input."""

    SETTINGS = EchoSettings

    @classmethod
    def sizes(cls, team, settings):
        return Sizes(2 * team.own_dim, team.hidden_dim)

    def floats_per_pair(self):
        return self.team.own_dim

    def inputs(self, steps, own_RND, before_RNH, kept):
        heard = self.link.broadcast(steps, own_RND * self.settings.echo_scale).mean_of_others()
        return torch.cat([own_RND, heard], dim=-1)
'''
YAML = "# The echo on QMIX.\n\nbase: qmix\nname: echo # name of the algorithm in records and plots\ncomm: echo\n"
LINE = '        "echo": "modules.comm.echo:EchoComm",\n'


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the sources with the method added."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("src", "config", "epymarl_lmac", "protocol_gen", "protocols"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copy(ROOT / "setup.py", root)  # what tells a checkout from an installed package
    (root / "src/modules/comm/echo.py").write_text(METHOD)
    (root / "config/algs/echo.yaml").write_text(YAML)
    registry = root / "src/modules/comm/registry.py"
    before = registry.read_text()
    registry.write_text(before.replace('        "cola"', LINE + '        "cola"'))
    assert registry.read_text() != before
    return root


def train(copy, results, *updates):
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    words = ["seed=1", "use_cuda=False", "t_max=2000", "test_nepisode=8", f"local_results_path={results}", *updates]
    command = [sys.executable, "src/main.py", "--no-sacred", "--config=echo", "--env-config=lookout", "with", *words]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


def test_it_trains_and_its_messages_are_counted(copy, tmp_path):
    done = train(copy, tmp_path, "learner_log_interval=100")
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("echo_lookout_*")
    record = json.loads((folder / "run.json").read_text())
    x_dim = 5 + 4 + 3  # observation, last action, id
    assert record["end_metrics"]["test_message_floats"] == x_dim
    assert record["settings"]["echo_scale"] == 1.0 and "loss" in record["end_metrics"]


def test_its_setting_is_checked(copy, tmp_path):
    done = train(copy, tmp_path, "echo_scale=0")
    assert done.returncode != 0 and "echo_scale" in done.stderr + done.stdout
