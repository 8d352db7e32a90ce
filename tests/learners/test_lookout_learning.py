"""What communication is for, on the task made for it: lookout's own settings (20,000 steps), seed 1.

One agent sees which of four targets is right, and all three must name it: 1/4 is the best without messages, 1 with
them.
"""

import dataclasses
import math

import pytest

from epymarl_lmac.settings import algorithms, load_settings
from modules.comm import REGISTRY
from run import Experiment
from utils.logging import Logger, get_logger

CHANCE = 0.25
# Algorithms whose messages solve the task in these steps. docs/results/README.md has what the others reach.
SENDING = ["lmac_qmix", "fullcomm"]
SILENT = [alg for alg in algorithms() if (comm := load_settings(alg, "lookout").comm) and not REGISTRY[comm].sends]
# LMAC and QMIX run with every change, the others in the long tier: about a minute each.
FAST = ("lmac_qmix", "qmix")


@pytest.fixture(autouse=True)
def bundle():
    """Overrides the stand-in bundle of this folder: the shipped one is used here."""


def tiers(names):
    return [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in names]


def trained(alg):
    settings = load_settings(alg, "lookout", ["seed=1", "use_cuda=False"])
    experiment = Experiment(settings, Logger(get_logger()))
    while experiment.runner.t_env < settings.t_max:
        experiment.advance()
    return experiment


def score(experiment):
    experiment.test()
    return experiment.logger.stats["test_return_mean"][-1][1]


def margin(p, n=200):
    """Five standard errors of a share of n episodes."""
    return 5 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("alg", tiers(["qmix", *SILENT]))
def test_without_messages_it_stays_at_chance(alg):
    assert abs(score(trained(alg)) - CHANCE) < margin(CHANCE)


@pytest.mark.slow
def test_qmix_with_the_state_reaches_the_optimum():
    assert score(trained("qmix_state")) >= 0.98


@pytest.mark.parametrize("alg", tiers(SENDING))
def test_messages_solve_it_and_zeroed_it_is_chance_again(alg):
    experiment = trained(alg)
    assert score(experiment) >= 0.95
    if alg == "lmac_qmix":
        assert experiment.logger.stats["recon_r2"][-1][1] > 0.9
    link = experiment.mac.comm.link
    link.settings = dataclasses.replace(link.settings, comm_control="zero", comm_control_when="test")
    assert score(experiment) < CHANCE + margin(CHANCE)
