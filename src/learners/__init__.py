"""Learners: what one gradient step minimises."""

from epymarl_lmac.plugin.entry_points import extended
from learners.value_learner import ValueLearner

REGISTRY = extended("learners", {"q_learner": ValueLearner})
