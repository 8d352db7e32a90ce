"""Learners: what one gradient step minimises."""

from learners.lmac_learner import LmacLearner
from learners.value_learner import ValueLearner

REGISTRY = {"q_learner": ValueLearner, "lmac_learner": LmacLearner}
