"""Learners: what one gradient step minimises."""

from epymarl_lmac.plugin.entry_points import extended

REGISTRY = extended(
    "learners",
    {
        "q_learner": "learners.value_learner:ValueLearner",
        "twin_critic_learner": "learners.twin_critic_learner:TwinCriticLearner",
    },
)
