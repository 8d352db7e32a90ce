"""``python -m protocol_gen measure``: what agents recover with a bundle that exists, and random play in memory."""

import shutil

import pytest
import torch
import yaml

from epymarl_lmac.errors import BundleError, SettingsError
from epymarl_lmac.paths import protocols_root
from epymarl_lmac.protocol import Bundle
from protocol_gen.collect import play_at_random
from protocol_gen.measure_bundle import measure

LOOKOUT = protocols_root() / "lookout" / "3a-4k" / "default"


def test_scores_by_protocol_step_go_into_the_manifest_of_a_bundle_that_still_loads(tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(LOOKOUT, folder)
    table = measure("lookout", [], None, folder, n_episodes=48, n_batches=40, n_seeds=1, write=True)
    scores = yaml.safe_load((folder / "manifest.yaml").read_text())["scores"]
    kinds = ["no messages", "k = 0", "k = 0, 1", "k = 0, 1, 2"]
    assert list(scores) == ["conditions", *kinds]
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:6]] == kinds
    conditions = scores["conditions"]
    assert conditions["episodes"] == 48 and conditions["heldout_episodes"] == 9
    assert conditions["behaviour"] == "random play"
    # The scout alone sees the target: without messages two of three agents can only guess one of four.
    assert scores["no messages"]["r2_by_group"]["target"] < 0.45
    assert scores["k = 0, 1, 2"]["r2_by_group"]["target"] > 0.8
    assert Bundle.load(folder, None).steps == [0, 1, 2]


@pytest.mark.parametrize("number", ["n_episodes", "n_batches", "n_seeds"])
def test_a_number_below_one_is_refused_before_anything_is_played(number):
    numbers = {"n_episodes": 1, "n_batches": 1, "n_seeds": 1, number: 0}
    with pytest.raises(SettingsError, match="=0 must be at least 1"):
        measure("lookout", [], None, None, **numbers)


def test_a_bundle_of_another_task_is_refused_before_anything_is_played():
    with pytest.raises(BundleError, match="task"):
        measure("lookout", ["env_args.targets=5"], None, LOOKOUT, 1, 1, 1)


def test_random_play_is_repeatable_and_as_long_as_asked():
    one, layout = play_at_random("lookout", [], 20, seed=7)
    two, _ = play_at_random("lookout", [], 20, seed=7)
    other, _ = play_at_random("lookout", [], 20, seed=8)
    assert len(one) == 20 and one.obs_BTNO.shape == (20, 3, 3, 5)
    assert layout.last_action and layout.agent_id
    assert torch.equal(one.obs_BTNO, two.obs_BTNO) and torch.equal(one.actions_BTN, two.actions_BTN)
    assert not torch.equal(one.actions_BTN, other.actions_BTN)
    assert len(one.actions_BTN[:, 0].unique(dim=0)) > 5
