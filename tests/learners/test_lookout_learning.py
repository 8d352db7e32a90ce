"""What communication is for, on the task made for it: the documented steps of lookout, one seed each."""

import dataclasses
import math

import pytest

from epymarl_lmac.settings import load_settings
from run import Experiment
from utils.logging import Logger, get_logger


@pytest.fixture(autouse=True)
def bundle():
    """Overrides the stand-in bundle of this folder: the shipped one is used here."""


def trained(alg):
    settings = load_settings(alg, "lookout", ["seed=1", "use_cuda=False"])
    experiment = Experiment(settings, Logger(get_logger()))
    while experiment.runner.t_env < settings.t_max:
        experiment.advance()
    return experiment


def score(experiment):
    experiment.test()
    return experiment.logger.stats["test_return_mean"][-1][1]


def binomial_margin(p, n):
    """Five standard errors of a share of n episodes."""
    return 5 * math.sqrt(p * (1 - p) / n)


def test_qmix_stays_at_chance():
    assert abs(score(trained("qmix")) - 0.25) < binomial_margin(0.25, 200)


def test_qmix_with_the_state_reaches_the_optimum():
    assert score(trained("qmix_state")) >= 0.98


def test_lmac_reaches_the_optimum_and_needs_its_messages():
    experiment = trained("lmac_qmix")
    assert score(experiment) >= 0.98
    assert experiment.logger.stats["recon_r2"][-1][1] > 0.9
    link = experiment.mac.comm.link
    link.settings = dataclasses.replace(link.settings, comm_control="zero", comm_control_when="test")
    assert score(experiment) < 0.25 + binomial_margin(0.25, 200) + 0.05
