"""What communication is for, on the task made for it: 20,000 steps, seed 1.

One agent sees which of four targets is right, and all must name it: 1/4 is the best without messages, 1 with them.
Protocols and raw observations solve it for three agents with lookout's own settings. Methods that must learn what to
say do so for two agents with larger batches: at the start one joint action in 16 is right, not one in 64, and a batch
of 32 episodes has hardly a success in it.
"""

import dataclasses
import math

import pytest

from epymarl_lmac.settings import algorithms, load_settings
from modules.comm import REGISTRY
from run import Experiment
from utils.logging import Logger, get_logger

CHANCE = 0.25
# Algorithms whose messages need not be learned.
GIVEN = ["lmac_qmix", "fullcomm"]
TWO = ["env_args.players=2", "batch_size=256", "lr=0.001", "epsilon_anneal_time=15000", "buffer_size=5000"]
LEARNED = [
    alg
    for alg in algorithms()
    if alg not in GIVEN and (comm := load_settings(alg, "lookout").comm) and REGISTRY[comm].sends
]
SILENT = [alg for alg in algorithms() if (comm := load_settings(alg, "lookout").comm) and not REGISTRY[comm].sends]
# LMAC and QMIX run with every change, the others in the long tier: about a minute each.
FAST = ("lmac_qmix", "qmix")


@pytest.fixture(autouse=True)
def bundle():
    """Overrides the stand-in bundle of this folder: the shipped one is used here."""


def tiers(names):
    return [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in names]


def trained(alg, updates=()):
    settings = load_settings(alg, "lookout", ["seed=1", "use_cuda=False", *updates])
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


def zeroed(experiment):
    link = experiment.mac.comm.link
    link.settings = dataclasses.replace(link.settings, comm_control="zero", comm_control_when="test")
    return score(experiment)


@pytest.mark.parametrize("alg", tiers(GIVEN))
def test_given_messages_solve_it_and_zeroed_it_is_chance_again(alg):
    experiment = trained(alg)
    assert score(experiment) >= 0.95
    if alg == "lmac_qmix":
        assert experiment.logger.stats["recon_r2"][-1][1] > 0.9
    assert zeroed(experiment) < CHANCE + margin(CHANCE)


@pytest.mark.parametrize("alg", tiers(LEARNED))
def test_learned_messages_solve_it_for_two_and_zeroed_it_is_chance_again(alg):
    experiment = trained(alg, TWO)
    assert score(experiment) >= 0.95
    assert zeroed(experiment) < CHANCE + margin(CHANCE)


@pytest.mark.slow  # as the test above, whose control it is
def test_two_without_messages_stay_at_chance_too():
    assert abs(score(trained("qmix", TWO)) - CHANCE) < margin(CHANCE)
