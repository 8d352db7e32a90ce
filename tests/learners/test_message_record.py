"""What messages cost ends up in the run's record, pair by pair."""

import json

import numpy as np
import pytest

from epymarl_lmac.settings import load_settings
from run import run
from utils.logging import Logger, get_logger


@pytest.fixture(autouse=True)
def bundle():
    """Overrides the stand-in bundle of this folder: the shipped one is used here."""


def record(tmp_path, alg):
    words = ["seed=1", "use_cuda=False", "t_max=64", "test_nepisode=4", f"local_results_path={tmp_path}"]
    assert run(load_settings(alg, "lookout", words), Logger(get_logger())) == 0
    (path,) = tmp_path.glob("*/run.json")
    return json.loads(path.read_text())


def test_every_ordered_pair_is_in_the_record(tmp_path):
    content = record(tmp_path, "commnet")
    H, N = content["settings"]["hidden_dim"], 3
    others = 1 - np.eye(N)
    assert np.array_equal(content["messages"]["floats"], H * others)
    assert np.array_equal(content["messages"]["bits"], 32 * H * others)
    assert np.array_equal(content["messages"]["links"], others)
    assert content["end_metrics"]["test_message_floats"] == pytest.approx(H)


def test_a_central_messenger_has_both_directions(tmp_path):
    messages = record(tmp_path, "hammer")["messages"]
    assert len(messages["uplink"]) == len(messages["downlink"]) == 3


def test_a_silent_method_has_none(tmp_path):
    assert "messages" not in record(tmp_path, "qmix")


def test_the_protocol_lies_beside_the_record(tmp_path):
    bundle = record(tmp_path, "lmac_qmix")["communication"]["protocol"]
    (folder,) = tmp_path.glob("*/protocol")
    assert {path.name for path in folder.iterdir()} >= {"manifest.yaml", "program.json"}
    assert bundle["message_dims"]
